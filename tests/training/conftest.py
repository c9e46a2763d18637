"""Fixture: a folder of small painted portraits with exact masks, ellipses with shoulders on coloured noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SIDE = 64


def portrait(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(SIDE, SIDE, 3) uint8 and its (SIDE, SIDE) uint8 mask."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    cx, cy = random.uniform(0.35, 0.65), random.uniform(0.3, 0.45)
    head = ((x - cx) / 0.18) ** 2 + ((y - cy) / 0.24) ** 2 < 1
    body = ((x - cx) / 0.42) ** 2 + ((y - 1.0) / 0.36) ** 2 < 1
    person = head | body
    image = random.uniform(0, 0.5, 3) + random.normal(0, 0.05, (SIDE, SIDE, 3))
    image = np.where(person[..., None], random.uniform(0.6, 1, 3), image)
    return (np.clip(image, 0, 1) * 255).astype(np.uint8), (person * 255).astype(np.uint8)


@pytest.fixture
def painted(tmp_path: Path) -> Path:
    """images/ and masks/ with eight portraits."""
    root = tmp_path / "data"
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for seed in range(8):
        image, mask = portrait(seed)
        Image.fromarray(image).save(root / f"images/p{seed}.png")
        Image.fromarray(mask).save(root / f"masks/p{seed}.png")
    return root
