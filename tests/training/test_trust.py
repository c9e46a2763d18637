"""Test that gray is trusted only near edges."""

from __future__ import annotations

import numpy as np
import pytest

from portrait_export.training.trust import EDGE, trusted


def half(side: int = 100) -> np.ndarray:
    mask = np.zeros((side, side), np.float32)
    mask[:, side // 2 :] = 1
    return mask


def test_firm_masks_are_trusted_everywhere() -> None:
    assert trusted(half()).all()
    assert trusted(np.zeros((8, 8), np.float32)).all()


def test_soft_edge_is_trusted_and_gray_inside_is_not() -> None:
    mask = half()
    mask[:, 49:51] = 0.5
    mask[20:60, 70:95] = 0.4
    trust = trusted(mask)
    assert trust[:, 49:51].all()
    assert not trust[25:55, 75:90].any()
    assert trust[mask == 0].all()
    assert trust[mask == 1].all()


def test_gray_that_touches_background_but_no_person_is_not_trusted() -> None:
    mask = np.zeros((100, 100), np.float32)
    mask[40:60, 40:60] = 0.5
    assert not trusted(mask)[40:60, 40:60].any()


@pytest.mark.parametrize("shape", [(31, 17), (4, 90), (200, 3)])
def test_edge_is_gray_within_a_square_of_both_person_and_background(shape: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).choice([0.0, 0.5, 1.0], shape, p=[0.08, 0.84, 0.08]).astype(np.float32)
    radius = max(2, round(EDGE * max(shape)))
    expected = np.ones(shape, bool)
    for y, x in zip(*np.nonzero(mask == 0.5), strict=True):
        near = mask[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
        expected[y, x] = bool((near == 0).any() and (near == 1).any())
    assert 0 < (~expected).sum() < mask.size
    assert np.array_equal(trusted(mask), expected)
