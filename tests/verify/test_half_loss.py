"""The fewest values are chosen whose loss in half precision is most of it."""

from __future__ import annotations

import math

import pytest

from portrait_export.verify.half_loss import choose, describe_half, overflows

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


@pytest.mark.parametrize(
    ("half", "exact", "blamed"),
    [(0.99844, 1.0, True), (0.99, 0.996, True), (0.99, 0.994, False), (0.9, 0.9, False), (0.9, 0.8, False)],
)
def test_half_precision_is_blamed_where_float32_loses_at_most_half_as_much(half, exact, blamed):
    notes = describe_half("a", half=half, exact=exact)
    assert bool(notes) == blamed
    if blamed:
        assert f"the mask IoU is {half:.5f}, and {exact:.5f} in float32" in notes[0]
        assert "`precision=auto`" in notes[0]
