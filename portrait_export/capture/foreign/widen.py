"""Convert a graph in half or double precision to float32, which every later stage expects.

The stored numbers stay what they are (half widens exactly, double is rounded); the arithmetic between them is
float32's. A package computes in the precision that --precision sets, whatever the file did.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx
from onnx import TensorProto

from ..onnx.subgraphs import all_graphs

OTHERS = (TensorProto.FLOAT16, TensorProto.DOUBLE)
_TYPE_ATTRIBUTES = ("to", "dtype")  # of Cast; of EyeLike, RandomNormal and their kin


def other_precisions(model: onnx.ModelProto) -> set[int]:
    """Which of half and double a graph computes in."""
    return {number for number, _ in _places(model.graph) if number in OTHERS}


def in_float32(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which every half and double is a float32; the model itself where it has none."""
    if not other_precisions(model):
        return model
    widened = onnx.ModelProto()
    widened.CopyFrom(model)
    for number, place in _places(widened.graph):
        if number not in OTHERS:
            continue
        if isinstance(place, onnx.TensorProto):
            array = onnx.numpy_helper.to_array(place)
            place.CopyFrom(onnx.numpy_helper.from_array(array.astype("float32"), place.name))
        elif isinstance(place, onnx.AttributeProto):
            place.i = TensorProto.FLOAT
        else:
            place.type.tensor_type.elem_type = TensorProto.FLOAT
    return widened


def _places(outermost: onnx.GraphProto) -> Iterator[tuple[int, Any]]:
    """Everything that names an element type: inputs and outputs, stored tensors, and casts, in inner graphs too."""
    for graph in all_graphs(outermost):
        for value in (*graph.input, *graph.output, *graph.value_info):
            yield value.type.tensor_type.elem_type, value
        for tensor in graph.initializer:
            yield tensor.data_type, tensor
        for attribute in (attribute for node in graph.node for attribute in node.attribute):
            if attribute.name in _TYPE_ATTRIBUTES and attribute.HasField("i"):
                yield attribute.i, attribute
            if attribute.HasField("t"):
                yield attribute.t.data_type, attribute.t
