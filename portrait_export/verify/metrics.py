"""Two predictions of one frame in, numbers out: how far the masks and the logits are apart.

A NaN or an infinity in what is judged makes every number that depends on it NaN: NaN passes no gate, and aggregates
keep it instead of averaging it away.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import DataError

if TYPE_CHECKING:
    import numpy as np

    from ..artifacts import Prediction

NAN = float("nan")
THRESHOLD = 0.5  # P(person) from which a pixel is person
# Boundary tolerance as a share of the image diagonal: Csurka et al., "What is a good evaluation measure for semantic
# segmentation?", BMVC 2013, use 0.75 %; DAVIS (Perazzi et al., CVPR 2016) 0.8 %, which is 6 pixels at 512x512.
BOUNDARY_SHARE = 0.008
IDENTICAL_DB = 200.0  # what zero error counts as, so that reports stay finite; float32 rounding alone gives about 150


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
    _same_shape(a, b, "masks")
    if not _finite(a, b):
        return NAN
    person_a, person_b = binary(a, threshold), binary(b, threshold)
    union = _count(person_a | person_b)
    return _count(person_a & person_b) / union if union else 1.0


def flipped_pixels(a: np.ndarray, b: np.ndarray, threshold: float = THRESHOLD) -> float:
    """How many pixels are person in one mask and background in the other. NaN if either is not finite."""
    _same_shape(a, b, "masks")
    if not _finite(a, b):
        return NAN
    return float(_count(binary(a, threshold) != binary(b, threshold)))


def boundary_f(a: np.ndarray, b: np.ndarray, threshold: float = THRESHOLD, radius: int | None = None) -> float:
    """F-score of two masks' outlines, as DAVIS defines it (Perazzi et al., CVPR 2016, section 4).

    An outline pixel counts as found if the other outline comes within `radius` pixels (Euclidean):
        precision = found of A / |A|,  recall = found of B / |B|,  F = 2·P·R / (P + R).
    Two masks without outline agree (1); one without and one with do not (0).

    Args:
        a, b: (H, W) P(person).
        radius: in pixels; None takes BOUNDARY_SHARE of the diagonal, rounded up.
    Returns:
        0..1, or NaN if either holds a value that is not finite.
    """
    _same_shape(a, b, "masks")
    if not _finite(a, b):
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

    The image's border is no outline: beyond it nothing is known.
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

    _same_shape(a, b, "maps")
    if not _finite(a, b):
        return NAN
    return float(np.abs(a.astype(np.float64) - b).mean())


# ---- logits -----------------------------------------------------------------------------------------------------


def psnr_db(reference: np.ndarray, candidate: np.ndarray) -> float:
    """Peak signal-to-noise ratio, 10·log₁₀(peak² / MSE), where peak = max(reference) − min(reference).

    The range of the values is the signal that a mask is cut from; unlike the largest value it does not grow with a
    constant offset.

    Args:
        reference, candidate: of one shape.
    Returns:
        Decibels, at most IDENTICAL_DB. NaN if either is not finite, or if a constant reference is not met exactly.
    """
    import numpy as np

    _same_shape(reference, candidate, "tensors")
    if not _finite(reference, candidate):
        return NAN
    exact = reference.astype(np.float64)
    mse = float(np.mean((exact - candidate) ** 2)) if exact.size else 0.0
    if mse == 0:
        return IDENTICAL_DB
    peak = float(exact.max() - exact.min())
    return min(IDENTICAL_DB, 10 * math.log10(peak * peak / mse)) if peak > 0 else NAN


def max_abs_error(reference: np.ndarray, candidate: np.ndarray) -> float:
    """max |candidate − reference|. NaN if either is not finite."""
    import numpy as np

    _same_shape(reference, candidate, "tensors")
    if not _finite(reference, candidate):
        return NAN
    return float(np.abs(reference.astype(np.float64) - candidate).max(initial=0.0))


def max_rel_error(reference: np.ndarray, candidate: np.ndarray) -> float:
    """max |candidate − reference| / max |reference|: the largest error in units of the reference's scale.

    0 where both are all zero; NaN if either is not finite, or if an all-zero reference is not met exactly.
    """
    import numpy as np

    error = max_abs_error(reference, candidate)
    scale = float(np.abs(reference.astype(np.float64)).max(initial=0.0))
    if error == 0:
        return 0.0
    return error / scale if scale > 0 else NAN


# ---- one image, and a set of them -------------------------------------------------------------------------------


@dataclass(frozen=True)
class ImageScore:
    """One frame, candidate against reference. Field names end in their unit where they have one.

    Attributes:
        name: the frame's.
        finite: neither of the candidate's maps holds a NaN or an infinity.
        iou, boundary_f: of the two masks at the threshold, 0..1.
        flipped_pixels, flipped_share: pixels on which the masks disagree; their share of all pixels.
        mean_abs_probability: mean |ΔP(person)|.
        psnr_db, max_abs_logit, max_rel_logit: of the logits; None where either side gives none.
        label_iou_reference, label_iou_candidate: each mask against the one people drew; None where nobody did.
    """

    name: str
    finite: bool
    iou: float
    boundary_f: float
    flipped_pixels: float
    flipped_share: float
    mean_abs_probability: float
    psnr_db: float | None
    max_abs_logit: float | None
    max_rel_logit: float | None
    label_iou_reference: float | None
    label_iou_candidate: float | None


@dataclass(frozen=True)
class SetScore:
    """A set of frames, candidate against reference.

    Attributes:
        images: how many.
        non_finite: names of the frames on which the candidate gave a NaN or an infinity.
        iou_mean, iou_worst, iou_worst_image: over images.
        boundary_f_mean, boundary_f_worst: over images.
        flipped_pixels, flipped_share: all of them; mean share per image.
        mean_abs_probability: mean over images.
        psnr_mean_db, psnr_worst_db, psnr_worst_image: over images; None where an image has no logits.
        max_abs_logit, max_rel_logit: largest of any image; None likewise.
        labelled: how many frames have a drawn mask.
        label_miou_reference, label_miou_candidate: mean IoU against the drawn masks; None without any.
        label_drop_points: reference − candidate of these, in points (1 point = 0.01 IoU); negative is a gain.
    """

    images: int
    non_finite: tuple[str, ...]
    iou_mean: float
    iou_worst: float
    iou_worst_image: str
    boundary_f_mean: float
    boundary_f_worst: float
    flipped_pixels: float
    flipped_share: float
    mean_abs_probability: float
    psnr_mean_db: float | None
    psnr_worst_db: float | None
    psnr_worst_image: str
    max_abs_logit: float | None
    max_rel_logit: float | None
    labelled: int
    label_miou_reference: float | None
    label_miou_candidate: float | None
    label_drop_points: float | None


def score_image(
    reference: Prediction,
    candidate: Prediction,
    *,
    label: np.ndarray | None = None,
    name: str = "",
    threshold: float = THRESHOLD,
) -> ImageScore:
    """Compare two predictions of one frame.

    Args:
        label: (H, W) 0..1, the mask people drew, at the predictions' size.
        threshold: P(person) from which a pixel of a prediction is person; labels are cut at one half.
    Raises:
        DataError: masks, logits or label differ in shape.
    """
    import numpy as np

    a, b = reference.probability, candidate.probability
    flipped = flipped_pixels(a, b, threshold)
    logits = None if reference.logits is None or candidate.logits is None else (reference.logits, candidate.logits)
    drawn = None if label is None else np.where(label >= THRESHOLD, 1.0, 0.0)
    return ImageScore(
        name=name,
        finite=_finite(b) and (candidate.logits is None or _finite(candidate.logits)),
        iou=mask_iou(a, b, threshold),
        boundary_f=boundary_f(a, b, threshold),
        flipped_pixels=flipped,
        flipped_share=flipped / a.size,
        mean_abs_probability=mean_abs_error(a, b),
        psnr_db=psnr_db(*logits) if logits else None,
        max_abs_logit=max_abs_error(*logits) if logits else None,
        max_rel_logit=max_rel_error(*logits) if logits else None,
        label_iou_reference=None if drawn is None else _label_iou(a, drawn, threshold),
        label_iou_candidate=None if drawn is None else _label_iou(b, drawn, threshold),
    )


def _label_iou(probability: np.ndarray, drawn: np.ndarray, threshold: float) -> float:
    """IoU with a drawn mask that is 0 or 1 already, so that any threshold in 0..1 leaves it alone."""
    import numpy as np

    _same_shape(probability, drawn, "mask and drawn mask")
    return mask_iou(np.where(binary(probability, threshold), 1.0, 0.0), drawn) if _finite(probability) else NAN


def score_set(scores: Sequence[ImageScore]) -> SetScore:
    """Aggregate. Raises DataError on an empty set: nothing compared is nothing proven."""
    if not scores:
        raise DataError("There is no image to compare on.", hint="pass a folder of photographs with `--data`.")
    iou_worst = _worst(scores, [score.iou for score in scores])
    psnr = _all_or_none([score.psnr_db for score in scores])
    psnr_worst = _worst(scores, psnr) if psnr else None
    labelled = [score for score in scores if score.label_iou_reference is not None]
    miou_reference = _mean_or_none([score.label_iou_reference for score in labelled])
    miou_candidate = _mean_or_none([score.label_iou_candidate for score in labelled])
    dropped = None if miou_reference is None or miou_candidate is None else 100 * (miou_reference - miou_candidate)
    return SetScore(
        images=len(scores),
        non_finite=tuple(score.name for score in scores if not score.finite),
        iou_mean=_mean([score.iou for score in scores]),
        iou_worst=iou_worst.value,
        iou_worst_image=iou_worst.name,
        boundary_f_mean=_mean([score.boundary_f for score in scores]),
        boundary_f_worst=_worst(scores, [score.boundary_f for score in scores]).value,
        flipped_pixels=sum(score.flipped_pixels for score in scores),
        flipped_share=_mean([score.flipped_share for score in scores]),
        mean_abs_probability=_mean([score.mean_abs_probability for score in scores]),
        psnr_mean_db=_mean(psnr) if psnr else None,
        psnr_worst_db=psnr_worst.value if psnr_worst else None,
        psnr_worst_image=psnr_worst.name if psnr_worst else "",
        max_abs_logit=_largest([score.max_abs_logit for score in scores]),
        max_rel_logit=_largest([score.max_rel_logit for score in scores]),
        labelled=len(labelled),
        label_miou_reference=miou_reference,
        label_miou_candidate=miou_candidate,
        label_drop_points=dropped,
    )


@dataclass(frozen=True)
class _Worst:
    value: float
    name: str


def _worst(scores: Sequence[ImageScore], values: Sequence[float]) -> _Worst:
    """The lowest value and its image; a NaN is lower than any number, and the first of equals is taken."""
    worst = min(range(len(values)), key=lambda i: badness_key(values[i]))
    return _Worst(values[worst], scores[worst].name)


def plain_data(value: Any) -> Any:
    """Dataclass data as JSON data: tuples become lists; NaN and infinities, which JSON does not have, become null."""
    if isinstance(value, dict):
        return {key: plain_data(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_data(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def badness_key(value: float) -> tuple[bool, float]:
    """Sorts values from worst to best: NaN first, then ascending."""
    return (False, 0.0) if math.isnan(value) else (True, value)


def _mean(values: Sequence[float]) -> float:
    """Arithmetic mean; NaN if any is."""
    return math.fsum(values) / len(values)


def _mean_or_none(values: Sequence[float | None]) -> float | None:
    known = _all_or_none(values)
    return _mean(known) if known else None


def _all_or_none(values: Sequence[float | None]) -> list[float]:
    """All values, or none of them if one is missing: an aggregate over a part would speak for the whole."""
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else []


def _largest(values: Sequence[float | None]) -> float | None:
    """The largest; NaN if any is; None if one is missing."""
    known = _all_or_none(values)
    if not known:
        return None
    return NAN if any(math.isnan(value) for value in known) else max(known)


def _count(flags: np.ndarray) -> int:
    import numpy as np

    return int(np.count_nonzero(flags))


def _finite(*arrays: np.ndarray) -> bool:
    import numpy as np

    return all(bool(np.isfinite(array).all()) for array in arrays)


def _same_shape(a: np.ndarray, b: np.ndarray, what: str) -> None:
    if a.shape != b.shape:
        raise DataError(f"Cannot compare {what} of different shapes: {tuple(a.shape)} and {tuple(b.shape)}.")
