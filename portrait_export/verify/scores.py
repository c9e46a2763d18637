"""Score a candidate's predictions against a reference's, per image and over a set of images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..artifacts import EMPTY
from ..errors import DataError
from ..utils.bounds import at_least, at_most
from .metrics import (
    IDENTICAL_DB,
    NAN,
    THRESHOLD,
    badness_key,
    binary,
    boundary_f,
    finite,
    flipped_margin,
    flipped_pixels,
    mask_iou,
    max_abs_error,
    max_rel_error,
    mean_abs_error,
    psnr_db,
    require_same_shape,
)

if TYPE_CHECKING:
    import numpy as np

    from ..artifacts import Prediction

ONE_COLOUR = 0.002  # share of the pixels; the smallest person of the calibration set covers 0.02
EQUAL_DB = 40.0  # two carried values that agree this well are one, as far as masks go
NOBODY, ALL_PERSON = "nobody", "all person"  # values of ImageScore.one_colour


@dataclass(frozen=True)
class ImageScore:
    """One frame, candidate against reference. Field names end in their unit where they have one.

    Attributes:
        name: the frame's.
        kind: `portrait`, `everyday`, `empty` (nobody in it), or an empty string.
        finite: neither of the candidate's maps holds a NaN or an infinity.
        iou, boundary_f: of the two masks at the threshold, 0..1.
        flipped_pixels, flipped_share: pixels on which the masks disagree; their share of all pixels.
        flipped_margin: the largest distance of the reference's P(person) from the threshold on such a pixel.
        mean_abs_probability: mean |ΔP(person)|.
        psnr_db, max_abs_logit, max_rel_logit: of the logits; None where either side gives none, or they differ in size.
        label_iou_reference, label_iou_candidate: each mask against the drawn one; None without a drawn mask.
        one_colour: `nobody` where both masks are empty, `all person` where both are full, else empty.
        person_share: of the pixels that are person in the reference's mask.
        carried_psnr_db: the lowest of the values that a recurrent network carries to the next frame; NaN where the two
            sides carry different ones; None where neither carries any.
        carried_margin_db: by how much they are closer to the reference's than what a mistake would give: zeros, or
            another carried value of their shape.
    """

    name: str
    kind: str
    finite: bool
    iou: float
    boundary_f: float
    flipped_pixels: float
    flipped_share: float
    flipped_margin: float
    mean_abs_probability: float
    psnr_db: float | None
    max_abs_logit: float | None
    max_rel_logit: float | None
    label_iou_reference: float | None
    label_iou_candidate: float | None
    one_colour: str = ""
    person_share: float = NAN
    carried_psnr_db: float | None = None
    carried_margin_db: float | None = None


@dataclass(frozen=True)
class SetScore:
    """A set of frames, candidate against reference.

    Where nobody is in a picture, IoU and boundary F compare a few stray pixels and jump between 0 and 1. Pictures of
    kind `empty` are therefore left out of them; `flipped_share` counts their pixels like any other's.

    Attributes:
        images: how many.
        non_finite: names of the frames on which the candidate gave a NaN or an infinity.
        iou_mean, iou_worst, iou_worst_image: over images with people; None, and an empty name, without any.
        boundary_f_mean, boundary_f_worst: likewise.
        flipped_pixels, flipped_share, flipped_margin: all of them; mean share per image; largest of any image.
        flipped_share_worst, flipped_share_worst_image: the largest share of any image.
        mean_abs_probability: mean over images.
        psnr_mean_db, psnr_worst_db, psnr_worst_image: over images; None where an image has no logits.
        max_abs_logit, max_rel_logit: largest of any image; None likewise.
        labelled: how many frames with people have a drawn mask.
        label_miou_reference, label_miou_candidate: mean IoU against these drawn masks; None without any.
        label_drop_points: reference − candidate of these, in points (1 point = 0.01 IoU); negative is a gain.
        with_people: how many images are not of kind `empty`.
        both_empty, both_full: on how many of them both masks are empty, and on how many both are full.
        carried_worst_db, carried_worst_image: the lowest `carried_psnr_db`; None, and an empty name, without any.
        carried_margin_db, carried_margin_image: the lowest margin, likewise.
    """

    images: int
    non_finite: tuple[str, ...]
    iou_mean: float | None
    iou_worst: float | None
    iou_worst_image: str
    boundary_f_mean: float | None
    boundary_f_worst: float | None
    flipped_pixels: float
    flipped_share: float
    flipped_share_worst: float
    flipped_share_worst_image: str
    flipped_margin: float
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
    with_people: int = 0
    both_empty: int = 0
    both_full: int = 0
    carried_worst_db: float | None = None
    carried_worst_image: str = ""
    carried_margin_db: float | None = None
    carried_margin_image: str = ""


def score_image(
    reference: Prediction,
    candidate: Prediction,
    *,
    label: np.ndarray | None = None,
    name: str = "",
    kind: str = "",
    threshold: float = THRESHOLD,
) -> ImageScore:
    """Compare two predictions of one frame.

    Args:
        label: (H, W) 0..1, the drawn mask, at the predictions' size.
        threshold: P(person) from which a pixel of a prediction is person; labels are cut at one half.
    Raises:
        DataError: masks or label differ in shape.
    """
    import numpy as np

    a, b = reference.probability, candidate.probability
    flipped = flipped_pixels(a, b, threshold)
    logits = comparable_logits(reference, candidate)
    psnrs = _carried_psnrs(reference, candidate)
    drawn = None if label is None else np.where(label >= THRESHOLD, 1.0, 0.0)
    return ImageScore(
        name=name,
        kind=kind,
        finite=finite(b) and (candidate.logits is None or finite(candidate.logits)),
        iou=mask_iou(a, b, threshold),
        boundary_f=boundary_f(a, b, threshold),
        flipped_pixels=flipped,
        flipped_share=flipped / a.size,
        flipped_margin=flipped_margin(a, b, threshold),
        mean_abs_probability=mean_abs_error(a, b),
        psnr_db=psnr_db(*logits) if logits else None,
        max_abs_logit=max_abs_error(*logits) if logits else None,
        max_rel_logit=max_rel_error(*logits) if logits else None,
        label_iou_reference=None if drawn is None else _label_iou(a, drawn, threshold),
        label_iou_candidate=None if drawn is None else _label_iou(b, drawn, threshold),
        one_colour=_one_colour(a, b, threshold),
        person_share=float(binary(a, threshold).mean()) if finite(a) else NAN,
        carried_psnr_db=None if psnrs is None else min(psnrs.values(), key=badness_key, default=NAN),
        carried_margin_db=None if psnrs is None else _carried_margin_db(reference.carried, psnrs),
    )


def comparable_logits(reference: Prediction, candidate: Prediction) -> tuple[np.ndarray, np.ndarray] | None:
    """Both logits, if both sides give them at one size: two networks may have them at different places."""
    ours, theirs = candidate.logits, reference.logits
    return None if ours is None or theirs is None or ours.shape != theirs.shape else (theirs, ours)


def _carried_psnrs(reference: Prediction, candidate: Prediction) -> dict[str, float] | None:
    """Each carried value's PSNR; empty unless both sides carry the same ones in one shape; None without any."""
    ours, theirs = candidate.carried, reference.carried
    if not ours and not theirs:
        return None
    if {name: value.shape for name, value in ours.items()} != {name: value.shape for name, value in theirs.items()}:
        return {}
    return {name: psnr_db(theirs[name], ours[name]) for name in theirs}


def _carried_margin_db(reference: Mapping[str, np.ndarray], psnrs: Mapping[str, float]) -> float:
    """The lowest margin of any value over zeros and over each other value of its shape.

    Mistakes that nearly equal the value itself are left out: there they change nothing.
    """
    margins = []
    for name, own in psnrs.items():
        value = reference[name]
        others = [reference[other] for other in psnrs if other != name and reference[other].shape == value.shape]
        mistakes = [psnr_db(value, other) for other in (value * 0, *others)]
        margins += [own - mistake for mistake in mistakes if not mistake >= EQUAL_DB]
    return min(margins, key=badness_key, default=IDENTICAL_DB if psnrs else NAN)


def _one_colour(a: np.ndarray, b: np.ndarray, threshold: float) -> str:
    """`nobody` where both masks are empty, `all person` where both are full, else an empty string."""
    if not finite(a, b):
        return ""
    masks = binary(a, threshold), binary(b, threshold)
    if not any(mask.any() for mask in masks):
        return NOBODY
    return ALL_PERSON if all(mask.all() for mask in masks) else ""


def one_colour_warning(shares: Sequence[float]) -> str:
    """A warning if masks are of one colour, or nearly, on every photograph; else an empty string.

    Args:
        shares: of the pixels that are person, one per photograph.
    """
    count = f"any of {len(shares)} photographs" if len(shares) > 1 else "the only photograph"
    check = "check the weights, the mean and std, and which class is the person"
    if shares and max(shares) <= ONE_COLOUR:
        most = f"at most {at_most(100 * max(shares))} % of the pixels"
        return f"The network finds nobody on {count} ({most}): if people are there, {check}."
    if shares and min(shares) >= 1 - ONE_COLOUR:
        every = f"each of {len(shares)} photographs" if len(shares) > 1 else count
        least = f"at least {at_least(100 * min(shares), digits=4)} % of the pixels"
        return f"The network calls {least} of {every} a person: {check}."
    return ""


def _label_iou(probability: np.ndarray, drawn: np.ndarray, threshold: float) -> float:
    """IoU with a drawn mask that holds only 0 and 1."""
    import numpy as np

    require_same_shape(probability, drawn, "mask and drawn mask")
    return mask_iou(np.where(binary(probability, threshold), 1.0, 0.0), drawn) if finite(probability) else NAN


def score_set(scores: Sequence[ImageScore]) -> SetScore:
    """Aggregate. Raises DataError if there are no scores."""
    if not scores:
        raise DataError("There is no image to compare on.", hint="pass a folder of photographs with `data=`.")
    people = [score for score in scores if score.kind != EMPTY]
    iou_worst = _worst(people, [score.iou for score in people]) if people else None
    flipped_worst = _worst(scores, [-score.flipped_share for score in scores])
    psnr = _all_or_none([score.psnr_db for score in scores])
    psnr_worst = _worst(scores, psnr) if psnr else None
    carried = _all_or_none([score.carried_psnr_db for score in scores])
    carried_worst = _worst(scores, carried) if carried else None
    margins = _all_or_none([score.carried_margin_db for score in scores])
    margin_worst = _worst(scores, margins) if margins else None
    labelled = [score for score in people if score.label_iou_reference is not None]
    miou_reference = _mean_or_none([score.label_iou_reference for score in labelled])
    miou_candidate = _mean_or_none([score.label_iou_candidate for score in labelled])
    dropped = None if miou_reference is None or miou_candidate is None else 100 * (miou_reference - miou_candidate)
    return SetScore(
        images=len(scores),
        non_finite=tuple(score.name for score in scores if not score.finite),
        iou_mean=_mean_or_none([score.iou for score in people]),
        iou_worst=iou_worst.value if iou_worst else None,
        iou_worst_image=iou_worst.name if iou_worst else "",
        boundary_f_mean=_mean_or_none([score.boundary_f for score in people]),
        boundary_f_worst=_worst(people, [score.boundary_f for score in people]).value if people else None,
        flipped_pixels=sum(score.flipped_pixels for score in scores),
        flipped_share=_mean([score.flipped_share for score in scores]),
        flipped_share_worst=_largest([score.flipped_share for score in scores]),
        flipped_share_worst_image=flipped_worst.name,
        flipped_margin=_largest([score.flipped_margin for score in scores]),
        mean_abs_probability=_mean([score.mean_abs_probability for score in scores]),
        psnr_mean_db=_mean(psnr) if psnr else None,
        psnr_worst_db=psnr_worst.value if psnr_worst else None,
        psnr_worst_image=psnr_worst.name if psnr_worst else "",
        max_abs_logit=_largest_or_none([score.max_abs_logit for score in scores]),
        max_rel_logit=_largest_or_none([score.max_rel_logit for score in scores]),
        labelled=len(labelled),
        label_miou_reference=miou_reference,
        label_miou_candidate=miou_candidate,
        label_drop_points=dropped,
        with_people=len(people),
        both_empty=sum(score.one_colour == NOBODY for score in people),
        both_full=sum(score.one_colour == ALL_PERSON for score in people),
        carried_worst_db=carried_worst.value if carried_worst else None,
        carried_worst_image=carried_worst.name if carried_worst else "",
        carried_margin_db=margin_worst.value if margin_worst else None,
        carried_margin_image=margin_worst.name if margin_worst else "",
    )


def score_kinds(scores: Sequence[ImageScore]) -> dict[str, SetScore]:
    """Aggregate the images of each kind, in the order in which the kinds first appear."""
    kinds: dict[str, list[ImageScore]] = {}
    for score in scores:
        kinds.setdefault(score.kind, []).append(score)
    return {kind: score_set(members) for kind, members in kinds.items()}


@dataclass(frozen=True)
class _Worst:
    value: float
    name: str


def _worst(scores: Sequence[ImageScore], values: Sequence[float]) -> _Worst:
    """The lowest value and its image. A NaN counts as lower than any number; of equal values the first is taken."""
    worst = min(range(len(values)), key=lambda i: badness_key(values[i]))
    return _Worst(values[worst], scores[worst].name)


def _mean(values: Sequence[float]) -> float:
    """Arithmetic mean; NaN if any is."""
    return math.fsum(values) / len(values)


def _mean_or_none(values: Sequence[float | None]) -> float | None:
    known = _all_or_none(values)
    return _mean(known) if known else None


def _all_or_none(values: Sequence[float | None]) -> list[float]:
    """All values, or none if one is missing, so that no aggregate is taken over a part of the set."""
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else []


def _largest(values: Sequence[float]) -> float:
    """The largest; NaN if any is."""
    return NAN if any(math.isnan(value) for value in values) else max(values)


def _largest_or_none(values: Sequence[float | None]) -> float | None:
    known = _all_or_none(values)
    return _largest(known) if known else None
