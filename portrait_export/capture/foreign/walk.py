"""Walk from an output of a graph back to its activation.

The way leads through what moves, resizes, picks or scales its values.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from ..onnx.graph import Graph, Node
from .bounds import ANY, Bounds

_MOVES = ("Identity", "Dropout", "Cast", "Squeeze", "Unsqueeze", "Reshape", "Transpose", "Flatten")
_ACTIVATIONS = {
    "Sigmoid": "sigmoid",
    "Softmax": "softmax",
    "LogSoftmax": "logsoftmax",
    "ArgMax": "argmax",
    "Tanh": "tanh",
}
_RESIZES = ("Resize", "Upsample")
_SCALES = ("Add", "Sub", "Mul", "Div", "Neg")
_ROUNDS = ("Floor", "Round", "Ceil")
_CUTS = ("Clip", "Relu", "Min", "Max")
_WHOLE = (TensorProto.UINT8, TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64)
# What the activation behind an output's last operators is looked for through: everything but what weighs with weights.
WEIGHING = ("Conv", "ConvTranspose", "MatMul", "Gemm", "Einsum", "BatchNormalization", "LSTM", "GRU")
_BOUNDED = ("Sigmoid", "Softmax", "HardSigmoid", "Tanh")
_LONGEST_TAIL = 64  # operators


@dataclass
class Walk:
    """The operators between an output and what it was computed from.

    output = gain · activation(source) + offset, moved, resized or rounded.

    Attributes:
        kind: the activation found, empty where there is none. value: its result.
        source: what the activation was computed from.
        axis: of its classes; None where the activation does not determine it.
        node: the last operator that computes something.
        resized: whether a resize follows the activation, so that it cannot be undone exactly.
        picked, picked_axis: classes that were picked after the activation, and along which of its axes.
        unsure: why the activation's input cannot replace the output, empty where it can.
        gain, offset: what happens to the activation's values.
        smooth: the value that the output is, rounded to whole numbers; empty where it is not rounded, or scaled since.
        step: between neighbouring values of an output that is rounded; else 0.
    """

    kind: str = ""
    value: str = ""
    source: str | None = None
    axis: int | None = None
    node: Node | None = None
    resized: bool = False
    picked: tuple[int, ...] | None = None
    picked_axis: int | None = None
    unsure: str = ""
    gain: float = 1.0
    offset: float = 0.0
    smooth: str = ""
    step: float = 0.0

    @property
    def operator(self) -> str:
        """The last operator that computes something, for messages."""
        return self.node.op if self.node is not None else "nothing"

    @property
    def scaled(self) -> bool:
        """Whether arithmetic follows the activation."""
        return (self.gain, self.offset) != (1.0, 0.0)


def walk_back(graph: Graph, output: str, bounds: Mapping[str, Bounds]) -> Walk:
    """From an output towards the input, up to the activation or the first operator that computes something else."""
    walk, value, moved = Walk(), output, False
    while (node := graph.maker(value)) is not None:
        if node.op in _ACTIVATIONS:
            walk.kind, walk.value, walk.source = _ACTIVATIONS[node.op], node.output, node.input(0)
            walk.axis = _activation_axis(graph, node)
            walk.node = walk.node or node
            break
        if node.op == "Cast" and node.attrs.get("to") in _WHOLE and graph.is_float(node.input(0)):
            _note_rounding(walk, node)
        if node.op in _MOVES:
            moved = True
        elif node.op in _RESIZES:
            walk.resized = True
            walk.node = walk.node or node
        elif node.op in ("Gather", "Slice", "Split"):
            chosen = _picked(graph, node, value)
            if chosen is None or walk.picked is not None:
                break
            (walk.picked_axis, walk.picked), moved = chosen, False
        elif node.op in _ROUNDS:
            _note_rounding(walk, node)
            walk.node = walk.node or node
        elif (before := _scaled(graph, node, walk) or _uncut(graph, node, bounds)) is not None:
            walk.node = walk.node or node
            value = before
            continue
        else:
            walk.node = walk.node or node
            break
        value = node.input(0)
    if walk.picked is not None and (moved or not walk.kind):
        walk.unsure = "classes are picked, then moved"
    elif walk.picked is not None and walk.axis not in (None, walk.picked_axis):  # rows or columns, not classes
        walk.unsure, walk.picked = "pixels are cut off", None
    return walk


def _note_rounding(walk: Walk, node: Node) -> None:
    walk.step = max(walk.step, abs(walk.gain))
    walk.smooth = "" if walk.scaled else node.input(0)


def activations_near(graph: Graph, output: str, *, through: Collection[str] = ()) -> list[str]:
    """The bounded activations that reach an output through arithmetic alone, without weights in between.

    Args:
        through: only through these operators and what moves values; empty: any but those that weigh.
    """
    found: dict[str, None] = {}
    stack, seen = [output], set[str]()
    while stack and len(seen) < _LONGEST_TAIL:
        node = graph.maker(stack.pop())
        if node is None or node.name in seen or node.op in WEIGHING:
            continue
        if through and node.op not in (*through, *_MOVES, *_RESIZES, *_BOUNDED):
            continue
        seen.add(node.name)
        if node.op in _BOUNDED:
            found[node.op] = None
        else:
            stack += [name for name in node.inputs if name]
    return list(found)


def _scaled(graph: Graph, node: Node, walk: Walk) -> str | None:
    """Take arithmetic with one number into the walk; returns the value it is applied to."""
    if node.op == "Neg":
        walk.gain = -walk.gain
        return node.input(0)
    if node.op not in _SCALES:
        return None
    numbers = [_number(graph, name) for name in node.inputs[:2]]
    if (numbers[0] is None) == (numbers[1] is None):
        return None
    first = numbers[1] is None  # the constant is the first operand
    number = numbers[0] if first else numbers[1]
    assert number is not None
    if node.op == "Div" and (first or number == 0):
        return None
    gain, offset = {
        "Mul": (number, 0.0),
        "Div": (1 / number if number else 0.0, 0.0),
        "Add": (1.0, number),
        "Sub": (-1.0, number) if first else (1.0, -number),
    }[node.op]
    walk.gain, walk.offset = walk.gain * gain, walk.gain * offset + walk.offset
    return node.input(1 if first else 0)


def _number(graph: Graph, value: str) -> float | None:
    """The number that a stored value holds everywhere; None where it holds several, or is computed."""
    array = graph.constant(value)
    if array is None or array.size == 0 or array.dtype.kind not in "fiu":
        return None
    first = float(array.reshape(-1)[0])
    return first if (array == array.reshape(-1)[0]).all() else None


def _uncut(graph: Graph, node: Node, bounds: Mapping[str, Bounds]) -> str | None:
    """The value that a clip reads, where its bounds cut nothing off."""
    if node.op not in _CUTS:
        return None
    read = [name for name in node.inputs if name and not graph.is_constant(name)]
    if len(read) != 1 or (node.op in ("Clip", "Relu") and read[0] != node.input(0)):
        return None
    before = bounds.get(read[0], ANY)
    return read[0] if before.finite and bounds.get(node.output, ANY) == before else None


def _activation_axis(graph: Graph, node: Node) -> int | None:
    if node.op in ("Sigmoid", "Tanh"):
        return None
    default = {"ArgMax": 0}.get(node.op, -1 if graph.opset >= 13 else 1)
    rank = len(graph.shape(node.input(0)) or ())
    axis = int(node.attrs.get("axis", default))
    return axis % rank if rank else None


def _picked(graph: Graph, node: Node, value: str) -> tuple[int, tuple[int, ...]] | None:
    """The axis and the indices along it that a node picks; None where that is not constant or not along one axis."""
    shape = graph.shape(node.input(0))
    if shape is None:
        return None
    found = [graph.constant(name) for name in node.inputs[1:]]
    constants = [array for array in found if array is not None]
    if len(constants) < len(found):
        return None
    if node.op == "Gather":
        axis = int(node.attrs.get("axis", 0)) % len(shape)
        return axis, tuple(int(k) % shape[axis] for k in np.ravel(constants[0]))
    if node.op == "Slice" and len(constants) >= 3:
        starts, ends, axes = (np.ravel(c).tolist() for c in constants[:3])
        steps = np.ravel(constants[3]).tolist() if len(constants) > 3 else [1] * len(starts)
        if len(axes) == 1:
            axis = axes[0] % len(shape)
            return axis, tuple(range(shape[axis]))[slice(starts[0], ends[0], steps[0])]
    if node.op == "Split":
        axis = int(node.attrs.get("axis", 0)) % len(shape)
        sizes = [(graph.shape(name) or (0,) * len(shape))[axis] for name in node.outputs]
        begin = sum(sizes[: node.outputs.index(value)])
        return axis, tuple(range(begin, begin + sizes[node.outputs.index(value)]))
    return None
