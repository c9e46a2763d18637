"""Compare scores with the bars that they must reach.

Each bar has a name, a value, and where it was set or measured. A package passes if every gate passes. A value that is
missing is reported in a note; a NaN fails its gate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from ..artifacts import EMPTY
from ..errors import UsageError, nearest
from ..utils.bounds import at_most
from ..utils.names import listed
from .metrics import NAN
from .scores import ImageScore, SetScore

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

# Pictures with nobody in them: nearly empty masks have no stable IoU (one stray pixel against none is 0), so the share
# of the picture's pixels that flip is gated instead. The bars allow as many flipped pixels as the IoU bars allow around
# a person who covers a quarter of a picture: (1 - IoU) of that quarter. Weights trained on portraits alone,
# hazy on 0.62 of the pixels of the six empty calibration pictures, flipped 1.8e-4 to 2.9e-4 of them in fp16 and 2.5e-3
# to 3.1e-3 in int8 (four models): at the bar and beyond it. Pixels flip where a mask is hazy.
PERSON_SHARE = 0.25  # of a picture; 0.27 on average over the 26 everyday calibration photographs
FP32_EMPTY_MEAN_FLIPPED = (1 - FP32_MEAN_IOU) * PERSON_SHARE
FP32_EMPTY_WORST_FLIPPED = (1 - FP32_WORST_IOU) * PERSON_SHARE
FP16_EMPTY_MEAN_FLIPPED = (1 - FP16_MEAN_IOU) * PERSON_SHARE
FP16_EMPTY_WORST_FLIPPED = (1 - FP16_WORST_IOU) * PERSON_SHARE
INT8_EMPTY_MEAN_FLIPPED = (1 - INT8_MEAN_IOU) * PERSON_SHARE
INT8_EMPTY_WORST_FLIPPED = (1 - INT8_WORST_IOU) * PERSON_SHARE

# The other recipes: mean and worst mask IoU on photographs that the rounding was not fitted to, and the logits' PSNR of
# untrained weights, which have no masks to gate on.
LOW_BITS = {
    "int8-block32": (0.999, 0.995, 25.0),
    "int4-block32": (0.998, 0.98, 10.0),
    "palette8": (0.999, 0.995, 25.0),
    "palette6": (0.9985, 0.99, 20.0),
    "palette4": (0.998, 0.98, 10.0),
    "palette4-vector": (0.998, 0.98, 10.0),
    "palette3": (0.991, 0.95, 5.0),
    "palette2": (0.984, 0.9, 1.0),
    "w8a8": (0.993, 0.965, 10.0),
    "mixed": (0.989, 0.93, 1.0),
}

# int8 weights, untrained: no mask to gate on, so the logits' PSNR is gated instead. Rounding every weight to int8 per
# output channel gave 28.7 dB at the lowest (serseg_b0_afn; median 42), over all seven models with random weights and
# 3 to 15 photographs of the calibration set each at 512x512. This notices a broken network, not one weight that is a
# little off: for that there is the audit of the stored weights.
INT8_UNTRAINED_PSNR_DB = 25.0

# What a recurrent network carries to the next frame, on the worst frame: the bars of its logits, since both are values
# inside the network. A value that is not carried, or carried in another's place, gave below 15 dB
# (tests/workflows/test_recurrent.py).
CARRIED_PSNR_DB = {
    "fp32": FP32_PSNR_DB,
    "fp16": FP16_PSNR_DB,
    "int8": INT8_UNTRAINED_PSNR_DB,
    **{name: psnr for name, (_, _, psnr) in LOW_BITS.items()},
}

# However few bits its weights have, a package's carried value must be closer to the network's than zeros, or than
# another carried value, by this many decibels. Values that were not carried, or in another's place, have about 0; with
# 8-bit activations the right ones have 10 and more (tests/workflows/test_recurrent.py).
CARRIED_MARGIN_DB = 1.0

# Budgets of whole packages on disk, in bytes (1 MB = 1,000,000 bytes).
SIZE_BUDGETS = {
    ("segformer_b0", "int8"): 4_200_000,
    ("serseg_b0", "int8"): 4_300_000,
}

LISTED = 5  # names in a line

UNTRAINED_NOTE = (
    "These weights are untrained: masks cut from them mean nothing, so only the logits are gated,"
    " by their PSNR over the photographs."
)
EMPTY_NOTE = (
    "Masks of empty pictures are compared by the share of pixels that flip: the IoU of two nearly empty masks jumps"
    " between 0 and 1 with a single pixel."
)


@dataclass(frozen=True)
class Gate:
    """One bar and its verdict.

    Attributes:
        name: stable, for scripts: `size_bytes`, `mean_mask_iou`, `mean_mask_iou.everyday` for one kind of photograph.
        title: for people.
        value: what was measured; NaN if it is not a number.
        threshold: the bar.
        better: `at_least` or `at_most` the threshold.
        passed: False for a NaN.
        where: the image that gave the value, or the images it was taken over.
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
        mean_iou, worst_iou: mask IoU over each kind of photograph with people, and on its worst image.
        label_drop_points: how far the mean IoU with the drawn masks of each such kind may fall, in points.
        empty_mean_flipped, empty_worst_flipped: share of pixels that flip over pictures with nobody in them, and on the
            worst of them.
        psnr_db: of the logits, on the worst image of all.
        max_rel_logit: largest logit error in units of the logits' scale.
        carried_psnr_db: of the values that a recurrent network carries, on the worst frame.
        carried_margin_db: by how much they are closer to the network's than a mistake's, on the worst frame.
        notes: what to show with the gates.
        overridden: threshold names changed by the user → what the named bar was.
    """

    mean_iou: float | None = None
    worst_iou: float | None = None
    psnr_db: float | None = None
    max_rel_logit: float | None = None
    label_drop_points: float | None = None
    empty_mean_flipped: float | None = None
    empty_worst_flipped: float | None = None
    carried_psnr_db: float | None = None
    carried_margin_db: float | None = CARRIED_MARGIN_DB
    notes: tuple[str, ...] = ()
    overridden: tuple[tuple[str, str], ...] = ()

    def with_min_iou(self, min_iou: float | None) -> Thresholds:
        """Replace the bar for the mean mask IoU, and record that in the gate's note.

        The bar for the worst image is lowered to the new mean where it would be higher. It is never raised: one image
        may be worse than the mean. Raises UsageError outside 0..1.
        """
        if min_iou is None:
            return self
        if not 0 <= min_iou <= 1:
            raise UsageError(f"`min_iou=` is a mean mask IoU within 0..1; found {min_iou:g}.")
        worst = min_iou if self.worst_iou is None else min(self.worst_iou, min_iou)
        changed = {"mean_iou": min_iou, "worst_iou": worst}
        overridden = tuple(
            (key, _named_bar(getattr(self, key))) for key, value in changed.items() if getattr(self, key) != value
        )
        return replace(self, mean_iou=min_iou, worst_iou=worst, overridden=overridden)


def _named_bar(value: float | None) -> str:
    return "set by `min_iou=`; " + ("not gated by default" if value is None else f"the named bar is {value:g}")


TRAINED = {
    "fp32": Thresholds(
        mean_iou=FP32_MEAN_IOU,
        worst_iou=FP32_WORST_IOU,
        psnr_db=FP32_PSNR_DB,
        max_rel_logit=FP32_MAX_REL_LOGIT,
        empty_mean_flipped=FP32_EMPTY_MEAN_FLIPPED,
        empty_worst_flipped=FP32_EMPTY_WORST_FLIPPED,
    ),
    "fp16": Thresholds(
        mean_iou=FP16_MEAN_IOU,
        worst_iou=FP16_WORST_IOU,
        psnr_db=FP16_PSNR_DB,
        empty_mean_flipped=FP16_EMPTY_MEAN_FLIPPED,
        empty_worst_flipped=FP16_EMPTY_WORST_FLIPPED,
    ),
    "int8": Thresholds(
        mean_iou=INT8_MEAN_IOU,
        worst_iou=INT8_WORST_IOU,
        label_drop_points=INT8_LABEL_DROP_POINTS,
        empty_mean_flipped=INT8_EMPTY_MEAN_FLIPPED,
        empty_worst_flipped=INT8_EMPTY_WORST_FLIPPED,
    ),
}
TRAINED |= {
    name: replace(
        TRAINED["int8"],
        mean_iou=mean,
        worst_iou=worst,
        empty_mean_flipped=(1 - mean) * PERSON_SHARE,
        empty_worst_flipped=(1 - worst) * PERSON_SHARE,
    )
    for name, (mean, worst, _) in LOW_BITS.items()
}
UNTRAINED = {
    "fp32": Thresholds(psnr_db=FP32_PSNR_DB, max_rel_logit=FP32_MAX_REL_LOGIT, notes=(UNTRAINED_NOTE,)),
    "fp16": Thresholds(psnr_db=FP16_PSNR_DB, notes=(UNTRAINED_NOTE,)),
    "int8": Thresholds(psnr_db=INT8_UNTRAINED_PSNR_DB, notes=(UNTRAINED_NOTE,)),
    **{name: Thresholds(psnr_db=psnr, notes=(UNTRAINED_NOTE,)) for name, (_, _, psnr) in LOW_BITS.items()},
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
    return replace(table[kind], carried_psnr_db=CARRIED_PSNR_DB[kind]).with_min_iou(min_iou)


def kind_of(recipe: str, precision: str) -> str:
    """The kind of a package from its quantization recipe and compute precision: recipe `none` is fp16 or fp32."""
    return precision if recipe == "none" else recipe


# ---- judging ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Bar:
    """How one field of Thresholds becomes a gate.

    Attributes:
        field: of Thresholds.
        name, title: of the gate, before the kind is added.
        better: as in Gate.
        scope: `all` gives one gate; `people` one for each kind of photograph with people; `empty` one for the pictures
            with nobody in them.
        value: what is compared with the threshold; None if it is not available.
        where: as in Gate.
        unmeasured: the note for a value that is not available; empty where none is needed.
        image: the same value of one image, for a bar that every image must reach; None for a bar on all together.
    """

    field: str
    name: str
    title: str
    better: str
    scope: Literal["all", "people", "empty"]
    value: Callable[[SetScore], float | None]
    where: Callable[[SetScore], str]
    unmeasured: str = ""
    image: Callable[[ImageScore], float | None] | None = None

    def applies_to(self, kind: str) -> bool:
        """Whether images of a kind are gated by this bar; only for a scope other than `all`."""
        return self.scope == ("empty" if kind == EMPTY else "people")


def _over_all(score: SetScore) -> str:
    return f"over {score.images} image{'s' if score.images != 1 else ''}"


def _over_labels(score: SetScore) -> str:
    return f"over {score.labelled} drawn mask{'s' if score.labelled != 1 else ''}"


UNDECIDED = 0.02  # distance of P(person) from the threshold within which fp16 arithmetic alone can turn a pixel
NO_LOGITS = (
    "Logits were not available on both sides, so {title} was not gated: the model has no value before its activation"
    " that can be read, or the package does not record which of its values is compared with it."
)
NO_LABELS = "No image has a drawn mask, so {title} was not gated."

BARS = (
    _Bar(
        field="mean_iou",
        name="mean_mask_iou",
        title="mean mask IoU",
        better="at_least",
        scope="people",
        value=lambda s: s.iou_mean,
        where=_over_all,
    ),
    _Bar(
        field="worst_iou",
        name="worst_mask_iou",
        title="worst mask IoU",
        better="at_least",
        scope="people",
        value=lambda s: s.iou_worst,
        where=lambda s: s.iou_worst_image,
        image=lambda s: s.iou,
    ),
    _Bar(
        field="label_drop_points",
        name="label_miou_drop_points",
        title="drop of mean IoU with drawn masks, points",
        better="at_most",
        scope="people",
        value=lambda s: s.label_drop_points,
        where=_over_labels,
        unmeasured=NO_LABELS,
    ),
    _Bar(
        field="empty_mean_flipped",
        name="mean_flipped_share",
        title="mean share of flipped pixels",
        better="at_most",
        scope="empty",
        value=lambda s: s.flipped_share,
        where=_over_all,
    ),
    _Bar(
        field="empty_worst_flipped",
        name="worst_flipped_share",
        title="worst share of flipped pixels",
        better="at_most",
        scope="empty",
        value=lambda s: s.flipped_share_worst,
        where=lambda s: s.flipped_share_worst_image,
        image=lambda s: s.flipped_share,
    ),
    _Bar(
        field="psnr_db",
        name="logits_psnr_db",
        title="logits PSNR, dB",
        better="at_least",
        scope="all",
        value=lambda s: s.psnr_worst_db,
        where=lambda s: s.psnr_worst_image,
        unmeasured=NO_LOGITS,
        image=lambda s: s.psnr_db,
    ),
    _Bar(
        field="max_rel_logit",
        name="max_rel_logit_error",
        title="largest logit error / scale",
        better="at_most",
        scope="all",
        value=lambda s: s.max_rel_logit,
        where=_over_all,
        unmeasured=NO_LOGITS,
        image=lambda s: s.max_rel_logit,
    ),
    _Bar(
        field="carried_psnr_db",
        name="carried_psnr_db",
        title="carried values PSNR, dB",
        better="at_least",
        scope="all",
        value=lambda s: s.carried_worst_db,
        where=lambda s: s.carried_worst_image,
        image=lambda s: s.carried_psnr_db,
    ),
    _Bar(
        field="carried_margin_db",
        name="carried_margin_db",
        title="carried values, margin over others, dB",
        better="at_least",
        scope="all",
        value=lambda s: s.carried_margin_db,
        where=lambda s: s.carried_margin_image,
        image=lambda s: s.carried_margin_db,
    ),
)
IMAGE_BARS = {bar.name: bar for bar in BARS if bar.image is not None}
MASK_GATES = tuple(bar.name for bar in BARS if bar.field.endswith(("_iou", "_flipped")))


def judge(
    whole: SetScore, kinds: Mapping[str, SetScore], thresholds: Thresholds, *, no_logits: str = NO_LOGITS
) -> tuple[tuple[Gate, ...], tuple[str, ...]]:
    """Turn every bar that the thresholds set into gates, and note what was not gated and why.

    A gate on non-finite values is always there. If nothing else could be measured, that is itself a failure.

    Args:
        whole: the score over all images.
        kinds: the score over the images of each kind; an empty string is the kind of images without one.
        no_logits: the note for a gate on logits that have no score, with `{title}` for the gate's; empty for none.
    """
    gates = [_finite_gate(whole)]
    notes = list(thresholds.notes)
    for bar in BARS:
        if getattr(thresholds, bar.field) is None:
            continue
        scopes = {"": whole} if bar.scope == "all" else {k: s for k, s in kinds.items() if bar.applies_to(k)}
        for kind, score in scopes.items():
            gate = _gate(bar, kind, score, thresholds)
            if gate is not None:
                gates.append(gate)
            elif reason := no_logits if bar.unmeasured is NO_LOGITS else bar.unmeasured:
                notes.append(reason.format(title=_titled(bar.title, kind)))
    if any(_is_mask_gate(gate) for gate in gates):
        notes += vacuous_notes(whole)
    if any(gate.name.endswith(f".{EMPTY}") for gate in gates):
        notes.append(EMPTY_NOTE)
    if fails_on_masks(gates) and whole.flipped_margin <= UNDECIDED:
        notes.append(
            f"The masks differ only where the model itself is undecided: on every flipped pixel its P(person) is within"
            f" {at_most(whole.flipped_margin)} of the threshold."
            " Better trained weights, or other photographs, decide more."
        )
    if len(gates) == 1:
        gates.append(
            Gate("measured", "anything gated", NAN, 1.0, "at_least", False, _over_all(whole), "nothing to judge by")
        )
    return tuple(gates), tuple(notes)


def vacuous_notes(score: SetScore) -> list[str]:
    """What the gates on masks say nothing about: photographs on which both masks are of one colour."""
    notes = []
    if score.both_empty:
        notes.append(
            f"Both masks are empty on {_share(score.both_empty, score.with_people)}: their IoU of 1 says only that"
            " neither side finds anybody there. If people are in these photographs, check the weights, the mean and"
            " std, and which channel is the person."
        )
    if score.both_full:
        notes.append(
            f"Both masks are full on {_share(score.both_full, score.with_people)}: their IoU of 1 says only that both"
            " sides call every pixel a person. Check what the output means: a probability read as logits, or the"
            " background read as the person, gives such masks."
        )
    return notes


def _share(count: int, total: int) -> str:
    """`every one of 2 photographs`, or `3 of 14 photographs`."""
    if total == 1:
        return "the only photograph"
    return f"{'every one' if count == total else count} of {total} photographs"


def fails_on_masks(gates: Iterable[Gate]) -> bool:
    """Whether a gate that compares masks failed."""
    return any(_is_mask_gate(gate) and not gate.passed for gate in gates)


def _is_mask_gate(gate: Gate) -> bool:
    return gate.name.partition(".")[0] in MASK_GATES


def _titled(title: str, kind: str) -> str:
    return f"{title}, {kind}" if kind else title


def _gate(bar: _Bar, kind: str, score: SetScore, thresholds: Thresholds) -> Gate | None:
    """One bar on the images of one kind; None if its value is not available."""
    value = bar.value(score)
    if value is None:
        return None
    threshold = getattr(thresholds, bar.field)
    return Gate(
        name=f"{bar.name}.{kind}" if kind else bar.name,
        title=_titled(bar.title, kind),
        value=value,
        threshold=threshold,
        better=bar.better,
        passed=_reaches(value, threshold, bar.better),
        where=bar.where(score),
        note=dict(thresholds.overridden).get(bar.field, ""),
    )


def _reaches(value: float, threshold: float, better: str) -> bool:
    return value >= threshold if better == "at_least" else value <= threshold


def missed_by(score: ImageScore, gate: Gate) -> float | None:
    """The image's own value, if it misses a gate that every image must reach; else None.

    Args:
        gate: of the comparison of one size.
    """
    name, _, kind = gate.name.partition(".")
    bar = IMAGE_BARS.get(name)
    if bar is None or bar.image is None or (bar.scope != "all" and kind != score.kind):
        return None
    value = bar.image(score)
    return None if value is None or _reaches(value, gate.threshold, gate.better) else value


def _finite_gate(score: SetScore) -> Gate:
    count = len(score.non_finite)
    where = listed(score.non_finite, LISTED) if count else _over_all(score)
    return Gate("non_finite_images", "images with NaN or infinity", float(count), 0.0, "at_most", count == 0, where)


def size_gate(model: str, recipe: str, size_bytes: int, *, max_mb: float | None = None) -> Gate | None:
    """The budget of a package's size on disk, the user's own or the recipe's; None where there is none."""
    budget = SIZE_BUDGETS.get((model, recipe)) if max_mb is None else round(max_mb * 1e6)
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
        "" if max_mb is None else "set by `max_mb=`",
    )
