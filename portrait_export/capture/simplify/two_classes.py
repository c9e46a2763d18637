"""Replace one class of a softmax over two by the sigmoid of a difference, and of a log-softmax by a softplus.

Algebra. softmax(z)₁ = e^z₁ / (e^z₀ + e^z₁) = 1 / (1 + e^(z₀ − z₁)) = σ(z₁ − z₀), and its logarithm is
−ln(1 + e^(z₀ − z₁)) = −softplus(z₀ − z₁). The difference is written as a 1x1 convolution with weights ±1, which other
rules merge into the classifier before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..onnx.graph import Graph, Node
from .rule import Match, Rule

SOFTMAXES = ("Softmax", "LogSoftmax")


@dataclass(frozen=True)
class _Pick:
    """One class taken out of a softmax.

    Attributes:
        softmax: the softmax, or its logarithm.
        index: which class.
        value: the picked value.
    """

    softmax: Node
    index: int
    value: str


def _pattern(graph: Graph) -> Iterator[Match[_Pick]]:
    for node in graph.nodes:
        softmax = graph.maker(node.input(0))
        if softmax is None or softmax.op not in SOFTMAXES or not node.outputs or graph.maker(node.output) is not node:
            continue
        picked = _picked_by_split(graph, node) if node.op == "Split" else _picked(graph, node)
        if picked is not None:
            index, value = picked
            yield Match(node, _Pick(softmax, index, value))


def _picked_by_split(graph: Graph, node: Node) -> tuple[int, str] | None:
    """The only part of a split into single classes that anything reads, and its index."""
    shape = graph.shape(node.input(0))
    read = [index for index, name in enumerate(node.outputs) if graph.uses(name) or name in graph.outputs]
    if shape is None or len(shape) != 4 or node.attrs.get("axis", 0) not in (1, -3) or len(read) != 1:
        return None
    single = (shape[0], 1, *shape[2:])
    return (read[0], node.outputs[read[0]]) if all(graph.shape(name) == single for name in node.outputs) else None


def _picked(graph: Graph, node: Node) -> tuple[int, str] | None:
    """The index along axis 1 that a Gather or Slice takes as its only one, and the value."""
    shape = graph.shape(node.input(0))
    if shape is None or len(shape) != 4:
        return None
    if node.op == "Gather" and node.attrs.get("axis", 0) in (1, -3):
        index = graph.constant(node.input(1))
        return None if index is None or index.size != 1 else (int(index.reshape(())) % shape[1], node.output)
    if node.op != "Slice" or graph.shape(node.output) != (shape[0], 1, *shape[2:]):
        return None
    starts, axes, steps = (graph.constant(node.input(index)) for index in (1, 3, 4))
    if starts is None or (steps is not None and (steps != 1).any()):
        return None
    along = [0, 1, 2, 3][: starts.size] if axes is None else [int(axis) % 4 for axis in axes]
    start = int(starts[along.index(1)]) if 1 in along else 0
    return min(max(start + shape[1] if start < 0 else start, 0), shape[1] - 1), node.output


def _check(graph: Graph, match: Match[_Pick]) -> str:
    softmax = match.parts.softmax
    shape = graph.shape(softmax.output) or ()
    if softmax.attrs.get("axis", -1) not in (1, -3):
        return "the softmax is not over the channels"
    if graph.opset < 13:
        return "before opset 13 a softmax is over all following axes together"
    if shape[1] != 2:
        return f"the softmax is over {shape[1]} classes"
    if not graph.is_float(softmax.output):
        return "it is not computed in float32"
    if not graph.feeds_only(softmax.output, match.anchor):
        return "the other class is read as well"
    return ""


def _rewrite(graph: Graph, match: Match[_Pick]) -> None:
    pick, node = match.parts, match.anchor
    softmax = pick.softmax
    is_log = softmax.op == "LogSoftmax"
    value = difference(graph, softmax.input(0), 1 - pick.index if is_log else pick.index, name=softmax.name)
    one = graph.shape(value) or ()
    for op in ("Softplus", "Neg") if is_log else ("Sigmoid",):
        value = graph.add_node(op, [value], name=f"{softmax.name}/{op}", shape=one)
    target = graph.shape(pick.value) or ()
    if target != one:  # Gather with a scalar index drops the axis
        sizes = graph.add_constant(np.asarray(target, np.int64), name=f"{node.name}.shape")
        value = graph.add_node("Reshape", [value, sizes], name=f"{node.name}/Reshape", shape=target)
    graph.remove([node])
    graph.replace_uses(pick.value, value)


def difference(graph: Graph, logits: str, index: int, *, name: str) -> str:
    """z_index − z_other of logits (N, 2, H, W) as a 1x1 convolution: (N, 1, H, W)."""
    batch, _, height, width = graph.shape(logits) or ()
    signs = np.full((1, 2, 1, 1), -1.0, np.float32)
    signs[0, index] = 1.0
    weight = graph.add_constant(signs, name=f"{name}.difference")
    attrs: dict[str, Any] = {"kernel_shape": [1, 1]}
    shape = (batch, 1, height, width)
    return graph.add_node("Conv", [logits, weight], name=f"{name}/Difference", shape=shape, attrs=attrs)


RULE = Rule(name="two-classes", pattern=_pattern, check=_check, rewrite=_rewrite)
