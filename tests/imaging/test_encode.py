"""Test encoding pictures as file contents."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from portrait_export.imaging.encode import image_bytes, png_bytes

RANDOM = np.random.default_rng(0)
PICTURES = {
    "gray": RANDOM.integers(0, 256, (9, 7), np.uint8),
    "gray_16_bit": RANDOM.integers(0, 65536, (9, 7), np.uint16),
    "rgb": RANDOM.integers(0, 256, (9, 7, 3), np.uint8),
    "rgba": RANDOM.integers(0, 256, (9, 7, 4), np.uint8),
}


@pytest.mark.parametrize("pixels", PICTURES.values(), ids=PICTURES)
def test_png_keeps_every_value(pixels):
    with Image.open(io.BytesIO(png_bytes(Image.fromarray(pixels)))) as image:
        assert image.format == "PNG"
        assert np.array_equal(np.asarray(image), pixels)


def test_the_same_pixels_give_the_same_bytes():
    assert png_bytes(Image.fromarray(PICTURES["rgb"])) == png_bytes(Image.fromarray(PICTURES["rgb"].copy()))


def test_options_reach_the_format():
    image = Image.fromarray(np.zeros((64, 64, 3), np.uint8) + RANDOM.integers(0, 256, (64, 64, 1), np.uint8))
    assert len(image_bytes(image, "JPEG", quality=95)) > len(image_bytes(image, "JPEG", quality=20))
