"""Find the values that half precision must not round."""

from __future__ import annotations

import math
from collections.abc import Mapping

from .error_sums import HALF_MAX

BLAMED = 0.5  # share of the lost mask IoU from which half precision is named as the reason
NEAR_THRESHOLD = (
    "Rounding the weights to half precision is enough to flip such pixels; `precision=auto` keeps the operations that"
    " lose most in float32, with their weights."
)
HALF_ASSET = (
    "The asset computes in half precision throughout, its weights included: no operation of it can be kept in float32"
    " alone. `precision=fp32` makes an asset in float32, twice as large; if its masks agree, rounding is the reason."
)
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


def describe_half(photograph: str, *, half: float, exact: float) -> tuple[str, ...]:
    """A sentence on a failed gate that half precision explains; nothing where float32 arithmetic loses as much.

    Args:
        half: mask IoU of the package as it is. exact: of the same package in float32 arithmetic.
    """
    if 1 - exact > (1 - half) * BLAMED:
        return ()
    line = (
        f"Rounding to half precision is the reason: on {photograph} the mask IoU is {half:.5f}, and {exact:.5f} in"
        " float32 arithmetic with the same weights. `precision=auto` keeps the operations that lose most in float32."
    )
    return (line,)
