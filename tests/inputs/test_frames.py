"""Test that photos are opened one by one and fitted to the model together with their masks and depth maps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portrait_export.errors import DataError, UsageError
from portrait_export.inputs.frames import Frames, load_frames, require_depth, stand_in_depth
from portrait_export.preprocessing import PortraitSpec

SPEC = PortraitSpec(height=32, width=32)
DEPTH_SPEC = replace(SPEC, inputs=("image", "depth"))


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """One 64x32 photograph: its red channel is the mask (the left half), and so is its 16-bit depth, half as large."""
    left = np.zeros((32, 64), np.uint8)
    left[:, :32] = 255
    pictures = {
        "images": Image.fromarray(np.dstack([left, left // 2, left // 4])),
        "masks": Image.fromarray(left),
        "depth": Image.fromarray(left[::2, ::2].astype(np.uint16) * 257),
    }
    for folder, picture in pictures.items():
        (tmp_path / folder).mkdir()
        picture.save(tmp_path / folder / "a.png")
    return tmp_path


# resize policy → share of the frame that the photograph covers, and the mask's share of the frame
POLICIES = {"stretch": (1.0, 0.5), "fit": (0.5, 0.25), "fill": (1.0, 0.5), "crop": (1.0, 0.5)}


@pytest.mark.parametrize("policy", POLICIES)
def test_mask_and_depth_lie_where_the_photograph_does(wide: Path, policy: str) -> None:
    (frame,) = load_frames(wide, replace(DEPTH_SPEC, resize=policy))
    covered, person = POLICIES[policy]
    red = frame.frame.image[..., 0] / np.float32(255)
    assert frame.frame.image.shape == (32, 32, 3)
    assert frame.mask is not None
    assert frame.frame.depth is not None
    assert float(frame.mask.mean()) == pytest.approx(person, abs=0.02)
    assert np.abs(frame.mask - red).max() < 0.01
    assert np.abs(frame.frame.depth - red).mean() < 0.02  # half as many pixels: a softer edge
    rows = frame.frame.image.any(axis=(1, 2))
    assert float(rows.mean()) == covered


def test_photographs_are_opened_when_asked_for(wide: Path) -> None:
    frames = load_frames(wide, SPEC)
    assert isinstance(frames[:1], Frames)
    (wide / "images/a.png").unlink()
    with pytest.raises(Exception, match=r"a\.png"):
        frames[0]


def test_every_fault_is_named_before_the_first_photograph_is_used(wide: Path) -> None:
    Image.new("RGB", (9, 9)).save(wide / "images/b.png")
    Image.new("L", (9, 8)).save(wide / "masks/b.png")
    (wide / "images/c.png").write_bytes(b"broken")
    for folder in ("masks", "depth"):
        Image.new("L", (9, 9)).save(wide / folder / "c.png")
    with pytest.raises(DataError, match="cannot be used as it is: 2 faults") as caught:
        load_frames(wide, SPEC)
    assert "images/b.png: nothing for it in depth" in str(caught.value)
    assert "c.png is not a picture that can be read" in str(caught.value)


def test_replaced_depth_is_counted_and_can_be_refused(wide: Path) -> None:
    assert load_frames(wide, DEPTH_SPEC).without_depth == ()
    require_depth(load_frames(wide, DEPTH_SPEC), name="net")
    (wide / "depth/a.png").unlink()
    (wide / "depth").rmdir()
    frames = load_frames(wide, DEPTH_SPEC)
    assert frames.without_depth == ("a",)
    assert np.array_equal(frames[0].frame.depth, stand_in_depth(frames[0].frame.image))
    with pytest.raises(DataError, match="net needs depth maps; 1 of 1 photos have none") as caught:
        require_depth(frames, name="net")
    assert "`portrait-export depth` makes them" in caught.value.hint
    require_depth(load_frames(wide, SPEC), name="net")


def test_calibration_set_by_split() -> None:
    assert len(load_frames(None, SPEC)) == 64
    halves = [load_frames(None, SPEC, split=split) for split in ("calibrate", "evaluate")]
    assert [(len(half), half[3].split) for half in halves] == [(32, "calibrate"), (32, "evaluate")]
    assert {(frame.kind, "statue" in frame.tags) for frame in halves[0]} == {
        ("portrait", False),
        ("everyday", False),
        ("empty", False),
        ("empty", True),
    }
    with pytest.raises(UsageError, match="no split `val`"):
        load_frames(None, SPEC, split="val")


def test_a_split_of_a_tree_leaves_the_others_closed(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for kind, picture in (("images", Image.new("RGB", (8, 8))), ("annotations", Image.new("L", (8, 8), 1))):
            (tmp_path / kind / split).mkdir(parents=True)
            picture.save(tmp_path / kind / split / "a.png")
    (tmp_path / "images/train/a.png").write_bytes(b"broken")
    assert [frame.split for frame in load_frames(tmp_path, SPEC, split="val")] == ["val"]
    with pytest.raises(DataError, match="no split `test`") as caught:
        load_frames(tmp_path, SPEC, split="test")
    assert caught.value.hint == "the splits are: train, val."


@pytest.mark.parametrize("count", [20, 40])
def test_some_of_the_calibration_set_show_every_kind(count: int) -> None:
    frames = load_frames(None, SPEC)
    few = frames.spread(count)
    assert len(few) == count
    assert {item.kind for item in few.items} == {item.kind for item in frames.items}
