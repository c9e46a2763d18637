"""Test that photographs become sequences: in the order of their numbers, or as pans, with masks that follow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from portrait_export.artifacts import Frame, LabelledFrame
from portrait_export.inputs.frames import Frames
from portrait_export.inputs.photos import find_photos
from portrait_export.inputs.sequences import Pans, load_sequences, with_carried
from portrait_export.preprocessing import PortraitSpec
from portrait_export.utils.natural import natural_key

SPEC = PortraitSpec(height=32, width=48)


def numbered(folder: Path, count: int) -> Path:
    """Pictures whose gray is their number."""
    for index in range(count):
        Image.fromarray(np.full((32, 48, 3), index, np.uint8)).save(folder / f"frame{index}.png")
    return folder


def test_a_folder_is_one_sequence_in_the_order_of_its_numbers(tmp_path):
    frames = load_sequences(numbered(tmp_path, 12), SPEC)
    assert [int(each.frame.image[0, 0, 0]) for each in frames] == list(range(12))
    assert [each.frame.continues for each in frames] == [False, *[True] * 11]
    assert frames[-1].frame.continues
    assert [each.frame.continues for each in frames[1:3]] == [True, True]


def test_photos_of_a_film_are_found_in_the_order_of_their_numbers(tmp_path):
    found = find_photos([numbered(tmp_path, 11)], numbered=True)
    assert [photo.name.name for photo in found] == [f"frame{index}" for index in range(11)]


def test_names_are_compared_by_their_numbers():
    names = ["b1", "a10", "a9", "a", "a2b", "a2", "10"]
    assert sorted(names, key=natural_key) == ["10", "a", "a2", "a2b", "a9", "a10", "b1"]


def photograph(height: int, width: int) -> LabelledFrame:
    """A picture whose pixels say where they are, with a mask of its columns."""
    rows, columns = np.mgrid[0:height, 0:width]
    image = np.stack([rows, columns, rows * 0], axis=-1).astype(np.uint8)
    return LabelledFrame(Frame(image, name="photo"), (columns / width).astype(np.float32))


class Photographs(Frames):
    """Photographs that are in memory."""

    def __init__(self, frames: list[LabelledFrame]):
        super().__init__((), SPEC)
        self.frames = frames

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index):
        return self.frames[index]


def test_a_pan_moves_its_window_from_corner_to_corner_and_the_mask_with_it():
    pans = Pans(Photographs([photograph(40, 64), photograph(40, 64)]), SPEC, steps=5)
    assert len(pans) == 10
    corners = [tuple(each.frame.image[0, 0, :2]) for each in pans]
    assert corners[:5] == [(0, 0), (2, 4), (4, 8), (6, 12), (8, 16)]
    assert corners[5:] == corners[:5]
    assert [each.frame.continues for each in pans] == [False, *[True] * 4] * 2
    for each in pans:
        assert each.frame.image.shape == (32, 48, 3)
        assert each.mask is not None
        np.testing.assert_allclose(each.mask, each.frame.image[..., 1] / 64)


def test_pans_over_the_calibration_set_are_the_same_every_time():
    one, two = (load_sequences(None, SPEC, photographs=2, steps=3) for _ in range(2))
    assert len(one) == 6
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.frame.image, b.frame.image)
        assert a.frame.name == b.frame.name
    assert not np.array_equal(one[0].frame.image, one[1].frame.image)


class Counting:
    """Carries how many frames of a sequence it has seen."""

    name = "counting"

    def run(self, frames):
        from portrait_export.artifacts import Prediction

        (frame,) = frames
        before = 0.0 if frame.carried is None else frame.carried["n"]
        return [Prediction(np.zeros((1, 1), np.float32), carried={"n": before + 1})]


def test_each_frame_gets_what_is_carried_to_it():
    pans = Pans(Photographs([photograph(40, 64), photograph(40, 64)]), SPEC, steps=3)
    carried = [each.frame.carried for each in with_carried(pans, Counting())]
    assert carried == [None, {"n": 1.0}, {"n": 2.0}] * 2
