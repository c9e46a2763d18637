"""Test bounds that are written with few digits."""

from __future__ import annotations

import pytest

from portrait_export.utils.bounds import at_least, at_most

UPPER = {0.0: "0", 0.0136: "0.014", 0.01: "0.01", 0.0101: "0.011", 0.99999: "1", 100 * 0.07: "7", 3e-9: "3e-09"}
LOWER = {0.0: "0", 99.987: "99.98", 99.9999: "99.99", 100.0: "100", 100 * 0.9995: "99.95"}


@pytest.mark.parametrize("value", UPPER)
def test_upper_bounds_are_rounded_up(value: float) -> None:
    assert at_most(value) == UPPER[value]


@pytest.mark.parametrize("value", LOWER)
def test_lower_bounds_are_rounded_down(value: float) -> None:
    assert at_least(value, digits=4) == LOWER[value]
