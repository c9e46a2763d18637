"""The guided filter's detail sharpens masks along edges, and leaves alone what needs no sharpening."""

from __future__ import annotations

import numpy as np
import pytest

from portrait_export.imaging import resize
from portrait_export.imaging.guided import add_detail
from portrait_export.imaging.photo import Photo
from portrait_export.imaging.placement import mask_back, place, refined_back


def disc(side: int, softness: float) -> np.ndarray:
    rows, columns = np.mgrid[0:side, 0:side]
    inside = 0.3 * side - np.hypot(rows - side / 2, columns - side / 2)
    return np.clip(inside / softness + 0.5, 0, 1).astype(np.float32)


def photo_of(alpha: np.ndarray) -> np.ndarray:
    return np.round(alpha[..., None] * (200, 150, 120) + (1 - alpha[..., None]) * (40, 60, 90)).astype(np.uint8)


def test_a_blurred_mask_comes_nearer_to_the_photos_edge() -> None:
    true = disc(256, 1.5)
    blurred = disc(256, 6.0)
    before, after = (np.abs(mask - true).mean() for mask in (blurred, add_detail(blurred, photo_of(true))))
    assert after < 0.2 * before


def test_a_mask_that_follows_the_edge_stays() -> None:
    true = disc(256, 1.5)
    refined = add_detail(true, photo_of(true))
    assert np.abs(refined - true).mean() < 2e-3
    np.testing.assert_array_equal(refined >= 0.5, true >= 0.5)


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_a_flat_mask_stays_whatever_the_photo_shows(value: float) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    mask = np.full((90, 70), value, np.float32)
    np.testing.assert_allclose(add_detail(mask, photo), mask, atol=1e-5)


def test_a_flat_photo_leaves_the_mask() -> None:
    mask = disc(128, 20.0)
    flat = np.full((128, 128, 3), 77, np.uint8)
    np.testing.assert_allclose(add_detail(mask, flat), mask, atol=1e-2)


@pytest.mark.parametrize("side", [200, 1500])
def test_strips_change_nothing(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    true = disc(side, 2.0)
    whole = add_detail(disc(side, side / 20), photo_of(true))
    monkeypatch.setattr(resize, "STRIP_PIXELS", side * 7)
    np.testing.assert_allclose(add_detail(disc(side, side / 20), photo_of(true)), whole, atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (3, 2), (200, 5)])
def test_any_size_works(size: tuple[int, int]) -> None:
    mask = np.random.default_rng(1).random(size, dtype=np.float32)
    out = add_detail(mask, np.zeros((*size, 3), np.uint8))
    assert out.shape == size
    assert 0 <= out.min() <= out.max() <= 1


def test_what_the_model_did_not_see_stays_empty() -> None:
    photo = Photo(np.random.default_rng(2).integers(0, 256, (60, 120, 3), dtype=np.uint8))
    placement = place(photo.size, (32, 32), "fill")
    mask = np.random.default_rng(3).random((32, 32), dtype=np.float32)
    refined, plain = refined_back(mask, placement, photo.pixels), mask_back(mask, placement)
    assert (plain == 0).any()
    assert (refined[plain == 0] == 0).all()
    assert (refined != plain).any()
