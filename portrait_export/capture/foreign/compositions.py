"""Recognise outputs from which one mask of the person can be composed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...errors import CaptureError, UsageError
from ...utils.bounds import at_most
from .field import Field, field_of
from .instances import (
    BOX,
    DETECTIONS_IN_FORWARD,
    FEWEST_PROTOTYPES,
    FEWEST_QUERIES,
    QUERIES_IN_FORWARD,
    SELECTED,
    as_list,
    counts_of_anchors,
    shape_text,
)

# Which class is the person where only the number of classes is known, and whose classes those are.
KNOWN_SETS = {
    1: ((0,), "the only class"),
    19: ((11,), "Cityscapes: 11 is person; riders are 12"),
    80: ((0,), "COCO: 0 is person"),
    91: ((1,), "COCO's own numbers: 1 is person"),
    133: ((0,), "COCO panoptic: 0 is person"),
    150: ((12,), "ADE20K: 12 is person"),
}
COCO = 80  # classes that YOLO's own weights have
MOST_DETECTIONS = 300  # of the largest score, as Ultralytics' `max_det` has it
CROWDED = 0.05  # a score that is left out and still matters
SLACK = 1e-3  # by how much a probability may leave 0..1
SMALLEST_BOX_IN_PIXELS = 2.0  # boxes whose largest coordinate is less are shares of the picture

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Detections:
    """A list of detections, and prototypes that each one weighs to get its mask (YOLOv5-seg and later).

    A row is a box, perhaps an objectness, a score of each class or the score and number of one, and coefficients.
    P(person) = max over the detections of score · σ(coefficients · prototypes), inside their boxes.

    Attributes:
        rows, prototypes: names of the outputs.
        shape: of `rows`.
        features: axis of `shape` along which a detection's numbers lie.
        field: how `prototypes` holds them.
        picture: (H, W) in which boxes are measured, in pixels.
        corners: a box is x1, y1, x2, y2; else its centre, width and height.
        objectness: scores of classes are to be multiplied with it.
        numbered: one score and the number of its class; else a score of each class.
        person: classes.
        left_out: the largest score of the person that MOST_DETECTIONS leaves out, on photographs.
    """

    rows: str
    prototypes: str
    shape: tuple[int, ...]
    features: int
    field: Field
    picture: tuple[int, int]
    corners: bool
    objectness: bool
    numbered: bool
    person: tuple[int, ...] = ()
    left_out: float = 0.0

    @property
    def reads(self) -> tuple[str, ...]:
        """The outputs that a mask is composed from."""
        return self.rows, self.prototypes

    @property
    def turned(self) -> bool:
        """Whether the list is (d, n) instead of (n, d)."""
        return self.features == len(self.shape) - 2

    @property
    def count(self) -> int:
        """Detections."""
        return self.shape[-1 if self.turned else -2]

    @property
    def coefficients(self) -> int:
        """Numbers of a detection that weigh the prototypes; the last ones of its row."""
        return self.field.classes

    @property
    def first_score(self) -> int:
        """Where the scores of classes begin in a row."""
        return BOX + self.objectness

    @property
    def classes(self) -> int:
        """How many classes have a score each."""
        return self.shape[self.features] - self.first_score - self.coefficients

    @property
    def kept(self) -> int:
        """How many detections count."""
        return min(self.count, MOST_DETECTIONS)

    @property
    def text(self) -> str:
        """What is composed, and from what."""
        box = "x1, y1, x2, y2" if self.corners else "x, y, width, height"
        scores = "score, class" if self.numbered else f"{self.classes} scores"
        row = ", ".join(
            [box, *(["objectness"] if self.objectness else []), scores, f"{self.coefficients} coefficients"]
        )
        some = "all" if self.kept == self.count else f"the {self.kept} best of"
        return (
            f"composed: over {some} {self.count} detections, the largest of score · σ(coefficients · prototypes) inside"
            f" the box; {self.rows!r} {shape_text(self.shape)} holds {row} of each, {self.prototypes!r}"
            f" {shape_text(self.field.shape)} the prototypes"
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the mask may lack."""
        if self.left_out <= CROWDED:
            return ()
        found = f"a detection of the person with a score of {self.left_out:.2f} was left out on a photograph"
        return (f"{found}: only the {self.kept} best count",)

    def table(self, outputs: Arrays) -> np.ndarray:
        """The detections (n, d)."""
        rows = outputs[self.rows].astype(np.float64).reshape(self.shape[-2:])
        return rows.T if self.turned else rows

    def scores(self, table: np.ndarray) -> np.ndarray:
        """(n,): how likely each detection is the person."""
        if self.numbered:
            return table[:, BOX] * np.isin(np.rint(table[:, BOX + 1]), self.person)
        columns = [self.first_score + k for k in self.person]
        best = table[:, columns].max(axis=1)
        return best * table[:, BOX] if self.objectness else best


@dataclass(frozen=True)
class Queries:
    """Masks of queries, and the classes of each (DETR, MaskFormer, Mask2Former).

    P(person) = min(1, Σ over the queries of softmax(classes)[person] · σ(mask)): their own semantic inference, see
    `semantic_inference` in https://github.com/facebookresearch/Mask2Former/blob/main/mask2former/maskformer_model.py

    Attributes:
        scores, masks: names of the outputs.
        shape: of `scores`: (1, queries, classes + 1). The last class is "no object".
        field: how `masks` holds a mask for each query.
        person: classes.
    """

    scores: str
    masks: str
    shape: tuple[int, ...]
    field: Field
    person: tuple[int, ...] = ()

    @property
    def reads(self) -> tuple[str, ...]:
        """The outputs that a mask is composed from."""
        return self.scores, self.masks

    @property
    def count(self) -> int:
        """Queries."""
        return self.shape[-2]

    @property
    def classes(self) -> int:
        """How many classes there are, without "no object"."""
        return self.shape[-1] - 1

    @property
    def text(self) -> str:
        """What is composed, and from what."""
        return (
            f"composed: over {self.count} queries, the sum of softmax(classes)[person] · σ(mask), at most 1;"
            f" {self.scores!r} {shape_text(self.shape)} holds logits of {self.classes} classes and, last, of none,"
            f" {self.masks!r} {shape_text(self.field.shape)} the masks' logits"
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """Nothing is left out."""
        return ()


Composition = Detections | Queries


def detections_of(pictures: Sequence[Arrays], size: tuple[int, int], named: int = 0) -> Detections:
    """The layout of YOLO's instance segmentation.

    Args:
        pictures: the network's outputs on some photographs.
        size: (H, W) of the input.
        named: how many classes a file names; 0 where none does.
    Raises:
        CaptureError: no outputs have that layout, or their values contradict it.
    """
    found = [
        layout
        for name, prototypes in pictures[0].items()
        if (field := field_of(prototypes.shape, size)) is not None and field.classes >= FEWEST_PROTOTYPES
        for key, rows in pictures[0].items()
        if key != name and as_list(rows.shape)
        for layout in _row_layouts(key, rows.shape, name, field, size, {named, COCO} - {0})
    ]
    if len(found) != 1:
        raise _not_that_layout(
            pictures[0],
            "YOLO's instance segmentation is a list of detections (1, d, n) or (1, n, d) and prototypes (1, m, h, w):"
            f" n = {counts_of_anchors(size)[0]} at this size with d = 4 + classes + m, three times as many with"
            " d = 5 + classes + m, any n where a file names the classes or there are 80, or any n with d = 6 + m after"
            f" its own selection. Of another layout, {DETECTIONS_IN_FORWARD}",
        )
    (layout,) = found
    tables = [layout.table(outputs) for outputs in pictures]
    rows = np.concatenate(tables)
    problems = [*_score_problems(layout, rows), *_box_problems(rows)]
    corners = bool((rows[:, 2] >= rows[:, 0]).all() and (rows[:, 3] >= rows[:, 1]).all())
    if layout.numbered and not corners:
        problems.append("boxes: not x1 ≤ x2 and y1 ≤ y2, as after a selection")
    if not corners and (rows[:, 2:BOX] < 0).any():
        problems.append("boxes: neither two corners nor a centre with width and height; some have a negative width")
    if problems:
        raise CaptureError(
            f"{layout.rows!r} {shape_text(layout.shape)} has the shape of YOLO's detections, and other values.",
            code="not-composable",
            context=problems,
            hint="export the network with its own decoding of boxes and scores, as Ultralytics' exporter does.",
        )
    return replace(layout, corners=corners)


def _row_layouts(
    key: str, shape: tuple[int, ...], name: str, field: Field, size: tuple[int, int], classes: set[int]
) -> Iterator[Detections]:
    """Every way in which a list can hold detections. `classes`: how many there may be where nothing else tells."""
    anchors = counts_of_anchors(size)
    for features in (len(shape) - 2, len(shape) - 1):
        length = shape[features]
        count = math.prod(shape) // length
        known: dict[str, Any] = {"corners": False, "objectness": False, "numbered": False}
        scores = length - BOX - field.classes
        if count in anchors and scores > 0:
            pass
        elif count in [3 * each for each in anchors] and scores > 1:
            known["objectness"] = True
        elif length == SELECTED + field.classes:
            known |= {"numbered": True, "corners": True}
        elif scores in classes or scores - 1 in classes:
            known["objectness"] = scores not in classes
        else:
            continue
        yield Detections(key, name, tuple(shape), features, field, size, **known)


def _score_problems(layout: Detections, rows: np.ndarray) -> list[str]:
    problems = []
    last = BOX + 1 if layout.numbered else layout.first_score + layout.classes
    scores = rows[:, BOX:last]
    if not (scores >= -SLACK).all() or not (scores <= 1 + SLACK).all():
        problems.append(f"scores: {scores.min():.4g}..{scores.max():.4g}, not 0..1 as after a sigmoid")
    numbers = rows[:, BOX + 1] if layout.numbered else np.zeros(1)
    if (np.abs(numbers - np.rint(numbers)) > SLACK).any() or numbers.min() < 0:
        problems.append(f"classes: {numbers.min():.4g}..{numbers.max():.4g}, not whole numbers")
    return problems


def _box_problems(rows: np.ndarray) -> list[str]:
    largest = np.abs(rows[:, :BOX]).max()
    if not np.isfinite(rows).all():
        return ["NaN or infinity on a photograph"]
    if 0 < largest < SMALLEST_BOX_IN_PIXELS:
        return [f"boxes: no coordinate is above {at_most(largest)}, so they are shares of the picture or not decoded"]
    return []


def queries_of(pictures: Sequence[Arrays], size: tuple[int, int], named: int = 0) -> Queries:
    """The layout of MaskFormer's outputs. Arguments and errors as of `detections_of`."""
    first = pictures[0]
    found = [
        Queries(key, name, tuple(scores.shape), field)
        for name, masks in first.items()
        if (field := field_of(masks.shape, size)) is not None and field.classes >= FEWEST_QUERIES
        for key, scores in first.items()
        if key != name and as_list(scores.shape)
        if as_list(scores.shape)[1] == field.classes and as_list(scores.shape)[2] > 1
    ]
    if len(found) > 1:  # DETR returns a box for each query, too
        found = [layout for layout in found if layout.shape[-1] != BOX]
    if len(found) != 1:
        raise _not_that_layout(
            first,
            "MaskFormer's outputs are the classes (1, queries, classes + 1) and the masks (1, queries, h, w). Of"
            f" another layout, {QUERIES_IN_FORWARD}",
        )
    (layout,) = found
    problems = []
    scores, without = layout.shape[-1], {named} if named else KNOWN_SETS.keys() - {1}
    if scores in without and layout.classes not in without:
        problems.append(f"{layout.scores}: {scores} scores are as many as there are classes, without one for none")
    for name in layout.reads:
        values = np.concatenate([outputs[name].reshape(-1) for outputs in pictures])
        if not np.isfinite(values).all():
            problems.append(f"{name}: NaN or infinity on a photograph")
        elif values.min() >= -SLACK and values.max() <= 1 + SLACK:
            problems.append(f"{name}: {values.min():.4g}..{values.max():.4g}, which are probabilities, not logits")
    if problems:
        raise CaptureError(
            f"{layout.scores!r} and {layout.masks!r} have the shapes of MaskFormer's outputs, and other values.",
            code="not-composable",
            context=problems,
            hint="export the network without the softmax over classes and the sigmoid of masks. Where a class has a"
            f" sigmoid of its own, {QUERIES_IN_FORWARD.replace('softmax(-1)', 'sigmoid()')}",
        )
    return layout


def _not_that_layout(outputs: Arrays, wanted: str) -> CaptureError:
    return CaptureError(
        "The network's outputs do not have a layout from which a mask can be composed.",
        code="not-composable",
        context=[f"{key}: {value.dtype} {shape_text(value.shape)}" for key, value in outputs.items()],
        hint=wanted,
    )


def person_of(
    layout: Composition, asked: tuple[int, ...] | None, labels: Mapping[int, str]
) -> tuple[tuple[int, ...], str]:
    """The person's classes, and how they were found.

    Raises:
        UsageError: they are not known, or those that the user names do not exist.
    """
    total = 0 if isinstance(layout, Detections) and layout.numbered else layout.classes
    if asked is not None:
        if total and max(asked) >= total:
            raise UsageError(
                f"`person_class=` is {', '.join(map(str, asked))}; the network has {total} classes, counted from 0."
            )
        return asked, "as specified"
    if labels and total in (0, len(labels)):
        from ...models.person import person_classes  # imports torch

        named = person_classes(labels)
        if named:
            return named, "by the names in the file: " + ", ".join(f"{k} ({labels[k]})" for k in named[:4])
    if total not in KNOWN_SETS:
        many = f"{total} classes" if total else "numbered classes"
        raise UsageError(
            f"The network has {many}; which of them are the person?",
            code="which-class",
            hint="name them, counted from 0: `person_class=0`.",
        )
    return KNOWN_SETS[total]
