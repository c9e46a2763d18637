"""Measure how far apart two masks or two arrays of logits are.

A NaN or an infinity in the input makes every number that depends on it NaN. NaN passes no gate, and aggregates keep it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import DataError

if TYPE_CHECKING:
    import numpy as np


NAN = float("nan")
THRESHOLD = 0.5  # P(person) from which a pixel is person
# Boundary tolerance as a share of the image diagonal: Csurka et al., "What is a good evaluation measure for semantic
# segmentation?", BMVC 2013, use 0.75 %; DAVIS (Perazzi et al., CVPR 2016) 0.8 %, which is 6 pixels at 512x512.
BOUNDARY_SHARE = 0.008
IDENTICAL_DB = 200.0  # the value for zero error, so that reports stay finite; float32 rounding alone gives about 150


# ---- masks ------------------------------------------------------------------------------------------------------


def binary(probability: np.ndarray, threshold: float = THRESHOLD) -> np.ndarray:
    """(H, W) P(person) → (H, W) bool, True from the threshold on."""
    result: np.ndarray = probability >= threshold
    return result


def mask_iou(a: np.ndarray, b: np.ndarray, threshold: float = THRESHOLD) -> float:
    """Intersection over union of two masks, |A∩B| / |A∪B|. Two empty masks agree: 1.

    Args:
        a, b: (H, W) P(person).
    Returns:
        0..1, or NaN if either holds a value that is not finite.
    """
    require_same_shape(a, b, "masks")
    if not finite(a, b):
        return NAN
    person_a, person_b = binary(a, threshold), binary(b, threshold)
    union = _count(person_a | person_b)
    return _count(person_a & person_b) / union if union else 1.0


def flipped_pixels(a: np.ndarray, b: np.ndarray, threshold: float = THRESHOLD) -> float:
    """How many pixels are person in one mask and background in the other. NaN if either is not finite."""
    require_same_shape(a, b, "masks")
    if not finite(a, b):
        return NAN
    return float(_count(binary(a, threshold) != binary(b, threshold)))


def flipped_margin(reference: np.ndarray, candidate: np.ndarray, threshold: float = THRESHOLD) -> float:
    """How certain the reference was where the masks disagree: the largest |P − threshold| of its flipped pixels.

    Returns:
        0 where no pixel flipped: 0..1, or NaN if either holds a value that is not finite.
    """
    import numpy as np

    require_same_shape(reference, candidate, "masks")
    if not finite(reference, candidate):
        return NAN
    flipped = binary(reference, threshold) != binary(candidate, threshold)
    return float(np.abs(reference[flipped].astype(np.float64) - threshold).max(initial=0.0))


def boundary_f(a: np.ndarray, b: np.ndarray, threshold: float = THRESHOLD, radius: int | None = None) -> float:
    """F-score of two masks' outlines, as DAVIS defines it (Perazzi et al., CVPR 2016, section 4).

    An outline pixel counts as found if the other outline comes within `radius` pixels (Euclidean):
        precision = found of A / |A|,  recall = found of B / |B|,  F = 2·P·R / (P + R).
    Two masks without an outline agree (1). If only one mask has an outline they do not (0).

    Args:
        a, b: (H, W) P(person).
        radius: in pixels; None takes BOUNDARY_SHARE of the diagonal, rounded up.
    Returns:
        0..1, or NaN if either holds a value that is not finite.
    """
    require_same_shape(a, b, "masks")
    if not finite(a, b):
        return NAN
    reach = boundary_radius(a.shape) if radius is None else radius
    outline_a, outline_b = outline(binary(a, threshold)), outline(binary(b, threshold))
    count_a, count_b = _count(outline_a), _count(outline_b)
    if not count_a or not count_b:
        return 1.0 if count_a == count_b else 0.0
    precision = _count(outline_a & dilate(outline_b, reach)) / count_a
    recall = _count(outline_b & dilate(outline_a, reach)) / count_b
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary_radius(shape: Sequence[int]) -> int:
    """The tolerance in pixels for masks of (H, W)."""
    return math.ceil(BOUNDARY_SHARE * math.hypot(shape[0], shape[1]))


def outline(person: np.ndarray) -> np.ndarray:
    """The outline of a (H, W) bool mask, one pixel thin: where it differs from its right, lower or diagonal neighbour.

    The image's border is not an outline: nothing is known beyond it.
    """
    import numpy as np

    padded = np.pad(person, ((0, 1), (0, 1)), mode="edge")
    own = padded[:-1, :-1]
    result: np.ndarray = (own != padded[:-1, 1:]) | (own != padded[1:, :-1]) | (own != padded[1:, 1:])
    return result


def dilate(points: np.ndarray, radius: int) -> np.ndarray:
    """All pixels within `radius` (Euclidean) of a True pixel.

    A disk is a stack of rows: row dy reaches √(r² − dy²) to each side, and a row's reach is a difference of sums.
    """
    import numpy as np

    H, W = points.shape
    sums = np.zeros((H, W + 1), np.int32)
    np.cumsum(points, axis=1, out=sums[:, 1:])
    columns = np.arange(W)
    out = np.zeros((H, W), bool)
    for dy in range(min(radius, H - 1) + 1):
        reach = math.isqrt(radius * radius - dy * dy)
        ends, starts = np.minimum(columns + reach + 1, W), np.maximum(columns - reach, 0)
        near = sums[:, ends] > sums[:, starts]
        out[dy:] |= near[: H - dy]
        out[: H - dy] |= near[dy:]
    return out


def mean_abs_error(a: np.ndarray, b: np.ndarray) -> float:
    """mean |a − b|, in float64. NaN if either is not finite."""
    import numpy as np

    require_same_shape(a, b, "maps")
    if not finite(a, b):
        return NAN
    return float(np.abs(a.astype(np.float64) - b).mean())


# ---- logits -----------------------------------------------------------------------------------------------------


def psnr_db(reference: np.ndarray, candidate: np.ndarray) -> float:
    """Peak signal-to-noise ratio, 10·log₁₀(peak² / MSE), where peak = max(reference) − min(reference).

    The peak is the range of the values because a mask is cut from it; unlike the largest value it does not grow with a
    constant offset. A constant reference has no range: its peak is the size of its value, or 1 where that is zero.

    Args:
        reference, candidate: of one shape.
    Returns:
        Decibels, at most IDENTICAL_DB. NaN if either is not finite.
    """
    import numpy as np

    require_same_shape(reference, candidate, "tensors")
    if not finite(reference, candidate):
        return NAN
    exact = reference.astype(np.float64)
    mse = float(np.mean((exact - candidate) ** 2)) if exact.size else 0.0
    if mse == 0:
        return IDENTICAL_DB
    peak = _peak(exact)
    return min(IDENTICAL_DB, 20 * math.log10(peak) - 10 * math.log10(mse))


def _peak(values: np.ndarray) -> float:
    """The range of float64 values; of a constant its size, or 1 where that is zero."""
    import numpy as np

    low, high = float(values.min()), float(values.max())
    size = max(abs(low), abs(high))
    rounding = float(np.finfo(np.float32).eps) * size  # a range this small is a constant's rounding
    return high - low if high - low > rounding else size or 1.0


def max_abs_error(reference: np.ndarray, candidate: np.ndarray) -> float:
    """max |candidate − reference|. NaN if either is not finite."""
    import numpy as np

    require_same_shape(reference, candidate, "tensors")
    if not finite(reference, candidate):
        return NAN
    return float(np.abs(reference.astype(np.float64) - candidate).max(initial=0.0))


def max_rel_error(reference: np.ndarray, candidate: np.ndarray) -> float:
    """max |candidate − reference| / max |reference|: the largest error in units of the reference's scale.

    0 where both are all zero; NaN if either is not finite, or if the reference is all zero and the candidate is not.
    """
    import numpy as np

    error = max_abs_error(reference, candidate)
    scale = float(np.abs(reference.astype(np.float64)).max(initial=0.0))
    if error == 0:
        return 0.0
    return error / scale if scale > 0 else NAN


# ---- shared -------------------------------------------------------------------------------------------------------


def badness_key(value: float) -> tuple[bool, float]:
    """Sorts values from worst to best: NaN first, then ascending."""
    return (False, 0.0) if math.isnan(value) else (True, value)


def _count(flags: np.ndarray) -> int:
    import numpy as np

    return int(np.count_nonzero(flags))


def finite(*arrays: np.ndarray) -> bool:
    """Whether no value is a NaN or an infinity."""
    import numpy as np

    return all(bool(np.isfinite(array).all()) for array in arrays)


def require_same_shape(a: np.ndarray, b: np.ndarray, what: str) -> None:
    """Raise DataError unless two arrays have one shape."""
    if a.shape != b.shape:
        raise DataError(f"Cannot compare {what} of different shapes: {tuple(a.shape)} and {tuple(b.shape)}.")
