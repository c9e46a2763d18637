"""Advise on how an ONNX model suits the Neural Engine.

It lists what would be slow there, or kept off it, once the model is a package.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import onnx
from onnx import TensorProto

from ...mil.lint import Advice, LintOp, Shape, advise

if TYPE_CHECKING:
    from .graph import Graph, Node

# The MIL operator that each ONNX operator of the rules becomes. Others keep their own name.
MIL_NAMES = {
    "Conv": "conv",
    "ConvTranspose": "conv_transpose",
    "Gather": "gather",
    "GatherElements": "gather_along_axis",
    "GatherND": "gather_nd",
    "LSTM": "lstm",
    "GRU": "gru",
    "RNN": "rnn",
    "Reshape": "reshape",
    "Flatten": "reshape",
    "Transpose": "transpose",
    "DepthToSpace": "transpose",
    "AveragePool": "avg_pool",
    "MaxPool": "max_pool",
    "LpPool": "l2_pool",
    "Resize": "resize",
    "Upsample": "resize",
    "MatMul": "matmul",
    "Gemm": "linear",
}
INTEGERS = (TensorProto.INT32, TensorProto.INT64)


def lint_model(model: onnx.ModelProto) -> list[Advice]:
    """Advice on a model: the operators as they stand, before any of our rewrites."""
    from .graph import Graph

    graph = Graph(model)
    open_shapes = [(name, "range") for name in graph.inputs if graph.shape(name) is None]
    return advise(_ops(graph), open_shapes)


def _ops(graph: Graph) -> Iterable[LintOp]:
    for node in graph.nodes:
        weight = node.input(1)
        yield LintOp(
            type="custom" if node.domain not in ("", "ai.onnx") else MIL_NAMES.get(node.op, node.op),
            name=node.name,
            inputs=tuple(_shape(graph, name) for name in node.inputs if name and not graph.is_constant(name)),
            outputs=tuple(_shape(graph, name) for name in node.outputs if name),
            dtype="int64" if node.outputs and graph.dtype(node.output) in INTEGERS else "",
            dilations=_numbers(node, "dilations"),
            kernel=_numbers(node, "kernel_shape"),
            constant_weight=not node.op.startswith("Conv") or graph.is_constant(weight) or _decoded(graph, weight),
        )


def _shape(graph: Graph, name: str) -> Shape:
    return graph.shape(name) or ()


def _numbers(node: Node, name: str) -> tuple[int, ...]:
    return tuple(int(value) for value in node.attrs.get(name, ()))


def _decoded(graph: Graph, weight: str) -> bool:
    """Whether a weight is stored quantized and decoded in the graph."""
    maker = graph.maker(weight)
    return maker is not None and maker.op == "DequantizeLinear" and graph.is_constant(maker.input(0))
