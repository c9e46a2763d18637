"""Replace layer normalisation written out with means by one LayerNormalization operator.

Algebra. With μ = mean(x) and d = x − μ over the normalised axes: y = d / √(mean(d²) + ε)·γ + β, which is ONNX's
definition of LayerNormalization (opset 17) over the last axes. Over the channels (axis 1) of an image it is the same
with the channels moved last and back, a pair of transposes that MIL's layer_norm needs not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..onnx.graph import Graph, Node
from .rule import Match, Rule, at_each


@dataclass(frozen=True)
class _Parts:
    """A normalisation as it was found.

    Attributes:
        x: what is normalised.
        axes: the axes of the first mean, and of the mean of squares.
        epsilon: what is added to the variance.
        scale, shift: stored γ and β, None where there is none.
        last: the node that makes the result.
    """

    x: str
    axes: tuple[tuple[int, ...], tuple[int, ...]]
    epsilon: float
    scale: np.ndarray | None
    shift: np.ndarray | None
    last: Node


def _mean(graph: Graph, value: str) -> tuple[str, tuple[int, ...]] | None:
    """The operand and the (non-negative, sorted) axes of a mean that keeps its axes."""
    node = graph.maker(value)
    if node is None or node.op != "ReduceMean" or not node.attrs.get("keepdims", 1):
        return None
    rank = len(graph.shape(node.input(0)) or ())
    axes: Any = node.attrs.get("axes")
    if node.input(1):
        axes = graph.constant(node.input(1))
    if axes is None or not rank:
        return None
    return node.input(0), tuple(sorted(int(axis) % rank for axis in axes))


def _centered(graph: Graph, value: str) -> tuple[str, tuple[int, ...]] | None:
    """x and the axes of x − mean(x)."""
    node = graph.maker(value)
    if node is None or node.op != "Sub":
        return None
    mean = _mean(graph, node.input(1))
    return mean if mean is not None and mean[0] == node.input(0) else None


def _squared(graph: Graph, value: str) -> str | None:
    """The operand of a square."""
    node = graph.maker(value)
    if node is None:
        return None
    if node.op == "Mul" and node.input(0) == node.input(1):
        return node.input(0)
    if node.op == "Pow" and graph.scalar(node.input(1)) == 2:
        return node.input(0)
    return None


def _find(graph: Graph, root: Node) -> _Parts | None:
    """From √(mean(d²) + ε) up to x and down to the last of /, ·γ, +β."""
    add = graph.maker(root.input(0))
    if add is None or add.op != "Add":
        return None
    left, right = add.inputs
    epsilon, mean = (graph.scalar(left), right) if graph.is_constant(left) else (graph.scalar(right), left)
    variance = _mean(graph, mean)
    square = graph.maker(mean)
    operand = _squared(graph, square.input(0)) if square is not None else None
    centered = _centered(graph, operand) if operand else None
    divide = graph.sole_use(root.output)
    if epsilon is None or variance is None or centered is None or divide is None or divide.op != "Div":
        return None
    again = _centered(graph, divide.input(0))
    if divide.input(1) != root.output or again is None or again != centered:
        return None
    x, axes = centered
    last, scale = _stored_operand(graph, divide, "Mul", x, axes)
    last, shift = _stored_operand(graph, last, "Add", x, axes)
    return _Parts(x, (axes, variance[1]), epsilon, scale, shift, last)


def _stored_operand(graph: Graph, node: Node, op: str, x: str, axes: tuple[int, ...]) -> tuple[Node, np.ndarray | None]:
    """The following · or + with a stored operand over the normalised axes, or the node itself and None."""
    following = graph.sole_use(node.output)
    if following is None or following.op != op or len(following.inputs) != 2:
        return node, None
    other = following.input(1) if following.input(0) == node.output else following.input(0)
    constant, shape = graph.constant(other), graph.shape(x) or ()
    if constant is None or constant.ndim > len(shape):
        return node, None

    padded: np.ndarray = constant.reshape((1,) * (len(shape) - constant.ndim) + constant.shape)
    wanted = tuple(size if axis in axes else 1 for axis, size in enumerate(shape))
    if any(has not in (1, size) for has, size in zip(tuple(padded.shape), wanted, strict=True)):
        return node, None
    full = np.broadcast_to(padded, wanted)
    return following, full.reshape([shape[axis] for axis in axes])


def _check(graph: Graph, match: Match[_Parts]) -> str:
    parts = match.parts
    shape = graph.shape(parts.x)
    if shape is None or not graph.is_float(parts.x):
        return "it is not computed in float32 on a known shape"
    if parts.axes[0] != parts.axes[1]:
        return f"its mean is over axes {list(parts.axes[0])}, its variance over {list(parts.axes[1])}"
    axes = parts.axes[0]
    if axes == (1,) and len(shape) == 4:
        return ""
    if axes != tuple(range(len(shape) - len(axes), len(shape))):
        return f"axes {list(axes)} of {len(shape)} are neither the last ones nor the channels of an image"
    return ""


def _rewrite(graph: Graph, match: Match[_Parts]) -> None:
    parts = match.parts
    shape, axes, name = graph.shape(parts.x) or (), parts.axes[0], f"{parts.last.name}/LayerNormalization"
    size = [shape[axis] for axis in axes]
    scale = np.ones(size, np.float32) if parts.scale is None else parts.scale
    stored = [graph.add_constant(scale.astype(np.float32), name=f"{name}.weight")]
    if parts.shift is not None:
        stored.append(graph.add_constant(parts.shift.astype(np.float32), name=f"{name}.bias"))
    over_channels = axes == (1,) and len(shape) == 4
    value, last = parts.x, shape
    if over_channels:
        last = (shape[0], shape[2], shape[3], shape[1])
        attrs: dict[str, Any] = {"perm": [0, 2, 3, 1]}
        value = graph.add_node("Transpose", [value], name=f"{name}/ToLast", shape=last, attrs=attrs)
    attrs = {"axis": -len(axes), "epsilon": parts.epsilon}
    value = graph.add_node("LayerNormalization", [value, *stored], name=name, shape=last, attrs=attrs)
    if over_channels:
        attrs = {"perm": [0, 3, 1, 2]}
        value = graph.add_node("Transpose", [value], name=f"{name}/ToFirst", shape=shape, attrs=attrs)
    graph.remove([parts.last])
    graph.replace_uses(parts.last.output, value)


RULE = Rule(name="layer-norm", pattern=at_each("Sqrt", _find), check=_check, rewrite=_rewrite, since=17)
