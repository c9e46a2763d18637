"""Test that people are cut out with their own colours, and only along reliable edges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portrait_export.artifacts import Frame, LabelledFrame
from portrait_export.errors import DataError
from portrait_export.training.cutouts import LONGEST_SIDE, cut_from, read_cutout


def disk(side: int = 120, *, down: float = 0.5) -> LabelledFrame:
    """A red disk with a soft edge before blue."""
    y, x = np.mgrid[0:side, 0:side] / side
    mask = np.clip((0.3 - np.hypot(x - 0.5, y - down)) * side / 4 + 0.5, 0, 1).astype(np.float32)
    red, blue = np.array([220, 20, 20]), np.array([20, 20, 220])
    image = mask[..., None] * red + (1 - mask[..., None]) * blue
    return LabelledFrame(Frame(image.astype(np.uint8)), mask)


def test_cut_out_has_the_persons_colours_where_the_mask_is_soft() -> None:
    cut = cut_from(disk())
    assert cut is not None
    soft = (cut.alpha > 60) & (cut.alpha < 200)
    assert soft.any()
    assert cut.colours[soft].astype(int)[:, 2].mean() < 60  # the photograph is half blue there
    assert cut.cut == (False, False, False, False)
    assert max(cut.alpha.shape) <= 78  # the disk, not the photograph


def test_side_at_which_the_photograph_cuts_the_person_is_known() -> None:
    cut = cut_from(disk(down=0.85))
    assert cut is not None
    assert cut.cut == (False, False, False, True)


def test_large_people_are_reduced() -> None:
    cut = cut_from(disk(1200))
    assert cut is not None
    assert max(cut.alpha.shape) == LONGEST_SIDE


@pytest.mark.parametrize("kind", ["nobody", "gray_inside", "tiny"])
def test_people_that_cannot_be_cut_out_are_skipped(kind: str) -> None:
    labelled = disk(30 if kind == "tiny" else 120)
    mask = labelled.mask
    assert mask is not None
    if kind == "nobody":
        mask[:] = 0
    elif kind == "gray_inside":
        mask[55:75, 45:75] = 0.5
    assert cut_from(labelled) is None


def test_rgba_picture_is_read_with_its_cut_sides(tmp_path: Path) -> None:
    pixels = np.zeros((900, 300, 4), np.uint8)
    pixels[100:, 50:250] = (10, 200, 30, 255)
    Image.fromarray(pixels).save(tmp_path / "one.webp", lossless=True)
    cut = read_cutout(tmp_path / "one.webp")
    assert max(cut.alpha.shape) == LONGEST_SIDE
    assert cut.cut == (False, False, False, True)
    assert tuple(cut.colours[LONGEST_SIDE // 2, cut.alpha.shape[1] // 2]) == (10, 200, 30)


@pytest.mark.parametrize("content", [b"", b"RIFF0000WEBPVP8 "], ids=["empty", "damaged"])
def test_damaged_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.webp").write_bytes(content)
    with pytest.raises(DataError, match="cannot be read as a picture"):
        read_cutout(tmp_path / "bad.webp")
