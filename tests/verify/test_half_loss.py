"""The fewest values are chosen whose loss in half precision is most of it."""

from __future__ import annotations

import math

import pytest

from portrait_export.verify.half_loss import choose, overflows

LOSSES = {"a": 1.0, "b": 8.0, "c": 4.0, "d": 2.0, "e": 1.0}


@pytest.mark.parametrize(
    ("remaining", "chosen"), [(1.0, []), (0.5, ["b"]), (0.25, ["b", "c"]), (0.1, ["b", "c", "d", "a"])]
)
def test_the_largest_losses_go_first(remaining, chosen):
    assert choose(LOSSES, remaining) == chosen


def test_what_overflows_is_always_chosen():
    assert choose({**LOSSES, "inf": math.inf}, 1.0) == ["inf"]


def test_nothing_is_chosen_where_nothing_is_lost():
    assert choose({"a": 0.0, "b": 0.0}, 0.25) == []


def test_a_magnitude_near_the_largest_half_counts_as_overflow():
    assert [overflows(size) for size in (1.0, 32000.0, 33000.0, 70000.0)] == [False, False, True, True]
