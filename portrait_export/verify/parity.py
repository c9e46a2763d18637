"""Compare a candidate's masks with a reference's, frame by frame, and report the verdict."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

from ..artifacts import EMPTY
from ..errors import ExecutionError
from ..utils.names import listed, unique_name
from ..utils.plain import plain_data
from .gates import LISTED, NO_LOGITS, Gate, Thresholds, judge, missed_by
from .metrics import THRESHOLD, badness_key
from .scores import ImageScore, SetScore, comparable_logits, score_image, score_kinds, score_set

if TYPE_CHECKING:
    from ..artifacts import LabelledFrame, Prediction, Runner

SCHEMA = 1  # of `to_json`; raised when a field changes its meaning or goes away, not when one is added
AT = "@"  # between the name of a gate and the size that it is about
SIGNS = {"at_least": "≥", "at_most": "≤"}


@dataclass(frozen=True)
class Comparison:
    """One frame with both predictions and their score, as an `on_image` callback receives it.

    Attributes:
        threshold: P(person) from which a pixel was counted as person.
    """

    labelled: LabelledFrame
    reference: Prediction
    candidate: Prediction
    score: ImageScore
    threshold: float = THRESHOLD


class OnImage(Protocol):
    """Called after each image, in order."""

    def __call__(self, compared: Comparison, /) -> None: ...


@dataclass(frozen=True)
class ParityReport:
    """The result of comparing a candidate with a reference.

    Attributes:
        reference, candidate: the runners' names.
        images: one score per frame, in order.
        summary: over all of them.
        gates: every bar and its verdict.
        notes: what a reader must know in addition to the numbers.
        passed: every gate passed.
        kinds: the score over each kind of image, by kind; an empty string is the kind of images without one.
        parts: if images were compared at several sizes, the score over each size, by the size's name.
        package: what was compared, name → value: sha256, recipe, precision, target.
        other_weights: that the package was made from other weights, in one sentence, which is also a note; else empty.
    """

    reference: str
    candidate: str
    images: tuple[ImageScore, ...]
    summary: SetScore
    gates: tuple[Gate, ...]
    notes: tuple[str, ...]
    passed: bool
    kinds: tuple[tuple[str, SetScore], ...] = ()
    parts: tuple[tuple[str, SetScore], ...] = ()
    package: tuple[tuple[str, str], ...] = ()
    other_weights: str = ""

    def with_gates(self, *more: Gate | None) -> ParityReport:
        """Add gates, such as a size budget; None adds nothing."""
        gates = (*self.gates, *(gate for gate in more if gate is not None))
        return replace(self, gates=gates, passed=all(gate.passed for gate in gates))

    def at_size(self, size: str) -> ParityReport:
        """Add the size to the name of every image and every gate: `mean_mask_iou@256x256`."""
        images = tuple(replace(score, name=name_at(score.name, size)) for score in self.images)
        gates = tuple(replace(g, name=f"{g.name}{AT}{size}", where=name_at(g.where, size)) for g in self.gates)
        kinds = tuple(score_kinds(images).items())
        return replace(self, images=images, summary=score_set(images), gates=gates, kinds=kinds)

    @property
    def named_kinds(self) -> tuple[tuple[str, SetScore], ...]:
        """`kinds`, if any of them has a name to show."""
        return self.kinds if any(kind for kind, _ in self.kinds) else ()

    @property
    def compared_on(self) -> str:
        """What was compared, in words: `4 photographs`, or `4 photographs at 2 sizes`."""
        if not self.parts:
            return _photographs(len(self.images))
        counts = [score.images for _, score in self.parts]
        if len(set(counts)) == 1:
            return f"{_photographs(counts[0])} at {len(counts)} sizes"
        return f"{' + '.join(map(str, counts))} photographs at {len(counts)} sizes"

    def worst(self, count: int) -> tuple[ImageScore, ...]:
        """The images on which the masks agree least, worst first; equal masks are ordered by their logits."""
        return tuple(sorted(self.images, key=badness)[:count])

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON. A NaN is null, and then `finite` (of an image) or `passed` (of a gate) is false."""
        return {
            "schema": SCHEMA,
            "reference": self.reference,
            "candidate": self.candidate,
            **({"package": dict(self.package)} if self.package else {}),
            "passed": self.passed,
            "gates": [plain_data(asdict(gate)) for gate in self.gates],
            "notes": list(self.notes),
            "summary": plain_data(asdict(self.summary)),
            **({"kinds": _by_name(self.named_kinds)} if self.named_kinds else {}),
            **({"sizes": _by_name(self.parts)} if self.parts else {}),
            "images": [plain_data(asdict(score)) for score in self.images],
        }

    def to_json(self) -> str:
        """`to_dict` as indented JSON: the same report gives the same bytes."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"

    def to_junit(self) -> str:
        """JUnit XML for CI: one test case per gate and one per image, which fails where it misses a gate's bar.

        Without dates and durations: the same report gives the same bytes.
        """
        suites = ET.Element("testsuites")
        self._suite(suites, "parity.gates", [(_case(gate), complaint(gate)) for gate in self.gates])
        self._suite(suites, "parity.images", [(score.name, self._image_complaint(score)) for score in self.images])
        ET.indent(suites)
        return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(suites, encoding="unicode") + "\n"

    def _suite(self, suites: ET.Element, name: str, cases: list[tuple[str, str]]) -> None:
        counts = {"tests": len(cases), "failures": sum(bool(complaint) for _, complaint in cases), "errors": 0}
        suite = ET.SubElement(suites, "testsuite", {"name": name, **{k: str(v) for k, v in counts.items()}})
        taken: set[str] = set()
        for title, complaint in cases:
            unique = unique_name(xml_safe(title), taken)
            case = ET.SubElement(suite, "testcase", {"classname": name, "name": unique})
            if complaint:
                ET.SubElement(case, "failure", {"message": xml_safe(complaint)}).text = xml_safe(
                    f"{self.candidate} against {self.reference}: {complaint}"
                )

    def _image_complaint(self, score: ImageScore) -> str:
        """Why an image failed, or an empty string."""
        if not score.finite:
            return "the candidate gives NaN or infinity"
        if math.isnan(score.iou):
            return "the reference gives NaN or infinity"
        return "; ".join(filter(None, (_missed(score, gate) for gate in self.gates)))


def _by_name(scores: Iterable[tuple[str, SetScore]]) -> dict[str, Any]:
    """Named scores as plain data. Images without a kind are listed as `other`."""
    return {name or "other": plain_data(asdict(score)) for name, score in scores}


def compare(
    reference: Runner,
    candidate: Runner,
    frames: Iterable[LabelledFrame],
    thresholds: Thresholds,
    *,
    threshold: float = THRESHOLD,
    on_image: OnImage | None = None,
    run: Callable[..., Iterable[Any]] = map,
    alone: bool = True,
) -> ParityReport:
    """Run both on every frame and judge.

    Args:
        frames: at the runners' input size; may be a generator, as only the score of a frame is kept.
        thresholds: from `gates.thresholds_for`.
        threshold: P(person) from which a pixel is person.
        on_image: called with every frame, its predictions and its score, in order.
        run: like `map`; one that works in threads overlaps the frames. The candidate must allow that.
        alone: the reference sees one frame at a time even so: it may be anybody's network.
    Raises:
        DataError: there are no frames, or the shapes of the two sides differ.
        ExecutionError: a runner did not return exactly one prediction for a frame.
    """
    scores: list[ImageScore] = []
    broken_references: list[str] = []
    odd_logits = ""
    one_at_a_time = Lock() if alone else nullcontext()

    def both(labelled: LabelledFrame) -> tuple[LabelledFrame, Prediction, Prediction]:
        with one_at_a_time:
            expected = _predict(reference, labelled)
        return labelled, expected, _predict(candidate, labelled)

    for labelled, expected, found in run(both, frames):
        score = score_image(
            expected,
            found,
            label=labelled.mask,
            name=labelled.frame.name,
            kind=labelled.group,
            threshold=threshold,
        )
        scores.append(score)
        if score.finite and math.isnan(score.iou):
            broken_references.append(score.name)
        odd_logits = odd_logits or _odd_logits(expected, found, reference.name, candidate.name)
        if on_image is not None:
            on_image(Comparison(labelled, expected, found, score, threshold))
    summary, kinds = score_set(scores), score_kinds(scores)
    gates, notes = judge(summary, kinds, thresholds, no_logits="" if odd_logits else NO_LOGITS)
    if odd_logits:
        notes = (*notes, odd_logits)
    if broken_references:
        notes = (*notes, f"The reference itself gives NaN or infinity on: {listed(broken_references, LISTED)}.")
    return ParityReport(
        reference=reference.name,
        candidate=candidate.name,
        images=tuple(scores),
        summary=summary,
        gates=gates,
        notes=notes,
        passed=all(gate.passed for gate in gates),
        kinds=tuple(kinds.items()),
    )


def name_at(name: str, size: str) -> str:
    """The name of an image in a comparison at several sizes."""
    return f"{name}, {size}"


def joined(reports: Mapping[str, ParityReport]) -> ParityReport:
    """Join reports on one package at several sizes, by the size's name. The result passes if each of them does."""
    sized = [report.at_size(size) for size, report in reports.items()]
    images = tuple(score for report in sized for score in report.images)
    return ParityReport(
        reference=sized[0].reference,
        candidate=sized[0].candidate,
        images=images,
        summary=score_set(images),
        gates=tuple(gate for report in sized for gate in report.gates),
        notes=tuple(dict.fromkeys(note for report in reports.values() for note in report.notes)),
        passed=all(report.passed for report in sized),
        kinds=tuple(score_kinds(images).items()),
        parts=tuple((size, report.summary) for size, report in zip(reports, sized, strict=True)),
    )


def badness(score: ImageScore) -> tuple[Any, ...]:
    """Sorts scores from worst to best: by mask agreement, then by logits, then by name; NaN before any number.

    Agreement is the IoU; on empty pictures it is the share of pixels that did not flip.
    """
    agreement = 1 - score.flipped_share if score.kind == EMPTY else score.iou
    logits = 0.0 if score.psnr_db is None else score.psnr_db
    return (badness_key(agreement), badness_key(-score.flipped_share), badness_key(logits), score.name)


def agreement(score: ImageScore) -> str:
    """How far two masks agree, in words: `IoU 0.9991`, or `0.02 % flipped` on an empty picture."""
    if score.kind == EMPTY:
        return f"{number(100 * score.flipped_share, 3)} % flipped"
    return f"IoU {number(score.iou)}"


def number(value: float | None, digits: int = 5) -> str:
    """A number for people: whole numbers with thousands separators, others to `digits` significant digits.

    A value next to 1 gets more digits: 0.999998 says more than a rounded 1.
    """
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else str(value)
    if value == int(value):
        return f"{int(value):,}"
    text = f"{value:.{digits}g}"
    return f"{value:.{digits + 4}g}" if float(text) == 1 else text


def measured(gate: Gate) -> str:
    """A gate's value with enough digits to tell it from the bar: 0.9989996, not 0.999, misses 0.999."""
    bar, digits = number(gate.threshold), 5
    while number(gate.value, digits) == bar and gate.value != gate.threshold and digits < 17:
        digits += 1
    return number(gate.value, digits)


def wanted(gate: Gate) -> str:
    """A gate's bar, such as `≥ 0.999`."""
    return f"{SIGNS[gate.better]} {number(gate.threshold)}"


def _odd_logits(expected: Prediction, found: Prediction, reference: str, candidate: str) -> str:
    """The note for logits that differ in size; else an empty string."""
    if expected.logits is None or found.logits is None or comparable_logits(expected, found) is not None:
        return ""
    theirs, ours = ("x".join(map(str, side.logits.shape)) for side in (expected, found) if side.logits is not None)
    return (
        f"The logits are not compared and not gated, as they differ in size: {reference} has {theirs}, {candidate}"
        f" {ours}. The masks are compared at full size."
    )


def _predict(runner: Runner, labelled: LabelledFrame) -> Prediction:
    predictions = runner.run([labelled.frame])
    if len(predictions) != 1:
        raise ExecutionError(f"{runner.name} returned {len(predictions)} predictions for one frame.")
    return predictions[0]


def _photographs(count: int) -> str:
    return f"{count} photograph{'s' if count != 1 else ''}"


def complaint(gate: Gate) -> str:
    """Why a gate failed, or an empty string."""
    if gate.passed:
        return ""
    note = f" ({gate.note})" if gate.note else ""
    return f"{gate.title} is {measured(gate)}, wanted {wanted(gate)}; {gate.where}{note}"


def _case(gate: Gate) -> str:
    """A gate's title, with the size that it is about if there are several."""
    size = _size_of(gate)
    return f"{gate.title}, {size}" if size else gate.title


def _size_of(gate: Gate) -> str:
    return gate.name.rpartition(AT)[2] if AT in gate.name else ""


def _missed(score: ImageScore, gate: Gate) -> str:
    """Why an image misses a gate, or an empty string."""
    size = _size_of(gate)
    if size and not score.name.endswith(name_at("", size)):
        return ""
    value = missed_by(score, replace(gate, name=gate.name.rpartition(AT)[0]) if size else gate)
    if value is not None:
        return f"{gate.title}: {measured(replace(gate, value=value))} here, wanted {wanted(gate)}"
    return complaint(gate) if gate.where == score.name and not gate.passed else ""


def xml_safe(text: str) -> str:
    """Text with what XML 1.0 cannot hold (control characters, lone surrogates of odd file names) as U+FFFD."""
    return "".join(
        c if c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff" else "�" for c in text
    )
