"""Test that a few of many are chosen from all parts of them."""

from __future__ import annotations

import pytest

from portrait_export.utils.evenly import evenly

CHOSEN = [(3, [0, 3, 6]), (6, [0, 1, 3, 5, 6, 8]), (10, list(range(10))), (99, list(range(10))), (0, [])]


@pytest.mark.parametrize(("count", "chosen"), CHOSEN)
def test_a_choice_has_even_distances_and_no_more_than_there_are(count: int, chosen: list[int]) -> None:
    assert evenly(range(10), count) == chosen
