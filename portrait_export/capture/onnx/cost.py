"""Estimate what an ONNX model costs to run.

Shapes must be static. Counted are parameters, MACs per family, bytes and layout operators.
The same `Cost` as of a package (`mil.cost`), counted from the ONNX operators.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from ...mil.cost import BICUBIC_TAPS, BILINEAR_TAPS, Cost, OperatorMemory, einsum_macs, peak_bytes
from .parameters import INTEGER_WEIGHTS

if TYPE_CHECKING:
    from .graph import Graph, Node
    from .stored import StoredModel

LAYOUT_OPS = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "DepthToSpace", "SpaceToDepth"})


def cost_of(model: onnx.ModelProto | StoredModel) -> Cost:
    """The cost of a model; nodes whose shapes are unknown count as free."""
    from .graph import Graph

    return cost_of_graph(Graph(model))


def cost_of_graph(graph: Graph) -> Cost:
    """The cost of an editable graph, see `cost_of`."""
    constants = {name for node in graph.nodes for name in node.inputs if graph.is_constant(name)}
    stored = [_stored(graph, name) for name in constants]
    macs: Counter[str] = Counter()
    for node in graph.nodes:
        family, count = macs_of(graph, node)
        macs[family] += count
    operators = Counter(node.op for node in graph.nodes)
    return Cost(
        parameters=sum(size for size, kind in stored if np.issubdtype(kind, np.floating)) + _integer_parameters(graph),
        weight_bytes=sum(size * kind.itemsize for size, kind in stored),
        macs={family: count for family, count in sorted(macs.items()) if count},
        peak_activation_bytes=_peak_bytes(graph),
        operators=dict(sorted(operators.items())),
        layout_ops=sum(count for op, count in operators.items() if op in LAYOUT_OPS),
        absorbed_layout_ops=sum(is_absorbed(graph, node) for node in graph.nodes),
    )


def _integer_parameters(graph: Graph) -> int:
    """How many stored integers stand for weights."""
    names = {node.input(index) for node in graph.nodes for index in INTEGER_WEIGHTS.get(node.op, ())}
    stored = [_stored(graph, name) for name in names if graph.is_constant(name)]
    return sum(size for size, kind in stored if kind.kind in "iu")


def _stored(graph: Graph, name: str) -> tuple[int, np.dtype[Any]]:
    """How many elements a constant has, and of which type."""
    kind = onnx.helper.tensor_dtype_to_np_dtype(graph.dtype(name))
    return math.prod(graph.shape(name) or ()), kind


def cost_before(model: Cost, folded: Cost) -> Cost:
    """The cost of a model whose shapes are only all known once its shape arithmetic is folded.

    Args:
        model: of the model as it came, where operators with unknown shapes count as free.
        folded: of the same model, folded.
    """
    if model.total_macs >= folded.total_macs:
        return model
    peak = max(model.peak_activation_bytes, folded.peak_activation_bytes)
    return replace(model, macs=folded.macs, peak_activation_bytes=peak)


def layout_cost(graph: Graph) -> int:
    """How many layout operators a package of this graph needs."""
    return sum(node.op in LAYOUT_OPS and not is_absorbed(graph, node) for node in graph.nodes)


def is_absorbed(graph: Graph, node: Node) -> bool:
    """Whether a transpose is a parameter of its neighbour in MIL.

    `matmul` has transpose_x and transpose_y for its operands' last two axes; `layer_norm` takes the axes that it
    normalises, so that a transpose of channels last before it and back after it need not be done.
    """
    if node.op != "Transpose":
        return False
    perm = list(node.attrs.get("perm", []))
    uses = graph.uses(node.output)
    swaps_last_two = len(perm) >= 2 and perm == [*range(len(perm) - 2), len(perm) - 1, len(perm) - 2]
    if swaps_last_two and uses and all(_is_product(graph, use) for use in uses) and node.output not in graph.outputs:
        return True
    if perm == [0, 2, 3, 1]:
        return bool(uses) and node.output not in graph.outputs and all(_is_channel_norm(graph, use) for use in uses)
    maker = graph.maker(node.input(0))
    return perm == [0, 3, 1, 2] and maker is not None and _is_channel_norm(graph, maker)


def _is_product(graph: Graph, node: Node) -> bool:
    """Whether a node multiplies two computed matrices; with a stored one it becomes MIL's `linear`, without flags."""
    return node.op == "MatMul" and not any(graph.is_constant(name) for name in node.inputs)


def _is_channel_norm(graph: Graph, node: Node) -> bool:
    """Whether a node is a layer norm over C whose input comes from, and whose output only goes to, channels first."""
    if node.op != "LayerNormalization" or node.attrs.get("axis", -1) not in (-1, 3):
        return False
    before, after = graph.maker(node.input(0)), graph.sole_use(node.output)
    return (
        before is not None
        and before.op == "Transpose"
        and list(before.attrs.get("perm", [])) == [0, 2, 3, 1]
        and after is not None
        and after.op == "Transpose"
        and list(after.attrs.get("perm", [])) == [0, 3, 1, 2]
    )


def macs_of(graph: Graph, node: Node) -> tuple[str, int]:
    """A node's family and multiply-accumulates; 0 where a shape is unknown."""
    family, count = _MACS.get(node.op, ("", _free))
    if family == "matmul" and any(graph.is_constant(name) for name in node.inputs[:2]):
        family = "linear"
    return family, count(graph, node)


def _free(graph: Graph, node: Node) -> int:
    return 0


def _conv(graph: Graph, node: Node) -> int:
    """Each output number needs one product per kernel tap and input channel of its group."""
    out, weight = graph.shape(node.output), graph.shape(node.input(1))
    return 0 if out is None or weight is None else math.prod(out) * math.prod(weight[1:])


def _conv_transpose(graph: Graph, node: Node) -> int:
    """Each input number is multiplied with every tap and output channel of its group."""
    data, weight = graph.shape(node.input(0)), graph.shape(node.input(1))
    return 0 if data is None or weight is None else math.prod(data) * math.prod(weight[1:])


def _matmul(graph: Graph, node: Node) -> int:
    out, left = graph.shape(node.output), graph.shape(node.input(0))
    return 0 if out is None or not left else math.prod(out) * left[-1]


def _gemm(graph: Graph, node: Node) -> int:
    out, left = graph.shape(node.output), graph.shape(node.input(0))
    if out is None or left is None:
        return 0
    return math.prod(out) * (left[0] if node.attrs.get("transA") else left[1])


def _resize(graph: Graph, node: Node) -> int:
    """Taps per output number of a resize or a grid sample: none for nearest."""
    out = graph.shape(node.output)
    mode = str(node.attrs.get("mode", "nearest" if node.op == "Resize" else "linear"))
    return 0 if out is None else math.prod(out) * _TAPS.get(mode, 0)


_TAPS = {"linear": BILINEAR_TAPS, "bilinear": BILINEAR_TAPS, "cubic": BICUBIC_TAPS, "bicubic": BICUBIC_TAPS}


def _einsum(graph: Graph, node: Node) -> int:
    return einsum_macs(str(node.attrs.get("equation", "")), [graph.shape(name) for name in node.inputs])


def _recurrent(graph: Graph, node: Node) -> int:
    """Every number of the input and the recurrent matrices once per step and sequence."""
    data, shapes = graph.shape(node.input(0)), [graph.shape(node.input(index)) for index in (1, 2)]
    if data is None or None in shapes:
        return 0
    return data[0] * data[1] * sum(math.prod(shape) for shape in shapes if shape)


def _mean(graph: Graph, node: Node) -> int:
    """A mean over all pixels of (N, C, H, W) is a global pool; others are parts of norms, which are not counted."""
    data = graph.shape(node.input(0))
    stored = graph.constant(node.input(1)) if len(node.inputs) > 1 else None
    axes = node.attrs.get("axes", ()) if stored is None else stored.ravel().tolist()
    if data is None or len(data) != 4 or sorted(axis % 4 for axis in axes) != [2, 3]:
        return 0
    return math.prod(data)


def _pool(graph: Graph, node: Node) -> int:
    out = graph.shape(node.output)
    return 0 if out is None else math.prod(out) * math.prod(node.attrs.get("kernel_shape", [1]))


def _global_pool(graph: Graph, node: Node) -> int:
    data = graph.shape(node.input(0))
    return 0 if data is None else math.prod(data)


_MACS: dict[str, tuple[str, Callable[[Graph, Node], int]]] = {
    "Conv": ("conv", _conv),
    "ConvTranspose": ("conv", _conv_transpose),
    "MatMul": ("matmul", _matmul),
    "Gemm": ("matmul", _gemm),
    "Einsum": ("matmul", _einsum),
    "GRU": ("linear", _recurrent),
    "LSTM": ("linear", _recurrent),
    "RNN": ("linear", _recurrent),
    "Resize": ("resize", _resize),
    "GridSample": ("resize", _resize),
    "ReduceMean": ("pool", _mean),
    "AveragePool": ("pool", _pool),
    "GlobalAveragePool": ("pool", _global_pool),
}


def _peak_bytes(graph: Graph) -> int:
    steps = [OperatorMemory(node.inputs, [name for name in node.outputs if name]) for node in graph.nodes]
    computed = {*graph.inputs, *(name for step in steps for name in step.makes)}
    return peak_bytes(steps, {name: _bytes(graph, name) for name in computed}, graph.inputs, graph.outputs)


def _bytes(graph: Graph, value: str) -> int:
    shape, kind = graph.shape(value), graph.dtype(value)
    if shape is None or not kind or kind == onnx.TensorProto.STRING:
        return 0
    return math.prod(shape) * onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize
