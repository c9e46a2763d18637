"""Decide what the values of a network's output mean.

The graph proves where values lie (a sigmoid is within 0..1, and so is its blur); photographs show where they do lie.
Logits have both signs on some picture; a probability leaves 0..1 on none. Where neither settles it, the user is asked.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import CaptureError, UsageError
from ...utils.bounds import at_least, at_most
from ...utils.names import with_article
from .bounds import Bounds
from .measured import Seen
from .walk import Walk

SLACK = 2e-3  # by how much values may leave their span by rounding: half precision, weights of a blur
OVERSHOOT = 0.25  # by which share of its span a matte may leave it: cubic resizes and refinements do, by up to 0.2
MOST_CLASSES = 64  # whole numbers from 0 on, up to here, are class numbers, and from MATTE on levels of a picture
MATTE = 200  # a matte of 0..255 comes near 255 on some photograph
NEAR_ZERO, NEAR_ONE = 0.02, 0.98  # a matte comes this near to both ends of 0..1
ONE_LEVEL = 1e-2  # relative difference of a scale from 1/255: converters write 1/256, too
CLUSTERED = 0.5  # share of pixels near the ends of a span, from which values look like a matte's
LOGITS = ("logits", "multilabel")
# The spans of values that are known for "surely not" to "surely", and what the option that names each is called.
SPANS = {(0.0, 1.0): "probability", (0.0, 255.0): "matte255", (-1.0, 1.0): "signed", (0.0, 100.0): ""}
DESCRIPTIONS = {
    "logits": "logits",
    "multilabel": "logits of classes that may overlap",
    "sigmoid": "a sigmoid",
    "softmax": "a softmax",
    "logsoftmax": "a log-softmax",
    "argmax": "an argmax",
    "probability": "a probability",
}
CHOICES = {
    "logits": "0 is the boundary",
    "probability": "0..1",
    "matte255": "0..255",
    "signed": "-1..1",
    "argmax": "class numbers",
}


@dataclass(frozen=True)
class Meaning:
    """What the values of an output mean.

    Attributes:
        kind: one of `DESCRIPTIONS`.
        text: the same in words, with its scale.
        zero, one: the values that mean "surely not" and "surely", where it is not logits or class numbers.
        slope: P = σ(slope · what the activation was computed from); 0 where that is not known exactly.
        why: what was decided from.
        warnings: what was only guessed.
    """

    kind: str
    text: str
    zero: float = 0.0
    one: float = 1.0
    slope: float = 0.0
    why: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Levels:
    """The 8-bit integers that a graph returns: q = round(x / scale) + zero.

    Attributes:
        value: the name of x.
        scale, zero: NaN where they are computed.
        unit: x is within 0..1.
    """

    value: str
    scale: float
    zero: float
    unit: bool

    @property
    def is_matte(self) -> bool:
        """Whether 0..255 stands for 0..1."""
        return self.unit and self.zero == 0 and abs(self.scale * 255 - 1) <= ONE_LEVEL

    def __str__(self) -> str:
        offset = f"- {self.zero:g}" if self.zero >= 0 else f"+ {-self.zero:g}"
        return f"8-bit integers q that stand for {self.scale:.4g} · (q {offset})"


@dataclass(frozen=True)
class Evidence:
    """All that is known of an output.

    Attributes:
        output: its name. shape: in words.
        walk: back to its activation.
        bounds: what the graph proves of its values.
        seen: its values on pictures.
        classes: K. named: how many classes an argmax at its end chose from; 0 where there is none.
        near: bounded activations that reach it through arithmetic. summed: one of them through sums alone.
        integer: its type holds whole numbers only.
        features: its last operator weighs values that are no probabilities.
        levels: how it stores numbers as 8-bit integers; None where it does not.
    """

    output: str
    shape: str
    walk: Walk
    bounds: Bounds
    seen: Seen
    classes: int
    named: int = 0
    near: tuple[str, ...] = ()
    summed: bool = False
    integer: bool = False
    features: bool = False
    levels: Levels | None = None

    @property
    def facts(self) -> str:
        """What was seen and proved, for messages."""
        proved = ""
        if self.bounds.finite:
            proved = f", and the graph keeps it in {at_least(self.bounds.low, 4)}..{at_most(self.bounds.high, 4)}"
        elif self.bounds.low > -1:
            proved = f", and the graph keeps it above {at_least(self.bounds.low, 4)}"
        return f"{self.seen}{proved}"


def decide(evidence: Evidence, asked: str | None) -> Meaning:
    """What an output means.

    Args:
        asked: the user's `activation=`.
    Raises:
        UsageError: nothing settles it, or the option contradicts the graph.
        CaptureError: the option contradicts the values.
    """
    if asked is not None and asked != "auto":
        return _asked(evidence, asked)
    return _by_graph(evidence) or _whole_numbers(evidence) or _by_values(evidence)


# What the graph shows


def _by_graph(evidence: Evidence) -> Meaning | None:
    """From the activation that ends the graph."""
    walk = evidence.walk
    ends = f"{walk.operator} ends the graph; {evidence.facts}"
    interpolated = walk.resized and not evidence.seen.whole
    if walk.kind == "argmax" and not walk.scaled and not interpolated:
        return Meaning("argmax", DESCRIPTIONS["argmax"], why=ends)
    if walk.kind == "argmax" and evidence.named > 2:
        change = f"times {walk.gain:.4g} plus {walk.offset:.4g}" if walk.scaled else "interpolated by a resize"
        raise UsageError(
            f"The output {evidence.output!r} holds numbers of {evidence.named} classes, {change}: a picture of the"
            " classes, not a mask.",
            code="scaled-classes",
            hint=f"`mask_output={walk.value}` takes the class numbers themselves.",
        )
    if walk.kind == "logsoftmax" and not walk.scaled:
        if walk.resized:  # interpolated log-probabilities: their differences are still logits
            return Meaning("logits", DESCRIPTIONS["logits"], why="an interpolated log-softmax")
        exact = not walk.unsure
        return Meaning("logsoftmax", DESCRIPTIONS["logsoftmax"], slope=float(exact), why=ends)
    if walk.kind not in ("sigmoid", "softmax", "tanh"):
        return None
    span = _span(walk)
    if span is None:
        return None
    zero, one = sorted(span)
    slope = (2.0 if walk.kind == "tanh" else 1.0) * (1 if span[1] > span[0] else -1)
    text = _in_words(walk, zero, one, slope)
    if walk.resized or walk.unsure or (walk.kind == "softmax" and slope < 0):
        change = "resized" if walk.resized else walk.unsure or "subtracted"
        kind = "softmax" if evidence.seen.exclusive and (zero, one) == (0, 1) else "probability"
        return Meaning(kind, text, zero, one, why=f"the result of a {walk.kind} is {change} inside the graph")
    return Meaning("softmax" if walk.kind == "softmax" else "sigmoid", text, zero, one, slope, ends)


def _span(walk: Walk) -> tuple[float, float] | None:
    """The values at the activation's lower and upper end, where those are a span of SPANS (or its reverse)."""
    low, high = (-1.0, 1.0) if walk.kind == "tanh" else (0.0, 1.0)
    first, last = walk.gain * low + walk.offset, walk.gain * high + walk.offset
    for known in SPANS:
        tolerance = 1e-2 * (known[1] - known[0])
        if abs(min(first, last) - known[0]) <= tolerance and abs(max(first, last) - known[1]) <= tolerance:
            return first, last
    return None


def _in_words(walk: Walk, zero: float, one: float, slope: float) -> str:
    plain = "a probability" if walk.resized or walk.unsure else f"a {walk.kind}"
    if slope < 0:
        plain = f"1 - {plain}" if walk.kind != "tanh" else f"-({plain})"
    if (zero, one) == ((-1, 1) if walk.kind == "tanh" else (0, 1)):
        return plain
    return f"{plain}, as {zero:g}..{one:g}"


# Whole numbers


def _whole_numbers(evidence: Evidence) -> Meaning | None:
    """Class numbers, a mask of two values, or the levels of a picture; None where the values are not whole."""
    seen, distinct = evidence.seen, evidence.seen.distinct
    if not (evidence.integer or seen.whole):
        return None
    if evidence.levels is not None and not evidence.levels.is_matte:
        raise UsageError(
            f"The output {evidence.output!r} holds {evidence.levels}: neither class numbers nor a picture of 0..255.",
            code="which-activation",
            hint=f"`mask_output={evidence.levels.value}` takes the numbers themselves.",
        )
    many = distinct is None or len(distinct) > MOST_CLASSES
    levels = (many and not _kept_below(evidence.bounds, 255)) or seen.high >= MATTE
    if distinct is not None and distinct <= {0.0, 1.0} and (len(distinct) == 2 or evidence.bounds.within(0, 1)):
        kind = "softmax" if seen.exclusive else "probability"
        return Meaning(kind, "a mask of 0 and 1 with hard edges", why=evidence.facts)
    if distinct is not None and distinct <= {0.0, 255.0} and len(distinct) == 2:
        return Meaning("probability", "a mask of 0 and 255 with hard edges", 0, 255, why=evidence.facts)
    if seen.within(0, 255) and (_is_picture(evidence.bounds) or levels) and (evidence.integer or seen.high >= MATTE):
        if distinct is not None and len(distinct) <= MOST_CLASSES and seen.high < MOST_CLASSES:
            raise _question(evidence, "either class numbers, or a dark matte of 0..255")
        return Meaning("probability", "a matte of 0..255", 0, 255, why=f"whole numbers, {evidence.facts}")
    numbers = evidence.integer and evidence.classes == 1 and not evidence.walk.scaled
    if numbers and not many and seen.low >= 0 and seen.high < MOST_CLASSES * 4:
        doubt = (
            f"the output holds whole numbers ({evidence.walk.operator}), {evidence.facts}: taken as class numbers"
            " (`activation=`)"
        )
        return Meaning("argmax", "class numbers", why=evidence.facts, warnings=(doubt,))
    if evidence.integer or (distinct is not None and len(distinct) > 2):
        raise _question(evidence, "whole numbers that are neither class numbers from 0 on nor a picture of 0..255")
    return None


def _is_picture(bounds: Bounds) -> bool:
    """Whether the graph keeps values in about 0..255."""
    return bounds.within(-1, 256.5) and bounds.high > 254


def _kept_below(bounds: Bounds, most: float) -> bool:
    """Whether the graph keeps values well below a number that they were to reach."""
    return bounds.finite and bounds.high < most * (1 - SLACK)


# Values


def _by_values(evidence: Evidence) -> Meaning:
    seen, bounds = evidence.seen, evidence.bounds
    if _in_unit(bounds):
        return _probability(evidence, f"the graph proves it: {evidence.facts}")
    if _is_picture(bounds):
        return Meaning("probability", "a matte of 0..255", 0, 255, why=f"the graph proves it: {evidence.facts}")
    if _in_unit(seen):
        return _within_unit(evidence)
    if seen.low >= -SLACK * seen.high:
        return _never_negative(evidence)
    if seen.high <= 0:
        return _never_positive(evidence)
    return _both_signs(evidence)


def _in_unit(values: Bounds | Seen) -> bool:
    """Whether values are in 0..1 up to rounding: of the values' own size, as logits of 1e-20 have both signs too."""
    return values.within(-SLACK, 1 + SLACK) and values.low >= -SLACK * values.high


def _probability(evidence: Evidence, why: str, *doubts: str) -> Meaning:
    kind = "softmax" if evidence.seen.exclusive else "probability"
    text = "probabilities that sum to 1" if evidence.seen.exclusive else DESCRIPTIONS["probability"]
    return Meaning(kind, text, why=why, warnings=doubts)


def _within_unit(evidence: Evidence) -> Meaning:
    """Values in 0..1 which the graph does not prove to be there."""
    seen, bounds = evidence.seen, evidence.bounds
    doubt = f"it ends in {evidence.walk.operator} with values of {evidence.facts}: taken as a probability"
    spread = seen.low < NEAR_ZERO and seen.high > NEAR_ONE
    bounded = bounds.low >= -SLACK or (bounds.finite and bounds.within(-1, 3))
    if bounded and (evidence.near or spread):
        return _probability(evidence, evidence.facts, doubt)
    if seen.stretched or seen.exclusive or (spread and (evidence.near or _clustered(evidence, 1))):
        return _probability(evidence, evidence.facts, doubt)
    if evidence.classes > 1 and not evidence.near:
        why = f"nothing in the graph bounds it: {evidence.facts}"
        doubt = f"its classes' values are all within 0..1 ({evidence.facts}): taken as logits (`activation=`)"
        return Meaning("logits", DESCRIPTIONS["logits"], why=why, warnings=(doubt,))
    raise _question(evidence, "within 0..1 on every picture, which nothing in the graph explains")


def _never_negative(evidence: Evidence) -> Meaning:
    seen = evidence.seen
    if evidence.bounds.low >= -SLACK and MATTE <= seen.high <= 255 + 255 * SLACK:
        doubt = f"it ends in {evidence.walk.operator} with values of {evidence.facts}: taken as a matte of 0..255"
        return Meaning("probability", "a matte of 0..255", 0, 255, why=evidence.facts, warnings=(doubt,))
    bounded = evidence.bounds.low >= -SLACK or evidence.bounds.finite or evidence.near
    if evidence.classes == 1 and (bounded or MATTE / 2 <= seen.high <= 256):
        raise _question(evidence, "never negative, as no logits are, and above 1, as no probability is")
    doubt = f"its logits are never negative ({evidence.facts}), which would be a person everywhere (`activation=`)"
    return Meaning("logits", DESCRIPTIONS["logits"], why=evidence.facts, warnings=(doubt,) * (evidence.classes == 1))


def _never_positive(evidence: Evidence) -> Meaning:
    if evidence.classes == 1 and evidence.bounds.high <= SLACK:
        raise _question(evidence, "never positive, as logarithms of probabilities are")
    if (matte := _signed(evidence)) is not None:
        return matte
    if evidence.classes == 1 and _is_narrow(evidence):
        raise _question(evidence, "never positive, and too near to 0 for logits")
    return Meaning("logits", DESCRIPTIONS["logits"], why=evidence.facts)


def _signed(evidence: Evidence) -> Meaning | None:
    """A matte of -1..1, where the graph keeps values in exactly that."""
    seen, bounds = evidence.seen, evidence.bounds
    signed = bounds.within(-1 - SLACK, 1 + SLACK) and bounds.low <= -1 + SLACK and seen.low <= -OVERSHOOT
    if not signed or bounds.high < 1 - SLACK or evidence.classes > 1:
        return None
    doubt = f"it ends in {evidence.walk.operator} with values of {evidence.facts}: taken as a matte of -1..1"
    return Meaning("probability", "a matte of -1..1", -1, 1, why=evidence.facts, warnings=(doubt,))


def _is_narrow(evidence: Evidence) -> bool:
    """Whether values and their bounds are too near to 0..1 for logits, unless a layer makes them of features."""
    return evidence.seen.within(-0.5, 1.5) and evidence.bounds.within(-3, 3) and not evidence.features


def _both_signs(evidence: Evidence) -> Meaning:
    seen, bounds = evidence.seen, evidence.bounds
    if (matte := _signed(evidence)) is not None:
        return matte
    if evidence.walk.kind in ("sigmoid", "softmax") and evidence.classes == 1:
        change = f"times {evidence.walk.gain:.4g} plus {evidence.walk.offset:.4g}"
        raise _question(evidence, f"a {evidence.walk.kind} {change}, neither logits nor a matte of a known span")
    for one in (1.0, 255.0):
        reach = OVERSHOOT * one
        if not seen.within(-reach, one + reach) or seen.high < one * (1 - OVERSHOOT):
            continue
        if bounds.within(-2 * reach, one + 2 * reach) and bounds.high >= one:
            text = f"a matte of 0..{one:g}"
            doubt = f"its values leave 0..{one:g} ({evidence.facts}): what is outside is cut off"
            return Meaning("probability", text, 0, one, why=evidence.facts, warnings=(doubt,))
        if evidence.near or _clustered(evidence, one):
            raise _question(evidence, f"mostly within 0..{one:g}, as a matte that is not cut off, or weak logits")
    wide = seen.within(-1, 2) and (evidence.summed or bounds.within(-1 - SLACK, 2 + SLACK))
    if (_is_narrow(evidence) or (wide and not evidence.features)) and evidence.classes == 1:
        raise _question(evidence, "neither within 0..1 nor on both sides of 0 as logits are")
    activation = evidence.walk.operator
    why = f"no activation at its end ({activation}), and both signs: {evidence.facts}"
    return Meaning("logits", DESCRIPTIONS["logits"], why=why)


def _clustered(evidence: Evidence, one: float) -> bool:
    """Whether most pixels of photographs are near both ends of a span, as those of a matte are."""
    seen = evidence.seen
    top = seen.at_one if one == 1 else seen.at_255
    return seen.at_zero + top >= CLUSTERED and min(seen.at_zero, top) > 0.02


# What the user says


def _asked(evidence: Evidence, asked: str) -> Meaning:
    walk = evidence.walk
    known = _by_graph(evidence)
    if asked == "softmax" and walk.kind == "logsoftmax":
        return known or Meaning("logsoftmax", DESCRIPTIONS["logsoftmax"])
    _require_possible(evidence, asked)
    spans = {name: span for span, name in SPANS.items()}
    why = "as specified"
    if asked in ("sigmoid", "softmax") and known is not None and known.kind == asked:
        return Meaning(asked, known.text, known.zero, known.one, known.slope, why)
    doubts = _contradiction(walk, asked)
    if asked in spans:
        zero, one = spans[asked]
        exact = known is not None and (known.zero, known.one) == (zero, one) and asked != "probability"
        if exact:
            assert known is not None
            return Meaning(known.kind, known.text, zero, one, known.slope, why)
        text = {"matte255": "a matte of 0..255", "signed": "a matte of -1..1"}.get(asked, DESCRIPTIONS["probability"])
        return Meaning("probability", text, zero, one, why=why, warnings=(*doubts, *_cut_off(evidence, zero, one)))
    return Meaning(asked, DESCRIPTIONS[asked], why=why, warnings=doubts)


def _contradiction(walk: Walk, asked: str) -> tuple[str, ...]:
    found = walk.kind.replace("logsoftmax", "softmax")
    agreeing = {"sigmoid": ("probability", "matte255"), "softmax": ("probability", "matte255"), "tanh": ("signed",)}
    if found in ("", asked) or asked in agreeing.get(found, ()) or walk.scaled:
        return ()
    return (f"`activation=` is {asked}, but the graph ends in {with_article(found)}",)


def _cut_off(evidence: Evidence, zero: float, one: float) -> tuple[str, ...]:
    reach = SLACK * (one - zero)
    if evidence.seen.within(zero - reach, one + reach):
        return ()
    return (f"its values leave {zero:g}..{one:g} ({evidence.facts}): what is outside is cut off",)


def _require_possible(evidence: Evidence, asked: str) -> None:
    """Raise an error where an option cannot be right."""
    if not _problem(evidence, asked):
        return
    if asked in LOGITS:
        raise UsageError(
            f"`activation={asked}` cannot be right: the output {evidence.output!r} is {evidence.facts}. Read as logits,"
            " values that are never negative call every pixel the person.",
            code="not-logits",
            hint=_choices(evidence),
        )
    raise CaptureError(
        f"The output {evidence.output!r} was taken as {_problem(evidence, asked)}, and its values are"
        f" {evidence.facts}.",
        code="not-a-probability",
        hint=_choices(evidence),
    )


def _problem(evidence: Evidence, asked: str) -> str:
    """What the output cannot be, if it is not what an option says; else empty."""
    seen, bounds = evidence.seen, evidence.bounds
    if asked in LOGITS:
        proved = bounds.within(-SLACK, 1 + SLACK) or _is_picture(bounds)
        return DESCRIPTIONS[asked] if evidence.classes == 1 and proved else ""
    if asked == "argmax":
        return "" if seen.whole and seen.low >= 0 else "class numbers"
    zero, one = {name: span for span, name in SPANS.items()}.get(asked, (0.0, 1.0))
    reach = OVERSHOOT * (one - zero) if asked in SPANS.values() else SLACK
    possible = seen.within(zero - reach, one + reach)
    if asked == "matte255":
        reached = not bounds.finite or bounds.high >= MATTE
        possible = possible and reached and (seen.high > 1 + SLACK or _is_picture(bounds))
    if asked == "signed":
        possible = possible and (seen.low < -SLACK or (bounds.finite and bounds.low < -1 + SLACK))
    return "" if possible else DESCRIPTIONS.get(asked, f"a matte of {zero:g}..{one:g}")


def _question(evidence: Evidence, problem: str) -> UsageError:
    near = f" after a {' and a '.join(evidence.near)}" if evidence.near else ""
    return UsageError(
        f"What does the output {evidence.output!r} {evidence.shape} hold? It ends in {evidence.walk.operator}{near},"
        f" with values of {evidence.facts}: {problem}.",
        code="which-activation",
        hint=_choices(evidence),
    )


def _choices(evidence: Evidence) -> str:
    """The options that the values allow."""
    possible = [f"`activation={name}` ({text})" for name, text in CHOICES.items() if not _problem(evidence, name)]
    return f"{' or '.join(possible) or 'none of the options'} fits; `mask_output=NAME` takes another value inside."
