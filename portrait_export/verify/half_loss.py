"""Choose the values of a network that must not be rounded to half precision."""

from __future__ import annotations

import math
from collections.abc import Mapping

from .error_sums import HALF_MAX

HEADROOM = 2.0  # a value this close to half's largest number counts as overflowing: other photographs have larger ones


def overflows(largest: float) -> bool:
    """Whether a magnitude is beyond half precision, or so close that other photographs may exceed it."""
    return largest * HEADROOM > HALF_MAX


def choose(losses: Mapping[str, float], remaining: float) -> list[str]:
    """Return the fewest values without which at most a share of all loss is left, those that overflow included.

    Rounding errors of different values are independent, so that their squares add up.

    Args:
        losses: value → mean squared error of the logits if this value alone is in half precision; infinite if it
            overflows.
        remaining: the share of the sum of finite losses that may be left, 0..1.
    """
    order = sorted(losses, key=lambda name: -losses[name])
    left = sum(loss for loss in losses.values() if math.isfinite(loss))
    allowed = remaining * left
    chosen = []
    for name in order:
        if math.isfinite(losses[name]):
            if left <= allowed:
                break
            left -= losses[name]
        chosen.append(name)
    return chosen
