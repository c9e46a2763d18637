"""Compare a decoded weight with the values that it should have, on the weight's own scale."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ..balanced import TIE
from .grids import Layout

# A weight that lost this share of itself (root mean square) is no longer that weight. Rounding to b bits stays below on
# weights as networks have them: 0.02 at 8 bits, 0.15 at 4, 0.55 at 2 with compensated errors, and 0.9 at 2 with tables
# that span outliers evenly. Zeros lose all of it.
LOST = {1: 1.0, 2: 1.0, 3: 0.8, 4: 0.6}
LOST_ABOVE_4_BITS = 0.5
# Compensated rounding is at most 1.8 times as far from the weight as rounding to nearest (palettes of 2 to 6 bits and
# blocks of 4 bits of segformer_b0 and serseg_b0); nibbles in the wrong order at 4 bits are 10 times as far.
COMPENSATED = 3.0
# It moves a value by at most 7.8 times the largest error of rounding to nearest in its block (our recipes of 2 to 8
# bits on lite0_fpn and serseg_b0). The fourth bit of 8 moves it by 16 times; single bits of 4 are not told.
FAR = 12.0
ISOLATED = 0.01  # share of values: where fewer are not rounded to nearest, those are faults and not a way of rounding
# Of the distance between two values, a quarter: codes chosen with a scale before it was rounded to half, or turned.
NEAR_TIE = 1 - 2 * TIE
NEXT = 1.01  # of the distance of two halves: where the next larger or smaller one is no fault
MISPLACED = 2.0  # zeros at random places lose 2.6 times what the smallest half of a Gaussian weight holds
# Share of the largest value: coremltools computes uniform tables and indices in half precision.
HALF_ARITHMETIC = 2 * 2.0**-10
# The same for an even table of 256 values: coremltools counts its steps in half precision, which has eighths of them
# there. Its indices are up to 0.34 of a step off, for which 3.3 * 2^-10 is needed.
EVEN_ARITHMETIC = 5 * 2.0**-10
HALF_SCALE = 128 * 2.0**-25  # what 128 steps lose where their scale is below half precision's normal range
ODD = 0.25  # share of a small constant's values: where more differ, tuning or a folded norm changed it
HALF_ROUNDING = 2.0**-10  # relative
REORDERED = 1e-5  # relative error of the same float32 arithmetic in another order, such as folding a scale


@dataclass(frozen=True)
class Comparison:
    """How far a decoded weight is from what it should be.

    Attributes:
        error: root mean square of (decoded - reference) over that of the reference; NaN if either is not finite.
        nearest_error: the same of the reference rounded to the nearest values that the weight can take.
        off: number of values that are clearly not the nearest.
        fault: why the weight is wrong; empty if it is not.
    """

    error: float
    nearest_error: float
    off: int
    fault: str = ""


def compare(
    decoded: np.ndarray,
    nearest: np.ndarray,
    reference: np.ndarray,
    *,
    layout: Layout,
    bits: int,
    plain: bool = False,
    compensated: bool = False,
    intended: bool = False,
) -> Comparison:
    """Compare three arrays of one shape: (vectors, V), where V is 1 unless vectors are rounded together.

    Args:
        decoded: what the package holds.
        nearest: from `nearest`, for the same stored scales and tables.
        reference: what it should be, before compression.
        layout: of the same vectors.
        bits: per stored element.
        plain: not compressed: what is infinite in its type is no fault, such as an attention mask in half precision.
        compensated: the weight's rounding errors are known to be compensated: then single values need not be the
            nearest, but near it.
        intended: the values are known to be those that a quantizer computed, which need not be the nearest: then only
            a lost weight is a fault.
    """
    finite = np.isfinite(reference)
    if plain:
        finite &= ~(np.isinf(decoded) & (decoded == nearest))
    lost = int((finite & ~np.isfinite(decoded)).sum())
    lost += int((~np.isfinite(reference) & ~_same(decoded, reference)).sum())
    if lost:
        return Comparison(math.nan, math.nan, lost, f"has {lost} of {decoded.size} values that are NaN or infinite")
    finite = finite.all(axis=1)
    found, wanted, best = (array[finite].astype(np.float64) for array in (decoded, reference, nearest))
    error, nearest_error = relative_error(found, wanted), relative_error(best, wanted)
    moved, least, excess = _distances(found, best, wanted)
    block = layout.block[finite]
    share = EVEN_ARITHMETIC if layout.fine_and_even else HALF_ARITHMETIC
    arithmetic = np.zeros(len(block)) if plain else share * _largest(_length(wanted), block)
    arithmetic += HALF_SCALE if decoded.dtype == np.float16 and not plain else 0.0
    wrong = excess > NEAR_TIE * moved + arithmetic
    if plain and decoded.dtype == np.float16:  # our exports turn some halves, so that errors cancel (mil/balanced.py)
        wrong &= moved > NEXT * np.spacing(np.abs(nearest[finite])).astype(np.float64)[:, 0]
    off = int(wrong.sum())
    if plain and not off and error > LOST_ABOVE_4_BITS:
        fault = f"is too small for its type, which loses {100 * error:.3g} % of it: `precision=fp32` keeps it"
    else:
        limit = LOST.get(bits, LOST_ABOVE_4_BITS)
        far = 0 if plain else int((moved > FAR * (_largest(least, block) + arithmetic)).sum())
        counts = (0, 0) if intended else (off, far)
        fault = _fault(error, nearest_error, counts, decoded.size, limit, compensated=compensated)
    return Comparison(error, nearest_error, off, fault)


def _distances(found: np.ndarray, best: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """|found - best|, |best - wanted|, and how much further from the wanted values the found ones are.

    That is (|found - wanted|² - |best - wanted|²) / |found - best|: of values between two others, the difference of
    their distances; of vectors, twice the distance to the plane between two others.
    """
    moved = _length(found - best)
    further = ((found - wanted) ** 2).sum(axis=1) - ((best - wanted) ** 2).sum(axis=1)
    return moved, _length(best - wanted), np.minimum(further / np.where(moved > 0, moved, 1), moved)


def _length(vectors: np.ndarray) -> np.ndarray:
    return np.abs(vectors[:, 0]) if vectors.shape[1] == 1 else np.sqrt((vectors**2).sum(axis=1))


def _largest(values: np.ndarray, block: np.ndarray) -> np.ndarray:
    """The largest of the values of each one's block."""
    found = np.zeros(int(block.max(initial=-1)) + 1)
    np.maximum.at(found, block, values)
    return found[block]


def _same(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    return (found == wanted) | (np.isnan(found) & np.isnan(wanted))


def compare_kept(
    decoded: np.ndarray,
    nearest: np.ndarray,
    reference: np.ndarray,
    *,
    layout: Layout,
    bits: int,
    intended: bool = False,
) -> Comparison:
    """As `compare`, for a pruned weight: faults are those of the values that were kept, and zeros at wrong places.

    How much of a weight is pruned is its maker's choice.
    """
    kept = (decoded != 0).any(axis=1)
    found = compare(
        decoded[kept],
        nearest[kept],
        reference[kept],
        layout=replace(layout, block=layout.block[kept]),
        bits=bits,
        intended=intended,
    )
    finite = np.isfinite(reference) & np.isfinite(decoded)
    error = relative_error(decoded[finite].astype(np.float64), reference[finite].astype(np.float64))
    fault = found.fault or ("" if intended else misplaced_zeros(decoded, reference))
    return Comparison(error, found.nearest_error, found.off, fault)


def misplaced_zeros(decoded: np.ndarray, reference: np.ndarray) -> str:
    """Why a pruned weight lacks the wrong values; empty if its zeros are about where the smallest values were.

    Pruning in a pattern, such as 2 of 4, loses up to 1.3 times what the smallest values hold.
    """
    wanted = np.sort(np.abs(reference.astype(np.float64)).ravel())
    zeros = int((decoded == 0).sum())
    kept = np.where(decoded == 0, 0, reference.astype(np.float64))
    smallest = np.concatenate([np.zeros(zeros), wanted[zeros:]])
    least, lost = relative_error(smallest, wanted), relative_error(kept, reference.astype(np.float64))
    if not lost > MISPLACED * least + REORDERED:
        return ""
    return (
        f"has zeros that lose {100 * lost:.3g} % of it; as many zeros in place of its smallest values lose"
        f" {100 * least:.3g} %"
    )


def odd_values(decoded: np.ndarray, reference: np.ndarray) -> str:
    """Why single values of a small constant are wrong; empty unless all others are the original's."""
    with np.errstate(over="ignore"):
        rounded = reference.astype(decoded.dtype)  # a mask may become infinite
    used = np.isfinite(decoded) & np.isfinite(rounded)
    found, wanted = decoded[used].astype(np.float64), rounded[used].astype(np.float64)
    moved = np.abs(found - wanted)
    other, far = moved > HALF_ROUNDING * np.abs(wanted), moved > np.abs(wanted).max(initial=0)
    if not far.any() or other.sum() > ODD * np.count_nonzero(wanted):
        return ""
    return f"has {int(far.sum())} of {decoded.size} values that are not the original's, as the others are"


def channel_factors(decoded: np.ndarray, reference: np.ndarray) -> str:
    """How each output channel differs from the original's by a factor alone; empty if that is not the difference."""
    found, wanted = (array.reshape(len(array), -1).astype(np.float64) for array in (decoded, reference))
    energy = (wanted**2).sum(axis=1)
    factors = (found * wanted).sum(axis=1)[energy > 0] / energy[energy > 0]
    scaled = np.zeros_like(wanted)
    scaled[energy > 0] = wanted[energy > 0] * factors[:, None]
    if not factors.size or not relative_error(found, scaled) < relative_error(found, wanted) / 3:
        return ""
    return (
        f"; each output channel is the original's times a factor ({factors.min():.3g} to {factors.max():.3g}): its"
        " scales are wrong, or a normalization was folded into it that the original has apart"
    )


def relative_error(found: np.ndarray, wanted: np.ndarray) -> float:
    """Root mean square of the difference over that of the wanted values, whatever their scale.

    0 if both are zero everywhere, infinite if only the wanted ones are.
    """
    peak = float(np.abs(wanted).max(initial=0))
    if peak == 0:
        return 0.0 if not np.any(found) else math.inf
    return math.sqrt(float(np.mean(((found - wanted) / peak) ** 2) / np.mean((wanted / peak) ** 2)))


def _fault(
    error: float, nearest_error: float, counts: tuple[int, int], size: int, limit: float, *, compensated: bool
) -> str:
    """What is wrong; `counts` are the values that are not the nearest ones, and those of them that are far off."""
    off, far = counts
    if not error < limit:
        return f"does not decode to the original: {100 * error:.3g} % of it is lost"
    if 0 < off <= ISOLATED * size and not compensated:
        return f"has {off} of {size} values that are not the nearest to the original, as all others are"
    if 0 < far <= ISOLATED * size:
        return f"has {far} of {size} values that are further from the original than compensated rounding explains"
    if off and error > COMPENSATED * nearest_error + REORDERED:
        return (
            f"differs from the original by {100 * error:.3g} %; rounding to its stored scales or tables"
            f" loses {100 * nearest_error:.3g} %"
        )
    return ""
