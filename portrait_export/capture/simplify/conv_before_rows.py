"""Move a 1x1 convolution that reduces channels before the concatenation of row tiles: fewer channels are copied.

Algebra. An activation and a 1x1 convolution treat every pixel alike, whichever rows it came with:
W·f(concat(x₁, …, xₖ)) + b = concat(W·f(x₁) + b, …, W·f(xₖ) + b) for a concatenation along H.

The tiles are those of conv_after_resize.py, where a classifier follows the decoder's last convolution.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..onnx.graph import Graph, Node
from .linear import is_pointwise
from .rule import Match, Rule, at_each

ACTIVATIONS = frozenset({"Relu", "LeakyRelu", "PRelu", "Sigmoid", "Tanh", "Gelu", "HardSwish", "HardSigmoid", "Elu"})
ROWS = 2  # axis


@dataclass(frozen=True)
class _Tail:
    """A concatenation along H and what follows it, up to and with the convolution."""

    concat: Node
    steps: tuple[Node, ...]


def _find(graph: Graph, node: Node) -> _Tail | None:
    if not is_pointwise(graph, node):
        return None
    steps = [node]
    maker = graph.maker(node.input(0))
    while maker is not None and _is_activation(graph, maker):
        steps.insert(0, maker)
        maker = graph.maker(maker.input(0))
    if maker is None or maker.op != "Concat" or maker.attrs["axis"] not in (ROWS, -2):
        return None
    return _Tail(maker, tuple(steps))


def _is_activation(graph: Graph, node: Node) -> bool:
    """Whether a node changes every number of an image by itself, all rows alike."""
    if node.op not in ACTIVATIONS or node.domain or len(graph.shape(node.output) or ()) != 4:
        return False
    slope = graph.constant(node.input(1)) if node.op == "PRelu" else None
    return node.op != "PRelu" or (slope is not None and (slope.ndim < 2 or slope.shape[-2] == 1))


def _check(graph: Graph, match: Match[_Tail]) -> str:
    tail = match.parts
    if any(graph.sole_use(step.input(0)) is None for step in tail.steps):
        return "a value on the way is also read elsewhere"
    before, after = ((graph.shape(name) or (0, 0))[1] for name in (tail.concat.output, match.anchor.output))
    if after >= before:
        return f"{before} channels become {after}: no fewer would be concatenated"
    return ""


def _rewrite(graph: Graph, match: Match[_Tail]) -> None:
    tail = match.parts
    conv = match.anchor
    values = []
    for index, value in enumerate(tail.concat.inputs):
        height = (graph.shape(value) or ())[ROWS]
        for step in tail.steps:
            whole = graph.shape(step.output) or ()
            shape = (*whole[:ROWS], height, *whole[ROWS + 1 :])
            inputs, name = [value, *step.inputs[1:]], f"{step.name}/rows{index}"
            value = graph.add_node(step.op, inputs, name=name, shape=shape, attrs=dict(step.attrs))
        values.append(value)
    shape = graph.shape(conv.output) or ()
    result = graph.add_node("Concat", values, name=f"{conv.name}/rows", shape=shape, attrs={"axis": ROWS})
    graph.remove(tail.steps)
    graph.replace_uses(conv.output, result)


RULE = Rule(name="conv-before-rows", pattern=at_each("Conv", _find), check=_check, rewrite=_rewrite)
