"""The size of a value about to be made in; an ExecutionError out, before memory is asked for.

A damaged package may declare any size. Every operator whose result can be larger than its inputs claims it here first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from ..errors import ExecutionError

MAX_ELEMENTS = 2**29  # of one value; 2 GiB in float32. A 512x512 portrait network's largest value has 2**23.
MAX_ITERATIONS = 100_000  # of one loop
MAX_RANK = 16  # MIL itself stops at 5 or 6 in most operators


def claim(shape: Iterable[int]) -> None:
    """Refuse a shape beyond MAX_ELEMENTS, or with a negative side."""
    sizes = [int(size) for size in shape]
    if any(size < 0 for size in sizes):
        raise ExecutionError(f"A value of shape {sizes} has a negative side.")
    if math.prod(sizes) > MAX_ELEMENTS or len(sizes) > MAX_RANK:
        raise ExecutionError(
            f"A value of shape {sizes} would have {math.prod(sizes):,} elements; at most {MAX_ELEMENTS:,}"
            f" in {MAX_RANK} dimensions are allowed."
        )
