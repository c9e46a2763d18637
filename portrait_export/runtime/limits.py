"""Check the size of a value before memory is allocated for it.

A damaged package can declare any size. Every operator whose result can be larger than its inputs calls `claim` first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import zip_longest

from ..errors import ExecutionError

MAX_ELEMENTS = 2**29  # of one value; 2 GiB in float32. A 512x512 portrait network's largest value has 2**23.
MAX_ITERATIONS = 100_000  # of one loop
MAX_RANK = 16  # most MIL operators allow at most 5 or 6


def claim(shape: Iterable[int]) -> None:
    """Raise ExecutionError for a shape with more than MAX_ELEMENTS elements, or with a negative side."""
    sizes = [int(size) for size in shape]
    if any(size < 0 for size in sizes):
        raise ExecutionError(f"A value of shape {sizes} has a negative side.")
    if math.prod(sizes) > MAX_ELEMENTS or len(sizes) > MAX_RANK:
        raise ExecutionError(
            f"A value of shape {sizes} would have {math.prod(sizes):,} elements; at most {MAX_ELEMENTS:,}"
            f" in {MAX_RANK} dimensions are allowed."
        )


def broadcast(*shapes: Sequence[int]) -> list[int]:
    """The shape that values of these shapes broadcast to.

    torch.broadcast_shapes does the same, but its first call imports SymPy: 30 MB of memory and part of a second.
    """
    result = []
    for sides in zip_longest(*map(reversed, shapes), fillvalue=1):
        others = set(sides) - {1}
        if len(others) > 1:
            raise ExecutionError(f"values of shapes {', '.join(str(list(shape)) for shape in shapes)} do not broadcast")
        result.append(others.pop() if others else 1)
    return result[::-1]
