"""Recognise the outputs of instance segmentation.

Their maps are no mask until other outputs say what they are of.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ...errors import CaptureError
from .field import Field, field_of

FEWEST_PROTOTYPES, PROTOTYPES = 8, 32  # YOLACT, YOLOv5-seg and later have 32; networks with others are rare
BOX = 4  # numbers of a box, which come before the scores of a detection
SELECTED = BOX + 2  # a box, a score and the number of its class: a row of a network that selects detections itself
FEWEST_QUERIES = 8  # DETR, MaskFormer, Mask2Former and OneFormer have 50 to 300
STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32))  # of YOLO's heads; the first is everybody's
PROTOTYPE_STRIDE = 4
PYRAMID = 2  # scales of a head's maps that make it one

DETECTIONS_IN_FORWARD = (
    "compose them in the module's forward(), and give that with `torch=` or `onnx=`: masks = (coefficients @"
    " prototypes.flatten(1)).sigmoid() of the detections (coefficients: n, m; prototypes: m, h, w), then person ="
    " (masks * scores[:, None]).amax(0).view(1, 1, h, w), each mask cut to its box and scores being the person's."
)
QUERIES_IN_FORWARD = (
    "compose them in the module's forward(), and give that with `torch=` or `onnx=`: person ="
    " (classes.softmax(-1)[0, :, k] @ masks.sigmoid()[0].flatten(1)).clamp(max=1).view(1, 1, h, w), k being the"
    " person's class."
)
_COMPOSED = "`compose={}` makes one mask of the person from them, which the package then returns."


@dataclass(frozen=True)
class Instances:
    """Outputs of instance segmentation.

    Attributes:
        text: which outputs they are, in a sentence.
        hint: what can be done.
    """

    text: str
    hint: str


def refuse_instances(outputs: Mapping[str, np.ndarray], name: str, field: Field) -> None:
    """Raise CaptureError where an output is one part of an instance segmentation."""
    found = instances_of(outputs, name, field)
    if found is not None:
        raise CaptureError(
            found.text,
            code="instances",
            context=[f"{key}: {value.dtype} {shape_text(value.shape)}" for key, value in outputs.items()],
            hint=found.hint,
        )


def instances_of(outputs: Mapping[str, np.ndarray], name: str, field: Field) -> Instances | None:
    """What an output is a part of; None where it can stand alone."""
    lists = {key: as_list(value.shape) for key, value in outputs.items() if key != name}
    others = {key: list_shape for key, list_shape in lists.items() if list_shape}
    return (
        _with_boxes_or_queries(outputs, name, field, others)
        or _with_labels(outputs, name, field)
        or _with_detections(outputs, name, field, others)
        or _undecoded(outputs, name, field)
    )


def _with_boxes_or_queries(
    outputs: Mapping[str, np.ndarray], name: str, field: Field, others: Mapping[str, tuple[int, ...]]
) -> Instances | None:
    classes, shape = field.classes, shape_text(field.shape)
    counts = {max(sides): key for key, (_, *sides) in others.items() if BOX in sides}  # of boxes
    for key, (_, first, last) in others.items():
        count = first if last == classes else last if first == classes else 0
        if classes >= FEWEST_PROTOTYPES and count in counts:
            return Instances(
                f"{key!r} {shape_text(outputs[key].shape)} with {name!r} {shape} is instance segmentation as"
                f" YOLACT's: {classes} coefficients of each box in {counts[count]!r}, and {classes} prototypes, none"
                " of which is a mask by itself.",
                DETECTIONS_IN_FORWARD,
            )
        if classes >= FEWEST_QUERIES and first == classes:
            return Instances(
                f"{key!r} {shape_text(outputs[key].shape)} with {name!r} {shape} is segmentation by queries, as"
                f" MaskFormer's: {classes} masks, and the scores of each one's class; no channel is the person by"
                " itself.",
                _COMPOSED.format("maskformer"),
            )
    return None


def _with_labels(outputs: Mapping[str, np.ndarray], name: str, field: Field) -> Instances | None:
    """A mask of each instance, and as many whole numbers."""
    labels = [
        key
        for key, value in outputs.items()
        if key != name and value.dtype.kind in "iu" and value.size == field.classes == value.shape[-1]
    ]
    if field.classes < FEWEST_QUERIES or not labels:
        return None
    return Instances(
        f"{labels[0]!r} {shape_text(outputs[labels[0]].shape)} with {name!r} {shape_text(field.shape)} is instance"
        f" segmentation: {field.classes} masks and each one's class; no channel is the person by itself.",
        "combine them in the module's forward(), and give that with `torch=` or `onnx=`: person = (masks *"
        " (scores * (labels == 0))[:, None, None]).amax(0), 0 being the person's class.",
    )


def _with_detections(
    outputs: Mapping[str, np.ndarray], name: str, field: Field, others: Mapping[str, tuple[int, ...]]
) -> Instances | None:
    for key, (_, first, second) in others.items():
        if _are_detections(first, second, field) or _are_detections(second, first, field):
            return Instances(
                f"{key!r} {shape_text(outputs[key].shape)} with {name!r} {shape_text(field.shape)} is instance"
                f" segmentation as YOLO's: boxes, scores and {field.classes} coefficients of each detection, and"
                f" {field.classes} prototypes, none of which is a mask by itself.",
                _COMPOSED.format("yolo-seg"),
            )
    return None


def _are_detections(count: int, length: int, prototypes: Field) -> bool:
    """Whether vectors of a length have room for a box, a score and a coefficient of each prototype.

    Features of a transformer's tokens have that too. So there are 32 prototypes, as everybody has them, or as many
    vectors as YOLO has anchors, or exactly the numbers of a selected detection.
    """
    classes = prototypes.classes
    height, width = (PROTOTYPE_STRIDE * side for side in prototypes.pixels)
    anchors = counts_of_anchors((height, width))
    return (
        length > classes + BOX
        and classes >= FEWEST_PROTOTYPES
        and (
            classes == PROTOTYPES
            or count in (*anchors, *(3 * each for each in anchors))
            or length == classes + SELECTED
        )
    )


def _undecoded(outputs: Mapping[str, np.ndarray], name: str, field: Field) -> Instances | None:
    """Maps of boxes, scores and coefficients at several scales, as exporters for other chips leave them."""
    height, width = field.pixels
    by_rows: dict[int, list[int]] = defaultdict(list)
    names: dict[int, str] = {}
    for key, value in outputs.items():
        shape = value.shape
        if len(shape) == 5 and shape[0] == 1:  # (1, anchors, h, w, d)
            shape = (1, shape[1] * shape[4], shape[2], shape[3])
        found = field_of(shape, (height, width)) if len(shape) in (3, 4) else None
        if found is not None:
            by_rows[found.pixels[0]].append(found.classes)
            names.setdefault(found.pixels[0], key)
    finest = max(by_rows, default=0)
    prototypes = max(by_rows[finest], default=0)
    if len(by_rows) <= PYRAMID or prototypes < FEWEST_PROTOTYPES or len(by_rows[finest]) > 1:
        return None
    coarser = [rows for rows in sorted(by_rows)[:-1] if _is_head(by_rows[rows], prototypes)]
    if len(coarser) < PYRAMID:
        return None
    return Instances(
        f"{names[finest]!r} with {len(coarser)} coarser maps such as {names[coarser[0]]!r} is instance segmentation"
        f" before its boxes are decoded: {prototypes} prototypes, and {prototypes} coefficients of each detection; no"
        f" channel of {name!r} is the person by itself.",
        "export the network with its own decoding, as Ultralytics' exporter to ONNX does, and use `compose=yolo-seg`.",
    )


def _is_head(channels: list[int], prototypes: int) -> bool:
    """Whether the maps of one scale hold coefficients besides something else."""
    separate = prototypes in channels and any(count != prototypes for count in channels)
    return separate or (prototypes == PROTOTYPES and max(channels) > prototypes + BOX)


def counts_of_anchors(size: tuple[int, int]) -> tuple[int, ...]:
    """How many detections a YOLO without anchors' shapes has at a size, for each of STRIDES."""
    return tuple(sum(math.ceil(size[0] / step) * math.ceil(size[1] / step) for step in steps) for steps in STRIDES)


def as_list(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape (1, n, d) of a list of vectors, detections or queries, with or without a batch; else empty."""
    if len(shape) == 3 and shape[0] == 1:
        return shape
    return (1, *shape) if len(shape) == 2 and shape[0] > 1 else ()


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape as `(1, 32, 160, 160)`."""
    return "(" + ", ".join(map(str, shape)) + ")"
