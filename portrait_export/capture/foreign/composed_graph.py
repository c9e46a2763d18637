"""Append to an ONNX graph the operators that compose one mask of the person; see `compositions`."""

from __future__ import annotations

from functools import singledispatch

import numpy as np
import onnx

from .compositions import Detections, Queries
from .instances import BOX
from .surgeon import Surgeon


@singledispatch
def composed(layout: object, model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """The model with a further output, P(person) as (1, 1, h, w) float32. It is changed.

    Args:
        layout: where its parts are.
        model: opset 13 or newer.
        name: of the new output.
    """
    raise TypeError(type(layout).__name__)


@composed.register
def _(layout: Detections, model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    surgeon = _Composer(model)
    table = surgeon.shaped(layout.rows, layout.shape[-2:])
    if layout.turned:
        table = surgeon.emit("Transpose", [table], perm=[1, 0])
    scores = surgeon.scores(table, layout)
    if layout.kept < layout.count:
        scores, places = surgeon.best(scores, layout.count, layout.kept)
        table = surgeon.emit("Gather", [table, places], axis=0)
    masks = surgeon.weighed_prototypes(table, layout)
    inside_x, inside_y = surgeon.insides(table, layout)
    weight = surgeon.emit("Mul", [inside_x, surgeon.shaped(scores, (layout.kept, 1, 1))])
    masks = surgeon.emit("Mul", [surgeon.emit("Mul", [masks, weight]), inside_y])  # (n, h, w)
    surgeon.shaped(surgeon.maximum(masks, axis=0), (1, 1, *layout.field.pixels), output=name)
    return surgeon.with_output(name, layout.field.pixels)


@composed.register
def _(layout: Queries, model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    surgeon = _Composer(model)
    shares = surgeon.emit("Softmax", [surgeon.shaped(layout.scores, layout.shape[-2:])], axis=1)
    person = surgeon.chosen(shares, layout.person)
    if len(layout.person) > 1:
        person = surgeon.emit("ReduceSum", [person, surgeon.index(1, "class_axis")], keepdims=1)
    weights = surgeon.emit("Transpose", [person], perm=[1, 0])  # (1, queries)
    masks = surgeon.emit("Sigmoid", [surgeon.planes(layout.masks, layout)])
    total = surgeon.emit("Min", [surgeon.emit("MatMul", [weights, masks]), surgeon.number(1.0)])
    surgeon.shaped(total, (1, 1, *layout.field.pixels), output=name)
    return surgeon.with_output(name, layout.field.pixels)


class _Composer(Surgeon):
    """Writes the parts of a composition."""

    def number(self, value: float) -> str:
        """A stored number; returns its name."""
        return self.constant(np.array(value, np.float32), "number")

    def shaped(self, value: str, shape: tuple[int, ...], *, output: str = "") -> str:
        """A value as float32 of a shape."""
        value = self.emit("Cast", [value], to=onnx.TensorProto.FLOAT)
        return self.emit("Reshape", [value, self.constant(np.array(shape, np.int64), "shape")], output=output)

    def planes(self, value: str, layout: Detections | Queries) -> str:
        """A field of classes as (K, h · w)."""
        field = layout.field
        return self.shaped(self.channels(value, field), (field.classes, field.pixels[0] * field.pixels[1]))

    def columns(self, table: str, first: int, last: int) -> str:
        """The columns from `first` up to `last` of (n, d)."""
        return self.emit("Slice", [table, self.index(first, "begin"), self.index(last, "end"), self.index(1, "axis")])

    def chosen(self, table: str, columns: tuple[int, ...]) -> str:
        """Some columns of (n, d)."""
        found = [self.columns(table, column, column + 1) for column in columns]
        return found[0] if len(found) == 1 else self.emit("Concat", found, axis=1)

    def best(self, scores: str, count: int, kept: int) -> tuple[str, str]:
        """The largest of some scores, and their places."""
        values = self.emit("TopK", [self.shaped(scores, (count,)), self.index(kept, "kept")], axis=0)
        places = f"{values}_places"
        self._after[-1].output.append(places)
        return values, places

    def scores(self, table: str, layout: Detections) -> str:
        """(n, 1): how likely each detection is the person."""
        if layout.numbered:
            number = self.emit("Round", [self.columns(table, BOX + 1, BOX + 2)])
            hits = [self.emit("Equal", [number, self.number(float(k))]) for k in layout.person]
            hit = hits[0]
            for other in hits[1:]:
                hit = self.emit("Or", [hit, other])
            return self.emit(
                "Mul", [self.columns(table, BOX, BOX + 1), self.emit("Cast", [hit], to=onnx.TensorProto.FLOAT)]
            )
        score = self.chosen(table, tuple(layout.first_score + k for k in layout.person))
        if len(layout.person) > 1:
            score = self.maximum(score)
        return self.emit("Mul", [score, self.columns(table, BOX, BOX + 1)]) if layout.objectness else score

    def weighed_prototypes(self, table: str, layout: Detections) -> str:
        """σ(coefficients · prototypes) as (n, h, w)."""
        length = layout.shape[layout.features]
        coefficients = self.columns(table, length - layout.coefficients, length)
        product = self.emit("MatMul", [coefficients, self.planes(layout.prototypes, layout)])
        return self.emit("Sigmoid", [self.shaped(product, (layout.kept, *layout.field.pixels))])

    def insides(self, table: str, layout: Detections) -> tuple[str, str]:
        """How much of each column (n, 1, w) and row (n, h, 1) of pixels is inside each box."""
        height, width = layout.field.pixels
        across = self._inside(table, layout, axis=0, length=width)
        return across, self.emit("Transpose", [self._inside(table, layout, axis=1, length=height)], perm=[0, 2, 1])

    def _inside(self, table: str, layout: Detections, *, axis: int, length: int) -> str:
        scale = length / layout.picture[1 - axis]  # from pixels of the picture to those of the prototypes
        first, second = (
            self.emit("Mul", [self.columns(table, column, column + 1), self.number(scale)])
            for column in (axis, axis + 2)
        )
        if layout.corners:
            low, high = first, second
        else:
            half = self.emit("Mul", [second, self.number(0.5)])
            low, high = self.emit("Sub", [first, half]), self.emit("Add", [first, half])
        starts = np.arange(length, dtype=np.float32).reshape(1, length)
        begin = self.emit("Max", [low, self.constant(starts, "pixels")])
        end = self.emit("Min", [high, self.constant(starts + 1, "pixel_ends")])
        overlap = self.emit("Max", [self.emit("Sub", [end, begin]), self.number(0.0)])
        return self.shaped(overlap, (layout.kept, 1, length))

    def with_output(self, name: str, pixels: tuple[int, int]) -> onnx.ModelProto:
        """The model, which also returns a value of one channel."""
        model = self.finished()
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, 1, *pixels)))
        return model
