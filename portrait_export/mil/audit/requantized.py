"""Find weights that were rounded from one coarse grid to another.

Both grids have few bits, and as many.

Networks that were trained or quantized for 4 bits lose nothing if their own scales or tables are stored. A pass that
derives the scales again from the largest value loses as much as rounding did before.
"""

from __future__ import annotations

import math

import numpy as np

from ..program import Operation
from .nearest import blocks
from .stored import StoredValues

MOST_BITS = 4  # with more, another grid loses little
EXACT = 2e-3  # relative error of storing a grid in half precision: 2e-4
OFF_GRID = 0.1  # of a step: values of up to 16 steps in half precision are at most 0.01 off
SAMPLED = 64  # blocks, evenly spread


def avoidable_loss(values: StoredValues, op: Operation, original: np.ndarray, *, bits: int, error: float) -> str:
    """Why a weight lost more than it had to; empty if its original needs more bits than it has.

    Args:
        original: of the decoded shape.
        error: of the stored weight, relative.
    """
    if bits > MOST_BITS or not error > EXACT:
        return ""
    table, grid = _grid_of(values, op, original.ndim)
    if grid is None:
        return ""
    if original.size <= math.prod(grid) << bits:
        return ""  # so few values in a block are no grid: coremltools writes a table for every 8
    parts = [original[part] for _, part in blocks(grid, original.shape)]
    sampled = parts[:: max(1, len(parts) // SAMPLED)]
    used = [_levels(part, even=not table) for part in sampled]
    if max(used) > 1 << bits or np.median(used) < 1 << (bits - 1):
        return ""
    what = "the values of a table" if table else "steps of a scale"
    return (
        f"loses {100 * error:.3g} %, although its original has at most {1 << bits} different values already ({what}),"
        f" which {bits} bits hold exactly"
    )


def _grid_of(values: StoredValues, op: Operation, rank: int) -> tuple[bool, tuple[int, ...] | None]:
    """Whether values come from tables, and the numbers of tables or scales along each axis; None if it is not known."""
    arrays = values.arrays(op)
    if op.type == "constexpr_lut_to_dense" and arrays["lut"].shape[-1:] != (1,) and "shape" not in arrays:
        return True, None  # a table of vectors
    if op.type == "constexpr_lut_to_dense":
        return True, (1,) * rank if "shape" in arrays else arrays["lut"].shape[:-2]
    if op.type == "constexpr_blockwise_shift_scale":
        return False, arrays["scale"].shape
    return False, None


def _levels(part: np.ndarray, *, even: bool) -> float:
    """How many levels hold values exactly; with `even`, levels at equal distances, infinite if those do not."""
    distinct = np.unique(part.astype(np.float64))
    if len(distinct) < 2 or not even:
        return len(distinct)
    steps = (distinct - distinct[0]) / np.diff(distinct).min()
    return float(np.rint(steps[-1])) + 1 if np.abs(steps - np.rint(steps)).max() < OFF_GRID else np.inf
