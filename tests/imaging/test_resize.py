"""Test bilinear resizing of pictures and maps."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from portrait_export.imaging.resize import resize_bilinear

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)
VALUES = np.random.default_rng(1).random((12, 20), np.float32)


@pytest.mark.parametrize("array", [PIXELS, VALUES], ids=["picture", "map"])
@pytest.mark.parametrize("size", [(5, 7), (24, 40)], ids=["smaller", "larger"])
def test_sizes_are_height_and_width_and_the_type_stays(array, size):
    resized = resize_bilinear(array, size)
    assert (resized.shape, resized.dtype) == ((*size, *array.shape[2:]), array.dtype)


def test_nothing_changes_at_the_same_size():
    assert resize_bilinear(VALUES, VALUES.shape) is VALUES


def test_a_smaller_map_averages_and_does_not_skip_pixels():
    stripes = np.tile(np.array([0, 1], np.float32), (8, 16))
    inner = resize_bilinear(stripes, (8, 8))[:, 1:-1]
    assert np.abs(inner - 0.5).max() < 0.1


@pytest.mark.parametrize("array", [PIXELS, VALUES], ids=["picture", "map"])
def test_a_box_at_its_own_size_is_cut_out(array):
    cut = resize_bilinear(array, (4, 6), (3, 2, 9, 6))
    assert np.array_equal(cut, array[2:6, 3:9])


def test_a_view_that_is_not_contiguous_is_read_as_it_looks():
    mirrored = PIXELS[:, ::-1]
    assert np.array_equal(resize_bilinear(mirrored, (6, 10)), resize_bilinear(mirrored.copy(), (6, 10)))
    assert Image.fromarray(mirrored).size == (20, 12)
