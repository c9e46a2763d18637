"""Test the warning about masks of one colour."""

from __future__ import annotations

import math

import pytest

from portrait_export.verify.scores import one_colour_warning

CASES = {
    "nobody": ([0.0] * 32, "The network finds nobody on any of 32 photographs (at most 0 % of the pixels)"),
    "a_few_stray_pixels": ([0.0, 0.0015], "finds nobody on any of 2 photographs (at most 0.15 % of the pixels)"),
    "nearly_everything": ([1.0, 0.99996], "calls at least 99.99 % of the pixels of each of 2 photographs a person"),
    "everything": ([1.0, 0.999], "calls at least 99.9 % of the pixels of each of 2 photographs a person"),
    "the_only_photograph": ([0.0], "finds nobody on the only photograph"),
    "one_with_a_person": ([0.0, 0.0, 0.03], ""),
    "one_without": ([1.0, 1.0, 0.9], ""),
    "no_photographs": ([], ""),
    "not_finite": ([math.nan, math.nan], ""),
}


@pytest.mark.parametrize("name", CASES)
def test_masks_of_one_colour_on_every_photograph_are_reported(name):
    shares, message = CASES[name]
    found = one_colour_warning(shares)
    assert message in found
    assert bool(found) == bool(message)
