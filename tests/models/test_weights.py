"""Test that every file of bundled weights loads, finds people, has a card, and can be retrained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import portrait_export.models as models
from portrait_export.calibration.dataset import calibration_items, load_item
from portrait_export.models.registry import build_net, model_spec
from portrait_export.models.weights_io import load_into
from portrait_export.training.rebuild import CHAIN

FILES = sorted((Path(models.__file__).parent / "weights").glob("*.safetensors"))
SIDE = 256  # half of what the weights are for: fast, and close
CLEAR = 0.9  # mean IoU of the four photographs at that size; the lowest of any file is 0.95


def test_every_file_can_be_retrained() -> None:
    assert {path.stem for path in FILES} == set(CHAIN)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_card_says_where_the_weights_are_from_and_what_they_lack(path: Path) -> None:
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert "not the published weights" in card
    assert all(f"\n## {part}\n" in card for part in ("Data", "Training", "Measured", "Limits"))
    assert f"{sum(t.numel() for n, t in load_file(path).items() if 'running' not in n and 'num_' not in n):,}" in card


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_weights_find_people(path: Path) -> None:
    spec = model_spec(path.stem)
    net = load_into(build_net(spec, seed=0), load_file(path), source=path.name).eval()
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (spec.mean, spec.std))
    scores = []
    for item in [item for item in calibration_items("evaluate") if item.kind == "portrait"][::4]:
        shown = load_item(item, size=(SIDE, SIDE))
        image = torch.from_numpy(shown.frame.image.copy()).permute(2, 0, 1)[None] / 255
        with torch.no_grad():
            logits = net((image - mean) / std)
        found = torch.nn.functional.interpolate(logits, size=(SIDE, SIDE), mode="bilinear")[0, 0].numpy() > 0
        drawn = shown.mask >= 0.5
        scores.append(np.logical_and(found, drawn).sum() / np.logical_or(found, drawn).sum())
    assert len(scores) == 4
    assert np.mean(scores) > CLEAR, scores
