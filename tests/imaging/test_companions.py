"""The pictures that go with a photograph: backgrounds, trimaps and masks, made or fitted, and the luma."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from portrait_export.artifacts import Frame
from portrait_export.errors import PhotoError, UsageError
from portrait_export.imaging.companions import UNKNOWN, fitted, painted_out, trimap_of, with_pictures
from portrait_export.imaging.placement import place
from portrait_export.preprocessing import Picture, PortraitSpec, luma

SIDE = 100
BACKGROUND = Picture("bgr", "background", "rgb", 1 / 255, (0.0,) * 3, (1.0,) * 3)
TRIMAP = Picture("trimap", "trimap", "gray", 1 / 255, (0.0,), (1.0,))


def scene() -> tuple[np.ndarray, np.ndarray]:
    """A yellow square on a gray ramp, and its mask."""
    image = np.repeat(np.linspace(50, 150, SIDE)[:, None, None], SIDE, 1).repeat(3, 2).astype(np.uint8)
    mask = np.zeros((SIDE, SIDE), np.float32)
    mask[30:70, 30:70] = 1
    image[mask > 0] = [250, 240, 20]
    return image, mask


def test_the_person_is_painted_out_with_the_surroundings():
    image, mask = scene()
    painted = painted_out(image, mask)
    far = np.pad(mask, 0) < 1
    far[28:72, 28:72] = False
    np.testing.assert_array_equal(painted[far], image[far])
    inside = painted[30:70, 30:70].astype(int)
    assert 70 < inside.min() <= inside.max() < 130, "the ramp's values around the hole"
    assert np.ptp(inside, axis=2).max() <= 1, "gray, as the surroundings are"


def test_without_a_person_the_background_is_the_photograph():
    image, mask = scene()
    assert painted_out(image, mask * 0) is image


def test_a_person_who_fills_the_picture_leaves_a_finite_background():
    image, mask = scene()
    assert painted_out(image, np.ones_like(mask)).shape == image.shape


def test_a_trimap_is_unknown_on_both_sides_of_the_edge():
    trimap = trimap_of(scene()[1])
    band = SIDE // 50
    row = trimap[50]
    assert set(np.unique(trimap)) == {0, UNKNOWN, 255}
    assert list(row[30 - band - 1 : 30 + band + 1]) == [0, *[UNKNOWN] * (2 * band), 255]


def test_soft_values_are_unknown():
    mask = np.full((SIDE, SIDE), 0.5, np.float32)
    assert (trimap_of(mask) == UNKNOWN).all()


def test_pictures_are_made_from_the_mask_or_stand_in():
    image, mask = scene()
    spec = PortraitSpec(SIDE, SIDE, pictures=(BACKGROUND, TRIMAP), inputs=("image", "bgr", "trimap"))
    made = with_pictures(Frame(image), mask, spec).pictures
    assert (made["bgr"].shape, made["trimap"].shape) == ((SIDE, SIDE, 3), (SIDE, SIDE))
    stand_in = with_pictures(Frame(image), None, spec).pictures
    assert (stand_in["trimap"] == UNKNOWN).all()
    own = np.full((SIDE, SIDE), 255, np.uint8)
    assert with_pictures(Frame(image), mask, spec, {"trimap": own}).pictures["trimap"] is own
    assert with_pictures(Frame(image), mask, PortraitSpec(SIDE, SIDE)).pictures == {}


def test_a_users_picture_is_placed_as_its_photo_was():
    image = np.zeros((50, 100, 3), np.uint8)
    image[:, 50:] = 255
    placement = place((100, 200), (SIDE, SIDE), "fit")
    out = fitted(image, BACKGROUND, placement, where="b.png")
    assert out.shape == (SIDE, SIDE, 3)
    assert (out[:24] == 0).all()
    assert (out[40:60, 60:] == 255).all()
    trimap = fitted(image, TRIMAP, placement, where="t.png")
    assert set(np.unique(trimap)) <= {0, UNKNOWN, 255}
    with pytest.raises(PhotoError, match=r"b\.png is 100x50 pixels, the photo 200x300: they do not show the same view"):
        fitted(image, BACKGROUND, place((300, 200), (SIDE, SIDE), "fit"), where="b.png")


def test_luma_is_pillows():
    """Ours is the reference's, Pillow's the package's: they agree on every colour that was tried."""
    pixels = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    pixels[0, :256] = np.arange(256)[:, None]
    np.testing.assert_array_equal(luma(pixels), np.asarray(Image.fromarray(pixels).convert("L")))


def test_a_spec_with_pictures_survives_json_and_one_without_is_as_before():
    spec = PortraitSpec(color="gray", mean=(0.5,), std=(0.2,), pictures=(TRIMAP,), inputs=("image", "trimap"))
    assert PortraitSpec.from_json(spec.to_json()) == spec
    assert "pictures" not in PortraitSpec().to_json()


@pytest.mark.parametrize(
    "pictures", ['"x"', "[1]", '[{"name": "b"}]', '[{"name": "b", "shows": "cat", "color": "rgb"}]', "3", "null"]
)
def test_damaged_pictures_of_a_spec_are_refused(pictures):
    text = PortraitSpec().to_json()[:-1] + f', "pictures": {pictures}}}'
    with pytest.raises(UsageError):
        PortraitSpec.from_json(text)
