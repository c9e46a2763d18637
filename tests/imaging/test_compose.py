"""Test compositions against their formulas, and that nothing leaks into them."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from portrait_export.errors import PhotoError, UsageError
from portrait_export.imaging import compose, resize
from portrait_export.imaging.compose import (
    blur_background,
    cover,
    cut_out,
    encode,
    mask_picture,
    parse_color,
    replace_background,
)
from portrait_export.imaging.foreground import person_colors
from portrait_export.imaging.photo import Photo, open_photo


def noise(height: int, width: int, seed: int = 0) -> Photo:
    return Photo(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8), "noise.png")


def soft(height: int, width: int, seed: int = 1) -> np.ndarray:
    values = np.random.default_rng(seed).random((height, width), dtype=np.float32)
    values[0, 0], values[-1, -1] = 0, 1
    return values


# ---- mask and cut-out -------------------------------------------------------------------------------------------


def test_a_mask_is_rounded_to_nearest() -> None:
    values = np.array([[0, 0.5, 1, 0.001, 0.999]], np.float32)
    assert mask_picture(values).tolist() == [[0, 128, 255, 0, 255]]


@pytest.mark.parametrize("strip", [1, 7, 1 << 20])
def test_strips_change_nothing(strip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    photo, mask = noise(13, 11), soft(13, 11)
    whole = [mask_picture(mask), replace_background(photo, mask, (1, 2, 3)), blur_background(photo, mask, 3.0)]
    monkeypatch.setattr(compose, "STRIP_PIXELS", strip)
    monkeypatch.setattr(resize, "STRIP_PIXELS", strip)
    parts = [mask_picture(mask), replace_background(photo, mask, (1, 2, 3)), blur_background(photo, mask, 3.0)]
    for a, b in zip(whole, parts, strict=True):
        assert np.abs(a.astype(int) - b).max() <= 1  # sums of strips round differently
    np.testing.assert_array_equal(whole[0], parts[0])


def test_a_cut_out_has_straight_alpha_and_the_persons_colours() -> None:
    photo, mask = noise(6, 8), soft(6, 8)
    picture = cut_out(photo, mask)
    assert picture.shape == (6, 8, 4)
    np.testing.assert_array_equal(picture[..., 3], mask_picture(mask))
    seen = picture[..., 3] > 0
    np.testing.assert_array_equal(picture[seen][:, :3], person_colors(photo.pixels, mask)[seen])
    np.testing.assert_array_equal(picture[mask == 1][:, :3], photo.pixels[mask == 1])


def test_the_removed_background_is_not_in_the_file() -> None:
    secret = noise(6, 8)
    assert not cut_out(secret, np.zeros((6, 8), np.float32)).any()


# ---- replaced background ----------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.tuples(*[st.integers(0, 255)] * 3), st.integers(0, 1000))
def test_replacing_is_linear_in_p(height: int, width: int, color: tuple[int, int, int], seed: int) -> None:
    photo, mask = noise(height, width, seed), soft(height, width, seed)
    p = mask[..., None].astype(np.float64)
    expected = p * person_colors(photo.pixels, mask) + (1 - p) * np.array(color)
    assert np.abs(replace_background(photo, mask, color) - expected).max() <= 0.5 + 1e-4


def test_an_empty_mask_gives_the_background_and_a_full_one_the_photo() -> None:
    photo = noise(9, 7)
    assert (replace_background(photo, np.zeros((9, 7), np.float32), (9, 8, 7)) == (9, 8, 7)).all()
    np.testing.assert_array_equal(replace_background(photo, np.ones((9, 7), np.float32), (9, 8, 7)), photo.pixels)


def test_a_picture_as_background_covers_without_distortion() -> None:
    rows, columns = np.mgrid[0:40, 0:100]
    ring = np.where(np.hypot(rows - 20, columns - 50) < 15, 255, 0).astype(np.uint8)
    found = cover(Photo(np.repeat(ring[..., None], 3, -1)), (80, 80))[..., 0] > 127
    heights, widths = found.sum(0).max(), found.sum(1).max()
    assert found.shape == (80, 80)
    assert abs(heights - 60) <= 2  # scaled by two, in both directions
    assert abs(widths - 60) <= 2
    background = noise(5, 9, seed=4)
    blank = np.zeros((20, 20), np.float32)
    np.testing.assert_array_equal(replace_background(noise(20, 20), blank, background), cover(background, (20, 20)))


# ---- blurred background -----------------------------------------------------------------------------------------


def gaussian_by_sums(photo: Photo, mask: np.ndarray, sigma: float) -> np.ndarray:
    """The docstring's formula in float64, over all pairs of pixels."""
    H, W = photo.size
    vertical = np.exp(-0.5 * ((np.arange(H)[:, None] - np.arange(H)) / sigma) ** 2)
    horizontal = np.exp(-0.5 * ((np.arange(W)[:, None] - np.arange(W)) / sigma) ** 2)
    weight = (1 - mask.astype(np.float64)) ** 4
    sums = np.einsum("yv,vuc,xu->yxc", vertical, weight[..., None] * photo.pixels, horizontal)
    behind = sums / np.einsum("yv,vu,xu->yx", vertical, weight, horizontal)[..., None]
    p = mask[..., None].astype(np.float64)
    return p * person_colors(photo.pixels, mask) + (1 - p) * behind


@pytest.mark.parametrize("sigma", [1.0, 1.9, 3.0])
def test_an_unreduced_blur_is_its_formula(sigma: float) -> None:
    photo, mask = noise(24, 31), soft(24, 31)
    error = np.abs(blur_background(photo, mask, sigma) - gaussian_by_sums(photo, mask, sigma))
    assert error.max() <= 2.5  # the kernel ends at three sigma
    assert error.mean() <= 0.6


@pytest.mark.parametrize("sigma", [4.0, 8.0, 15.5])
def test_a_reduced_blur_is_close_to_its_formula(sigma: float) -> None:
    rows, columns = np.mgrid[0:96, 0:128]
    photo = Photo(
        np.stack([rows * 2, columns * 2 - 1 + (columns == 0), (rows // 16 + columns // 16) % 2 * 255], -1).astype("u1")
    )
    mask = np.clip((30 - np.hypot(rows - 60, columns - 64)) / 6, 0, 1).astype(np.float32)
    error = np.abs(blur_background(photo, mask, sigma) - gaussian_by_sums(photo, mask, sigma))
    assert error.mean() <= 1.5
    assert error.max() <= 12


@pytest.mark.parametrize("sigma", [1.0, 5.0, 25.0])
def test_the_person_does_not_leak_into_the_blur(sigma: float) -> None:
    rows, columns = np.mgrid[0:120, 0:120]
    mask = (np.hypot(rows - 60, columns - 60) < 30).astype(np.float32)
    photo = Photo(np.where(mask[..., None] > 0, (255, 0, 0), (0, 0, 255)).astype(np.uint8))
    np.testing.assert_array_equal(blur_background(photo, mask, sigma), photo.pixels)


def test_at_a_soft_edge_little_of_the_person_leaks_into_the_blur() -> None:
    rows, columns = np.mgrid[0:120, 0:120]
    mask = np.clip((30 - np.hypot(rows - 60, columns - 60)) / 8 + 0.5, 0, 1).astype(np.float32)
    p = mask[..., None]
    photo = Photo(np.round(p * (255, 0, 0) + (1 - p) * (0, 0, 255)).astype(np.uint8))
    outside = blur_background(photo, mask, 10.0)[mask == 0]
    assert outside[:, 0].max() <= 16  # a plain blur of this photo has 118 there


def test_the_border_is_not_darkened() -> None:
    photo = Photo(np.full((50, 70, 3), 200, np.uint8))
    blurred = blur_background(photo, np.zeros((50, 70), np.float32), 12.0)
    assert np.abs(blurred.astype(int) - 200).max() <= 1


def test_a_full_mask_leaves_the_photo_unchanged() -> None:
    photo = noise(40, 30)
    np.testing.assert_array_equal(blur_background(photo, np.ones((40, 30), np.float32), 9.0), photo.pixels)


def test_sigma_zero_returns_a_copy_of_the_photo() -> None:
    photo = noise(10, 10)
    blurred = blur_background(photo, np.zeros((10, 10), np.float32), 0)
    np.testing.assert_array_equal(blurred, photo.pixels)
    assert blurred is not photo.pixels


@pytest.mark.parametrize("size", [(1, 1), (1, 600), (600, 1), (2, 3)])
@pytest.mark.parametrize("sigma", [None, 1.0, 50.0])
def test_any_size_can_be_blurred(size: tuple[int, int], sigma: float | None) -> None:
    photo = noise(*size)
    out = blur_background(photo, soft(*size), sigma)
    assert out.shape == photo.pixels.shape
    assert out.dtype == np.uint8


def test_a_large_photo_is_blurred_on_a_bounded_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compose, "BLUR_PIXELS", 300)
    seen: list[int] = []
    gaussian = compose._gaussian
    monkeypatch.setattr(
        compose, "_gaussian", lambda planes, sigma: seen.append(planes[..., 0].size) or gaussian(planes, sigma)
    )
    blur_background(noise(64, 96), soft(64, 96), 1.0)
    assert seen[0] <= 300


@pytest.mark.parametrize("sigma", [-1.0, math.nan, math.inf])
def test_refuses_an_unusable_sigma(sigma: float) -> None:
    with pytest.raises(UsageError, match="`sigma=` is a number of pixels, 0 or more"):
        blur_background(noise(4, 4), soft(4, 4), sigma)


# ---- it refuses -------------------------------------------------------------------------------------------------

COMPOSITIONS = {
    "cut_out": cut_out,
    "replace": lambda photo, mask: replace_background(photo, mask, (0, 0, 0)),
    "blur": blur_background,
}


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_refuses_a_mask_of_another_size(name: str) -> None:
    with pytest.raises(PhotoError, match=r"The mask of noise\.png is \(4, 5\), the photo is \(5, 4\)"):
        COMPOSITIONS[name](noise(5, 4), soft(4, 5))


@pytest.mark.parametrize("bad", [-0.01, 1.01, 255.0, math.nan])
@pytest.mark.parametrize("name", COMPOSITIONS)
def test_refuses_values_outside_0_to_1(name: str, bad: float) -> None:
    mask = soft(5, 4)
    mask[2, 2] = bad
    with pytest.raises(PhotoError, match=r"A mask holds P\(person\), 0\.\.1"):
        COMPOSITIONS[name](noise(5, 4), mask)


# ---- colours and files ------------------------------------------------------------------------------------------

COLORS = {
    "white": (255, 255, 255),
    "#1e90ff": (30, 144, 255),
    "rgb(0, 128, 9)": (0, 128, 9),
    " Red ": (255, 0, 0),
    "#fff8": (255, 255, 255),
}


@pytest.mark.parametrize("text", COLORS)
def test_colours(text: str) -> None:
    assert parse_color(text) == COLORS[text]


@pytest.mark.parametrize("text", ["", "whitish", "#12", "1,2,3"])
def test_refuses_unknown_colours(text: str) -> None:
    with pytest.raises(UsageError, match="is neither a colour nor a file that exists"):
        parse_color(text)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".PNG"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_lossless_files_come_back_the_same(suffix: str, channels: int) -> None:
    picture = np.random.default_rng(2).integers(0, 256, (9, 7, channels), dtype=np.uint8)
    picture = picture[..., 0] if channels == 1 else picture
    with Image.open(io.BytesIO(encode(picture, suffix))) as image:
        back = np.asarray(image)
    np.testing.assert_array_equal(back[..., 0] if back.ndim > picture.ndim else back, picture)


def test_refuses_a_transparent_jpeg_and_an_unknown_format() -> None:
    with pytest.raises(UsageError, match="JPEG has no transparency"):
        encode(np.zeros((2, 2, 4), np.uint8), ".jpg")
    with pytest.raises(UsageError, match=r"Pictures cannot be written as '\.gif'"):
        encode(np.zeros((2, 2, 3), np.uint8), ".gif")


def test_refuses_a_side_too_long_for_the_format() -> None:
    with pytest.raises(PhotoError, match="70000x1 pixels cannot be written as JPEG"):
        encode(np.zeros((1, 70000, 3), np.uint8), ".jpg")


def test_write_picture_by_suffix(tmp_path: Path) -> None:
    photo = noise(5, 6)
    compose.write_picture(tmp_path / "new" / "out.png", photo.pixels, force=False)
    np.testing.assert_array_equal(open_photo(tmp_path / "new" / "out.png").pixels, photo.pixels)
    with pytest.raises(UsageError, match="already exists"):
        compose.write_picture(tmp_path / "new" / "out.png", photo.pixels, force=False)
