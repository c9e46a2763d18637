"""Find stored scales, offsets and table entries that are not those of their original.

A stored scale decides which value is the nearest, so a damaged one makes its own block look rounded as it should be.
This compares each with the one of least squared error for the integers or indices that are stored:

    scale   s* = Σ w·q / Σ q²         over a scale's block: w originals, q stored integers beside their zero point
    offset  β  = Σ (w - s·q) / n      0 but for rounding
    entry   t* = Σ s²·(w/s) / Σ s²    over the values that have its index: s the scale beyond the table, if there is one
"""

from __future__ import annotations

import numpy as np

from ..program import Operation
from .decode import unpacked
from .grids import Scales, Tables, scales_of, tables_of
from .health import zeroed
from .stored import StoredValues

# Of what rounding explains, squared: the error that another scale or offset would save. Ours with nearest and
# compensated rounding and coremltools' reach 0.54 (lite0_fpn, serseg_b0; 4 and 8 bits), palettes with scales 0.68.
# Half or twice the scale gives 8 with 4 bits, and more with 8.
SCALE_OFF = 2.0
# The same of a table's entry, where half the distance to the next entry counts as rounding too. Palettes of 1 to 8
# bits, with scales, of vectors, with k-means, even or fitted to inputs, reach 1.9.
ENTRY_OFF = 6.25
# Values with one index: fewer are judged one by one. Compensated rounding moves single ones far (45 in place of 1.9),
# and coremltools' k-means with scales per channel makes a table of every 8 values, and misses their clusters (21).
FEW = 8
HALF_ROUNDING = 2.0**-9  # relative: a scale or an entry in half precision, computed in it


def misfit(values: StoredValues, op: Operation, original: np.ndarray) -> str:
    """Why the scales or tables of a weight are not its original's; empty if each is about the one that fits best.

    Args:
        op: a decoder that `values.decode` can decode.
        original: of the decoded shape.
    """
    wanted, weight, shape = original.astype(np.float64), np.ones(original.shape), original.shape
    chain = values.chain(op)
    for step in chain:
        parts = values.arrays(step)
        if step.type == "constexpr_sparse_to_dense":
            mask = unpacked(parts["mask"], 1, wanted.size) if "shape" in parts else parts["mask"]
            weight = np.where(mask.reshape(shape) != 0, weight, 0)
        elif "scale" in parts:
            grid = scales_of(step, parts, shape)
            if fault := _scale_fault(grid, wanted, weight > 0, step=1.0 if step is chain[-1] else 0.0):
                return fault
            scale = grid.scales[grid.block]
            wanted = wanted / np.where(scale != 0, scale, 1) + (0 if grid.zeros is None else grid.zeros)
            weight = weight * scale**2
        elif "lut" in parts:
            return _table_fault(tables_of(step, parts, shape), wanted, weight)
    return ""


def _scale_fault(grid: Scales, original: np.ndarray, kept: np.ndarray, *, step: float) -> str:
    """Which scales or offsets are wrong, each judged by the values of its own block; `step` is that of the codes."""
    wanted, codes, group = original[kept], grid.codes[kept], grid.block[kept]
    count = len(grid.scales)

    def summed(values: np.ndarray) -> np.ndarray:
        return np.bincount(group, values, count)

    used = np.bincount(group, minlength=count)
    energy = summed(codes**2)
    best = np.where(energy > 0, summed(wanted * codes) / np.where(energy > 0, energy, 1), grid.scales)
    step_error = used * (step * grid.scales) ** 2 / 4
    rest = summed((wanted - best[group] * codes) ** 2)
    beyond = np.abs(best - grid.scales) - grid.least - HALF_ROUNDING * np.abs(best)
    wrong = np.maximum(beyond, 0) ** 2 * energy > SCALE_OFF * (rest + step_error)
    if wrong.any():
        return _scales_named(grid, best, wrong, group, codes)
    if grid.zeros is None:
        return ""
    shift = summed(wanted - grid.scales[group] * codes) / np.maximum(used, 1)
    rest = summed((wanted - grid.scales[group] * codes - shift[group]) ** 2)
    beyond = np.abs(shift) - grid.least * np.abs(codes).max(initial=0)
    moved = np.maximum(beyond, 0) ** 2 * used > SCALE_OFF * (rest + step_error)
    if not moved.any():
        return ""
    return (
        f"has {int(moved.sum())} of {count} offsets that are not the original's: all values of their blocks are shifted"
    )


def _scales_named(grid: Scales, best: np.ndarray, wrong: np.ndarray, group: np.ndarray, codes: np.ndarray) -> str:
    collapsed = int(((grid.scales == 0) & wrong)[group][codes != 0].sum())
    if collapsed:
        return f"has {zeroed(collapsed, grid.codes.size)}"
    first = int(np.argmax(wrong))
    return (
        f"has {int(wrong.sum())} of {len(best)} scales that are not the original's: one is {grid.scales[first]:.3g},"
        f" and {best[first]:.3g} fits its values best"
    )


def _table_fault(grid: Tables, original: np.ndarray, weight: np.ndarray) -> str:
    """Which entries of tables are wrong, each judged by the values that have its index."""
    entries, width = grid.tables.shape[-2:]
    wanted, weights = grid.split(original), grid.split(weight)
    label = grid.block * entries + grid.index
    used = weights[..., 0] > 0
    wanted, weights, label = wanted[used], weights[used], label[used]
    flat = grid.tables.reshape(-1, width)

    def summed(values: np.ndarray) -> np.ndarray:
        return np.stack([np.bincount(label, column, len(flat)) for column in values.T], axis=1)

    total = summed(weights)
    total = np.where(total > 0, total, 1)
    best = np.where(summed(weights) > 0, summed(weights * wanted) / total, flat)
    spread_out = (summed(weights * (wanted - best[label]) ** 2) / total).sum(axis=1)
    distance = np.sqrt(((best - flat) ** 2).sum(axis=1))
    beyond = np.maximum(distance - 2 * HALF_ROUNDING * np.abs(flat).max(initial=0), 0)
    wrong = (np.bincount(label, minlength=len(flat)) >= FEW) & (
        beyond**2 > ENTRY_OFF * (spread_out + _gaps(grid.tables) / 4)
    )
    if not wrong.any():
        return ""
    first = int(np.argmax(wrong))
    return (
        f"has {int(wrong.sum())} of {len(flat)} values of tables that are not the original's: one is"
        f" {_numbers(flat[first])}, and {_numbers(best[first])} fits its values best"
    )


def _gaps(tables: np.ndarray) -> np.ndarray:
    """The squared distance of each entry of (G, entries, V) to the nearest other one of its table, flat."""
    found = []
    for table in tables:
        distances = ((table[:, None] - table[None]) ** 2).sum(axis=-1)
        found.append(np.where(distances > 0, distances, np.inf).min(axis=1))
    return np.concatenate(found)


def _numbers(vector: np.ndarray) -> str:
    return ", ".join(f"{value:.3g}" for value in vector)
