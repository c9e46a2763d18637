"""Recognise the outputs of instance segmentation.

Their maps are no mask until other outputs say what they are of.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...errors import CaptureError
from .field import Field

FEWEST_PROTOTYPES, PROTOTYPES = 8, 32  # YOLACT, YOLOv5-seg and later have 32; networks with others are rare
BOX = 4  # numbers of a box, which come before the scores of a detection
FEWEST_QUERIES = 8  # DETR, MaskFormer, Mask2Former and OneFormer have 50 to 300


def refuse_instances(outputs: Mapping[str, np.ndarray], name: str, field: Field) -> None:
    """Raise CaptureError where an output is one half of an instance segmentation."""
    found = instances_of(outputs, name, field)
    if found:
        raise CaptureError(
            found,
            code="instances",
            context=[f"{key}: {value.dtype} ({', '.join(map(str, value.shape))})" for key, value in outputs.items()],
            hint="export the network with one semantic mask: in PyTorch, combine the instances of persons in forward()"
            " (the largest of their masks, each weighed with its score), and give that with `torch=` or `onnx=`.",
        )


def instances_of(outputs: Mapping[str, np.ndarray], name: str, field: Field) -> str:
    """What an output belongs to, in a sentence; empty where it can stand alone."""
    lists = {key: _as_list(value.shape) for key, value in outputs.items() if key != name}
    others = {key: list_shape for key, list_shape in lists.items() if list_shape}
    classes, shape = field.classes, _text(field.shape)
    boxes = [key for key, (_, _, last) in others.items() if last == BOX]
    for key, (_, _, last) in others.items():
        if boxes and last == classes >= FEWEST_PROTOTYPES:
            return (
                f"{key!r} {_text(outputs[key].shape)} with {name!r} {shape} is instance segmentation as YOLACT's:"
                f" {classes} coefficients of each box in {boxes[0]!r}, and {classes} prototypes, none of which is a"
                " mask by itself."
            )
        if classes >= FEWEST_QUERIES and others[key][1] == classes:
            return (
                f"{key!r} {_text(outputs[key].shape)} with {name!r} {shape} is segmentation by queries, as"
                f" MaskFormer's: {classes} masks, and the scores of each one's class; no channel is the person by"
                " itself."
            )
    for key, (_, first, second) in others.items():
        if _are_detections(first, second, field) or _are_detections(second, first, field):
            return (
                f"{key!r} {_text(outputs[key].shape)} with {name!r} {shape} is instance segmentation as YOLO's: boxes,"
                f" scores and {classes} coefficients of each detection, and {classes} prototypes, none of which is a"
                " mask by itself."
            )
    return ""


def _as_list(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape (1, n, d) of a list of vectors, detections or queries, with or without a batch; else empty."""
    if len(shape) == 3 and shape[0] == 1:
        return shape
    return (1, *shape) if len(shape) == 2 and shape[0] > 1 else ()


def _are_detections(count: int, length: int, prototypes: Field) -> bool:
    """Whether vectors of a length have room for a box, a score and a coefficient of each prototype.

    Features of a transformer's tokens have that too. So there are 32 prototypes, as everybody has them, or as many
    vectors as YOLO has anchors: at strides 8, 16 and 32 of a picture whose prototypes are at stride 4.
    """
    classes, (height, width) = prototypes.classes, prototypes.pixels
    anchors = sum((height // step) * (width // step) for step in (2, 4, 8))
    return (
        length > classes + BOX
        and classes >= FEWEST_PROTOTYPES
        and (classes == PROTOTYPES or count in (anchors, 3 * anchors))
    )


def _text(shape: tuple[int, ...]) -> str:
    return "(" + ", ".join(map(str, shape)) + ")"
