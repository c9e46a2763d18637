"""Write a bound with few digits, rounded so that it still holds."""

from __future__ import annotations

import decimal


def at_most(value: float, digits: int = 2) -> str:
    """Write an upper bound to significant digits, rounded up: 0.0136 is `0.014`."""
    return _rounded(value, digits, decimal.ROUND_CEILING)


def at_least(value: float, digits: int = 2) -> str:
    """Write a lower bound to significant digits, rounded down: 0.9996 is `0.99`."""
    return _rounded(value, digits, decimal.ROUND_FLOOR)


def _rounded(value: float, digits: int, rounding: str) -> str:
    exact = f"{value:.12g}"  # 100 * 0.07 is 7, not 7.000000000000001
    return f"{float(decimal.Context(prec=digits, rounding=rounding).create_decimal(exact)):.12g}"
