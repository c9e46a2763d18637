"""Find and count the parameters of an ONNX model.

They are floats, and integers that stand for floats.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

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


def float_tensors(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The constant tensors of floats by name, as `stored_tensors` finds them."""
    return {
        name: numpy_helper.to_array(tensor).astype(np.float32, copy=False)
        for name, tensor in stored_tensors(model.graph)
        if tensor.data_type in FLOATS
    }


GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}  # of a recurrent operator's weights (directions, gates · hidden, inputs)
LSTM_OF_MIL = (0, 2, 1, 3)  # ONNX has the gates i, o, f, c; MIL's layer has i, f, o, c


def recurrent_parts(model: onnx.ModelProto, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The gates of recurrent weights, one and several together: conversion stores them apart or in another order."""
    parts: dict[str, np.ndarray] = {}
    for node in (node for graph in all_graphs(model.graph) for node in graph.node if node.op_type in GATES):
        gates = GATES[node.op_type]
        for name in node.input[1:3]:
            if name in tensors and tensors[name].ndim == 3 and tensors[name].shape[1] % gates == 0:
                for direction, weight in enumerate(tensors[name]):
                    parts |= _gates_of(f"{name}[{direction}]", weight.reshape(gates, -1, weight.shape[-1]))
    return parts


def _gates_of(name: str, weight: np.ndarray) -> dict[str, np.ndarray]:
    """Every run of the gates of a (gates, hidden, inputs) weight, as matrices."""
    gates = len(weight)
    runs = [range(first, last) for first in range(gates) for last in range(first + 1, gates + 1)]
    parts = {f"{name} gates {run[0]} to {run[-1]}": weight[run[0] : run[-1] + 1] for run in runs}
    if gates == GATES["LSTM"]:
        parts[f"{name} gates {LSTM_OF_MIL}"] = weight[list(LSTM_OF_MIL)]
    return {title: part.reshape(-1, part.shape[-1]) for title, part in parts.items()}
