"""Count the parameters that an ONNX model stores: floating-point numbers, and integers that stand for them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import onnx
from onnx import TensorProto

from .subgraphs import all_graphs

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
BYTES = (TensorProto.INT8, TensorProto.UINT8)
# Operators that compute with integer weights → the inputs that are weights or biases.
INTEGER_WEIGHTS = {
    "DequantizeLinear": (0,),
    "QLinearConv": (3, 8),
    "QLinearMatMul": (0, 3),
    "QGemm": (0, 3, 6),
    "ConvInteger": (0, 1),
    "MatMulInteger": (0, 1),
    "DynamicQuantizeMatMul": (1,),
    "MatMulIntegerToFloat": (0, 1),
}


def stores_integer_weights(model: onnx.ModelProto) -> bool:
    """Whether any operator reads a stored 8-bit weight, as the exports of quantizers do."""
    names = {name for name, tensor in stored_tensors(model.graph) if tensor.data_type in BYTES}
    return any(
        node.input[index] in names
        for graph in all_graphs(model.graph)
        for node in graph.node
        for index in INTEGER_WEIGHTS.get(node.op_type, ())
        if index < len(node.input)
    )


def parameters_of(model: onnx.ModelProto) -> int:
    """How many parameters a model stores, in initializers and Constant nodes, inner graphs included."""
    integers = {
        node.input[index]
        for graph in all_graphs(model.graph)
        for node in graph.node
        for index in INTEGER_WEIGHTS.get(node.op_type, ())
        if index < len(node.input)
    }
    return sum(
        math.prod(tensor.dims)
        for name, tensor in stored_tensors(model.graph)
        if tensor.data_type in FLOATS or name in integers
    )


def stored_tensors(graph: onnx.GraphProto) -> Iterator[tuple[str, TensorProto]]:
    """Every constant tensor by name: initializers and the values of Constant nodes, in inner graphs too."""
    for inner in all_graphs(graph):
        yield from ((tensor.name, tensor) for tensor in inner.initializer)
        for node in inner.node:
            if node.op_type == "Constant":
                yield from ((node.output[0], one.t) for one in node.attribute if one.name == "value")
