"""Colours of the person at soft edges: found where they are mixed, untouched where they are not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from portrait_export.imaging import resize
from portrait_export.imaging.foreground import blur, person_colors
from portrait_export.training.foreground import blur as torch_blur

PERSON, BEHIND = np.array([200.0, 120.0, 40.0]), np.array([20.0, 90.0, 240.0])


def edge(height: int, width: int, softness: float) -> np.ndarray:
    """P(person): 0 at the left, 1 at the right."""
    row = np.clip((np.arange(width) - width / 2) / softness + 0.5, 0, 1)
    return np.tile(row.astype(np.float32), (height, 1))


def mixed(alpha: np.ndarray) -> np.ndarray:
    return np.round(alpha[..., None] * PERSON + (1 - alpha[..., None]) * BEHIND).astype(np.uint8)


def test_most_of_the_old_background_go_from_a_soft_edge() -> None:
    alpha = edge(60, 200, 12.0)
    colors = person_colors(mixed(alpha), alpha)
    soft = (alpha > 0.02) & (alpha < 1)
    assert np.abs(mixed(alpha)[soft] - PERSON).max() > 180
    assert np.abs(colors[soft] - PERSON).max() <= 20


@pytest.mark.parametrize("value", [0.3, 0.8])
def test_a_uniform_photo_stays_as_it_is(value: float) -> None:
    photo = np.full((40, 50, 3), (12, 140, 250), np.uint8)
    alpha = np.full((40, 50), value, np.float32)
    assert np.abs(person_colors(photo, alpha).astype(int) - photo).max() <= 1


def test_pixels_that_are_not_mixed_are_unchanged() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (50, 80, 3), dtype=np.uint8)
    alpha = edge(50, 80, 20.0)
    colors = person_colors(photo, alpha)
    plain = (alpha == 0) | (alpha == 1)
    np.testing.assert_array_equal(colors[plain], photo[plain])
    assert (colors[~plain] != photo[~plain]).any()


def test_a_mask_softer_than_the_edge_makes_no_strong_rim() -> None:
    photo = np.where(edge(60, 200, 1.0)[..., None] >= 0.5, PERSON, BEHIND).astype(np.uint8)
    colors = person_colors(photo, edge(60, 200, 24.0)).astype(int)
    lowest, highest = np.minimum(PERSON, BEHIND), np.maximum(PERSON, BEHIND)
    assert (colors >= lowest - 20).all()
    assert (colors <= highest + 20).all()


@pytest.mark.parametrize("width", [300, 1500])
def test_strips_change_nothing(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = np.random.default_rng(1).integers(0, 256, (40, width, 3), dtype=np.uint8)
    alpha = edge(40, width, 60.0)
    whole = person_colors(photo, alpha)
    monkeypatch.setattr(resize, "STRIP_PIXELS", width * 3)
    assert np.abs(person_colors(photo, alpha).astype(int) - whole).max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (70, 1), (2, 3)])
def test_any_size_works(size: tuple[int, int]) -> None:
    photo = np.random.default_rng(2).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert person_colors(photo, np.full(size, 0.5, np.float32)).shape == photo.shape


@pytest.mark.parametrize("radius", [0.2, 3, 40])
def test_blur_equals_the_trainers(radius: float) -> None:
    values = np.random.default_rng(3).random((20, 31, 2), dtype=np.float32)
    expected = torch_blur(torch.from_numpy(values.transpose(2, 0, 1)[None]), radius)[0].numpy()
    np.testing.assert_allclose(blur(values, radius), expected.transpose(1, 2, 0), atol=1e-5)
