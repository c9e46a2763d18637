"""A test case: one ONNX operator with its inputs and attributes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

DEFAULT_OPSET = 17
DEFAULT_IR = 8


@dataclass(frozen=True)
class Case:
    """One operator in one situation.

    Attributes:
        name: the behaviour, unique in its family.
        op_type: operator under test.
        feeds: computed inputs by name, in order.
        params: constant inputs by name.
        inputs: the node's input names in order; feeds then params by default. An empty name is an omitted input.
        outputs: how many outputs the node has.
        opset: version of the operator set.
        attrs: the node's attributes.
        then: operator applied to the first output, if a package cannot return that output's type.
        then_params, then_attrs: its constant inputs and attributes; QuantizeLinear passes on its own.
    """

    name: str
    op_type: str
    feeds: Mapping[str, np.ndarray]
    params: Mapping[str, np.ndarray] = field(default_factory=dict)
    inputs: tuple[str, ...] | None = None
    outputs: int = 1
    opset: int = DEFAULT_OPSET
    attrs: Mapping[str, Any] = field(default_factory=dict)
    then: str = ""
    then_params: Mapping[str, np.ndarray] | None = None
    then_attrs: Mapping[str, Any] | None = None

    def model(self) -> onnx.ModelProto:
        """The node as a model; its outputs are called y0, y1 …"""
        names = list(self.inputs if self.inputs is not None else [*self.feeds, *self.params])
        outputs = [f"y{index}" for index in range(self.outputs)]
        node = helper.make_node(self.op_type, names, outputs, name=f"the_{self.op_type}", **self.attrs)
        if not self.then:
            return model_of([node], self.feeds, self.params, outputs, opset=self.opset)
        same = self.op_type == "QuantizeLinear"
        more = self.params if same else self.then_params or {}
        attrs = self.attrs if same else self.then_attrs or {}
        last = helper.make_node(self.then, ["y0", *more], ["result"], name=f"the_{self.then}", **attrs)
        return model_of([node, last], self.feeds, {**self.params, **more}, ["result"], opset=self.opset)


def model_of(
    nodes: list[onnx.NodeProto],
    feeds: Mapping[str, np.ndarray],
    params: Mapping[str, np.ndarray],
    outputs: list[str],
    *,
    opset: int = DEFAULT_OPSET,
) -> onnx.ModelProto:
    """A checked model; shapes and types of its outputs are inferred."""
    graph = helper.make_graph(
        nodes,
        "case",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in feeds.items()
        ],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in params.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=DEFAULT_IR)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)


def values(*shape: int, seed: int = 0, low: float = -3.0, high: float = 3.0, dtype: Any = np.float32) -> np.ndarray:
    """Uniform numbers of a given shape; integers include both ends."""
    random = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "i":
        return random.integers(int(low), int(high) + 1, shape).astype(dtype)
    if np.dtype(dtype) == np.bool_:
        return random.random(shape) < 0.5
    return random.uniform(low, high, shape).astype(dtype)


def ints(*numbers: int) -> np.ndarray:
    """An int64 vector, as ONNX writes shapes and axes."""
    return np.asarray(numbers, np.int64)
