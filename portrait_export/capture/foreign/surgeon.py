"""Append operators to an ONNX model, and prepend them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from ...utils.names import unique_name
from .field import Field


def opset_of(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators that a model uses."""
    return max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


class Surgeon:
    """Appends operators to a model, and prepends them.

    Args:
        model: changed in place.
    """

    def __init__(self, model: onnx.ModelProto):
        self.model = model
        self.opset = opset_of(model)
        self._taken = {name for node in model.graph.node for name in (node.name, *node.input, *node.output)}
        self._taken |= {value.name for value in model.graph.initializer}
        self._before: list[onnx.NodeProto] = []
        self._after: list[onnx.NodeProto] = []

    def emit(self, op: str, inputs: Sequence[str], *, output: str = "", first: bool = False, **attributes: Any) -> str:
        """One operator; returns its output's name."""
        name = unique_name(f"/portrait/{output or op}", self._taken)
        value = output or unique_name(f"{name}_output_0", self._taken)
        node = onnx.helper.make_node(op, list(inputs), [value], name=name, **attributes)
        (self._before if first else self._after).append(node)
        return value

    def constant(self, array: np.ndarray, name: str) -> str:
        """A stored array; returns its name."""
        unique = unique_name(f"portrait.{name}", self._taken)
        self.model.graph.initializer.append(onnx.numpy_helper.from_array(array, unique))
        return unique

    def channels(self, value: str, field: Field) -> str:
        """Any field of classes as (1, K, h, w) float32."""
        value = self.emit("Cast", [value], to=onnx.TensorProto.FLOAT)
        if field.axis == 3:
            return self.emit("Transpose", [value], perm=[0, 3, 1, 2])
        if field.axis == 2 and len(field.shape) == 3:
            value = self.emit("Transpose", [value], perm=[2, 0, 1])
        if len(field.shape) == 4:
            return value
        shape = self.constant(np.array([1, field.classes, *field.pixels], np.int64), "shape")
        return self.emit("Reshape", [value, shape])

    def index(self, index: int, name: str) -> str:
        """A stored array of one index; returns its name."""
        return self.constant(np.array([index], np.int64), name)

    def maximum(self, value: str, *, axis: int = 1) -> str:
        """The largest along an axis, which stays; by default of the classes (1, K, h, w)."""
        if self.opset >= 18:
            return self.emit("ReduceMax", [value, self.index(axis, "class_axis")], keepdims=1)
        return self.emit("ReduceMax", [value], axes=[axis], keepdims=1)

    def finished(self) -> onnx.ModelProto:
        """The model with the new operators in their places."""
        nodes = [*self._before, *self.model.graph.node, *self._after]
        del self.model.graph.node[:]
        self.model.graph.node.extend(nodes)
        return self.model
