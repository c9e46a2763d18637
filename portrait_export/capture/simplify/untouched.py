"""Keep from onnxsim the weights that it would return unchanged.

onnxsim keeps about eight copies of a model. It looks at a weight's numbers to fold what is computed from constants and
to merge batch norms; the weights of other products and convolutions come back as they were.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from ..onnx.light import copy_fields, is_large, with_weights_as_inputs
from ..onnx.subgraphs import all_graphs, subgraphs

# Operators that multiply their input by a weight → where the factors are.
_FACTORS = {"MatMul": (0, 1), "Gemm": (0, 1), "Conv": (0, 1), "ConvTranspose": (0, 1)}
_SHAPES = ("Shape", "Size")
_OWN_DOMAINS = ("", "ai.onnx")


def split(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, onnx.TensorProto]]:
    """A model whose untouched weights are inputs instead; and those weights by name. The model is not changed."""
    names = untouched(model)
    weights = {tensor.name: tensor for tensor in model.graph.initializer if tensor.name in names}
    return with_weights_as_inputs(model, weights), weights


def join(folded: onnx.ModelProto, weights: Mapping[str, onnx.TensorProto]) -> onnx.ModelProto:
    """The folded model, changed in place, with those weights that it still reads."""
    graph = folded.graph
    read = {name for node in graph.node for name in node.input}
    kept = [value for value in graph.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend(kept)
    for tensor in (tensor for name, tensor in weights.items() if name in read):
        copy_fields(tensor, graph.initializer.add(), without=("doc_string",))  # which onnxsim drops, too
    return folded


def untouched(model: onnx.ModelProto) -> set[str]:
    """The large weights that nothing but products with computed values reads, and no batch norm follows."""
    graph = model.graph
    computed = _computed(graph)
    normalised = {node.input[0] for node in graph.node if node.op_type == "BatchNormalization"}
    large = {tensor.name for tensor in graph.initializer if is_large(tensor) and _is_stored_as_bytes(tensor)}
    touched = {value.name for value in graph.output}
    for node in graph.node:
        factors = _FACTORS.get(node.op_type, ()) if node.domain in _OWN_DOMAINS else ()
        free = bool(factors) and node.output[0] not in normalised
        for index, name in enumerate(node.input):
            other = node.input[1 - index] if index in factors else ""
            if not (free and other in computed):
                touched.add(name)
        touched |= {name for inner in subgraphs(node) for each in all_graphs(inner) for name in _read(each)}
    return large - touched


def _is_stored_as_bytes(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor is stored as onnxsim would store it, here or in a file."""
    return tensor.HasField("raw_data") or tensor.data_location == onnx.TensorProto.EXTERNAL


def _computed(graph: onnx.GraphProto) -> set[str]:
    """The inputs, and the values that are computed from their numbers; shapes are constants."""
    stored = {tensor.name for tensor in graph.initializer}
    computed = {value.name for value in graph.input} - stored
    for node in graph.node:
        if node.op_type not in _SHAPES and computed.intersection(node.input):
            computed.update(node.output)
    return computed


def _read(graph: onnx.GraphProto) -> set[str]:
    return {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
