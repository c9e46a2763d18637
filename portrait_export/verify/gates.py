"""Aggregated scores in, gates out: each bar has a name, a value, and where it was set or measured.

A package passes if every gate passes. What cannot be measured is said in a note; what comes out as NaN fails.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..errors import UsageError, nearest
from .metrics import NAN
from .scores import SetScore

# fp32: the same arithmetic in another order. Logits of the packages of all models agree with PyTorch to 1e-3 of scale.
FP32_MEAN_IOU = 0.9999
FP32_WORST_IOU = 0.999
FP32_PSNR_DB = 60.0
FP32_MAX_REL_LOGIT = 1e-3

# fp16: the project's bar for every trained model on the calibration set, against PyTorch fp32.
FP16_MEAN_IOU = 0.999
FP16_WORST_IOU = 0.995
FP16_PSNR_DB = 40.0

# int8 weights: the project's bar; the logits may move as long as the mask stays.
INT8_MEAN_IOU = 0.995
INT8_WORST_IOU = 0.98
INT8_LABEL_DROP_POINTS = 0.2

# int8 weights, untrained: no mask to gate on, so the logits' PSNR is gated instead. Rounding every weight to int8 per
# output channel gave 28.7 dB at the lowest (serseg_b0_afn; median 42), over all seven models with random weights and
# 3 to 15 photographs of the calibration set each at 512x512. This notices a broken network, not one weight that is a
# little off: for that there is the audit of the stored weights.
INT8_UNTRAINED_PSNR_DB = 25.0

# Budgets of whole packages on disk, in bytes (1 MB = 1,000,000 bytes).
SIZE_BUDGETS = {
    ("segformer_b0", "int8"): 4_200_000,
    ("serseg_b0", "int8"): 4_300_000,
}

UNTRAINED_NOTE = (
    "These weights are untrained: masks cut from them mean nothing, so only the logits are gated,"
    " by their PSNR over the photographs."
)


@dataclass(frozen=True)
class Gate:
    """One bar, and how it went.

    Attributes:
        name: stable, for scripts: `mean_mask_iou`, `size_bytes`.
        title: for people.
        value: what was measured; NaN where it came out as none.
        threshold: the bar.
        better: `at_least` or `at_most` the threshold.
        passed: a NaN never does.
        where: the image that gave the value, or over what it was taken.
        note: why the threshold is not the named one, or empty.
    """

    name: str
    title: str
    value: float
    threshold: float
    better: str
    passed: bool
    where: str
    note: str = ""


@dataclass(frozen=True)
class Thresholds:
    """The bars for one kind of package; None: not gated.

    Attributes:
        mean_iou, worst_iou: mask IoU over the set, and on its worst image.
        psnr_db: of the logits, on the worst image.
        max_rel_logit: largest logit error in units of the logits' scale.
        label_drop_points: by how much the mean IoU with drawn masks may fall, in points.
        notes: what to say beside the gates.
        overridden: threshold names changed by the user → what the named bar was.
    """

    mean_iou: float | None = None
    worst_iou: float | None = None
    psnr_db: float | None = None
    max_rel_logit: float | None = None
    label_drop_points: float | None = None
    notes: tuple[str, ...] = ()
    overridden: tuple[tuple[str, str], ...] = ()

    def with_min_iou(self, min_iou: float | None) -> Thresholds:
        """Another bar for the mean mask IoU, said to be so in the gate's note.

        The worst image's bar is lowered with it where it would be the higher one; it is never raised: one image may be
        worse than the mean. Raises UsageError outside 0..1.
        """
        if min_iou is None:
            return self
        if not 0 <= min_iou <= 1:
            raise UsageError(f"--min-iou is a mean mask IoU within 0..1; found {min_iou:g}.")
        worst = min_iou if self.worst_iou is None else min(self.worst_iou, min_iou)
        changed = {"mean_iou": min_iou, "worst_iou": worst}
        said = tuple(
            (key, _named_bar(getattr(self, key))) for key, value in changed.items() if getattr(self, key) != value
        )
        return replace(self, mean_iou=min_iou, worst_iou=worst, overridden=said)


def _named_bar(value: float | None) -> str:
    return "set by --min-iou; " + ("not gated by default" if value is None else f"the named bar is {value:g}")


TRAINED = {
    "fp32": Thresholds(FP32_MEAN_IOU, FP32_WORST_IOU, FP32_PSNR_DB, FP32_MAX_REL_LOGIT),
    "fp16": Thresholds(FP16_MEAN_IOU, FP16_WORST_IOU, FP16_PSNR_DB),
    "int8": Thresholds(INT8_MEAN_IOU, INT8_WORST_IOU, label_drop_points=INT8_LABEL_DROP_POINTS),
}
UNTRAINED = {
    "fp32": Thresholds(psnr_db=FP32_PSNR_DB, max_rel_logit=FP32_MAX_REL_LOGIT, notes=(UNTRAINED_NOTE,)),
    "fp16": Thresholds(psnr_db=FP16_PSNR_DB, notes=(UNTRAINED_NOTE,)),
    "int8": Thresholds(psnr_db=INT8_UNTRAINED_PSNR_DB, notes=(UNTRAINED_NOTE,)),
}


def thresholds_for(kind: str, *, trained: bool = True, min_iou: float | None = None) -> Thresholds:
    """The bars for a kind of package.

    Args:
        kind: `fp32` or `fp16` for uncompressed packages by compute precision, else the quantization recipe's name.
        trained: False for random weights, whose masks mean nothing.
        min_iou: the user's own bar for the mean mask IoU.
    Raises:
        UsageError: an unknown kind (the message lists them), or `min_iou` outside 0..1.
    """
    table = TRAINED if trained else UNTRAINED
    if kind not in table:
        raise UsageError(
            f"There are no gates for packages of kind {kind!r}.", hint=nearest(kind, list(table), what="kind")
        )
    return table[kind].with_min_iou(min_iou)


def kind_of(recipe: str, precision: str) -> str:
    """The kind of a package from its quantization recipe and compute precision: recipe `none` is fp16 or fp32."""
    return precision if recipe == "none" else recipe


# ---- judging ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Bar:
    """How one field of Thresholds becomes a gate."""

    field: str
    name: str
    title: str
    better: str
    value: Callable[[SetScore], float | None]
    where: Callable[[SetScore], str]
    unmeasured: str


def _over_all(score: SetScore) -> str:
    return f"over {score.images} image{'s' if score.images != 1 else ''}"


IOU_GATES = ("mean_mask_iou", "worst_mask_iou")
UNDECIDED = 0.02  # distance of P(person) from the threshold within which fp16 arithmetic alone can turn a pixel
NO_LOGITS = "Logits were not available on both sides, so {title} was not gated."
NO_LABELS = "No image has a drawn mask, so {title} was not gated."

BARS = (
    _Bar("mean_iou", "mean_mask_iou", "mean mask IoU", "at_least", lambda s: s.iou_mean, _over_all, ""),
    _Bar(
        "worst_iou",
        "worst_mask_iou",
        "worst mask IoU",
        "at_least",
        lambda s: s.iou_worst,
        lambda s: s.iou_worst_image,
        "",
    ),
    _Bar(
        "psnr_db",
        "logits_psnr_db",
        "logits PSNR, dB",
        "at_least",
        lambda s: s.psnr_worst_db,
        lambda s: s.psnr_worst_image,
        NO_LOGITS,
    ),
    _Bar(
        "max_rel_logit",
        "max_rel_logit_error",
        "largest logit error / scale",
        "at_most",
        lambda s: s.max_rel_logit,
        _over_all,
        NO_LOGITS,
    ),
    _Bar(
        "label_drop_points",
        "label_miou_drop_points",
        "drop of mean IoU with drawn masks, points",
        "at_most",
        lambda s: s.label_drop_points,
        lambda s: f"over {s.labelled} drawn mask{'s' if s.labelled != 1 else ''}",
        NO_LABELS,
    ),
)


def judge(score: SetScore, thresholds: Thresholds) -> tuple[tuple[Gate, ...], tuple[str, ...]]:
    """Every bar that the thresholds set, as gates, and notes on what was not gated and why.

    A gate on non-finite values is always there. If nothing else could be measured at all, that is itself a failure.
    """
    gates = [_finite_gate(score)]
    notes = list(thresholds.notes)
    reasons = dict(thresholds.overridden)
    for bar in BARS:
        threshold = getattr(thresholds, bar.field)
        if threshold is None:
            continue
        value = bar.value(score)
        if value is None:
            notes.append(bar.unmeasured.format(title=bar.title))
            continue
        gates.append(_gate(bar, value, threshold, bar.where(score), reasons.get(bar.field, "")))
    if any(gate.name in IOU_GATES and not gate.passed for gate in gates) and score.flipped_margin <= UNDECIDED:
        notes.append(
            f"The masks differ only where the model itself is undecided: on every flipped pixel its P(person) is within"
            f" {score.flipped_margin:.1g} of the threshold. Better trained weights, or other photographs, decide more."
        )
    if len(gates) == 1:
        gates.append(
            Gate("measured", "anything gated", NAN, 1.0, "at_least", False, _over_all(score), "nothing to judge by")
        )
    return tuple(gates), tuple(notes)


def _gate(bar: _Bar, value: float, threshold: float, where: str, note: str) -> Gate:
    passed = value >= threshold if bar.better == "at_least" else value <= threshold
    return Gate(bar.name, bar.title, value, threshold, bar.better, passed, where, note)


def _some(names: Sequence[str], limit: int = 5) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _finite_gate(score: SetScore) -> Gate:
    count = len(score.non_finite)
    where = _some(score.non_finite) if count else _over_all(score)
    return Gate("non_finite_images", "images with NaN or infinity", float(count), 0.0, "at_most", count == 0, where)


def size_gate(model: str, recipe: str, size_bytes: int) -> Gate | None:
    """The budget of a package's size on disk; None where the model and recipe have none."""
    budget = SIZE_BUDGETS.get((model, recipe))
    if budget is None:
        return None
    return Gate(
        "size_bytes",
        "package size, bytes",
        float(size_bytes),
        float(budget),
        "at_most",
        size_bytes <= budget,
        f"{model} {recipe}",
    )
