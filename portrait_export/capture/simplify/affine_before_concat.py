"""Move a scale and shift per channel before a concatenation, into the convolutions that make its parts.

Algebra. concat(x, y)·s + t = concat(x·s₁ + t₁, y·s₂ + t₂), where s and t are cut where the channels are.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..onnx.graph import Graph, Node
from .linear import Affine, affine_of, kernel_of, resize_ratio
from .rule import Match, Rule


def _pattern(graph: Graph) -> Iterator[Match[tuple[Affine, Node]]]:
    for node in graph.nodes:
        affine = affine_of(graph, node) if node.outputs and graph.maker(node.output) is node else None
        concat = graph.maker(affine.source) if affine is not None else None
        if affine is not None and concat is not None and concat.op == "Concat":
            yield Match(node, (affine, concat))


def _check(graph: Graph, match: Match[tuple[Affine, Node]]) -> str:
    _, concat = match.parts
    if concat.attrs["axis"] not in (1, -3):
        return "the concatenation is not along the channels"
    if not graph.feeds_only(concat.output, match.anchor):
        return "the concatenated value is also read as it is"
    if any(graph.shape(name) is None for name in concat.inputs):
        return "the shape of a part is not known"
    if not all(_absorbs(graph, name) for name in concat.inputs):
        return "not every part comes from a convolution that could take the scale and shift in"
    return ""


def _absorbs(graph: Graph, value: str) -> bool:
    """Whether a value, read once, comes from a convolution, perhaps through enlarging resizes."""
    maker = graph.maker(value)
    if maker is None or graph.sole_use(value) is None:
        return False
    if maker.op == "Resize" and resize_ratio(graph, maker) > 1:
        return _absorbs(graph, maker.input(0))
    return kernel_of(graph, maker) is not None


def _rewrite(graph: Graph, match: Match[tuple[Affine, Node]]) -> None:
    affine, concat = match.parts
    start, parts = 0, []
    for name in concat.inputs:
        shape = graph.shape(name) or ()
        cut = slice(start, start + shape[1])
        start += shape[1]
        value = name
        for op, numbers in (("Mul", affine.scale[cut]), ("Add", affine.shift[cut])):
            array = numbers.astype(np.float32).reshape(1, -1, 1, 1)
            constant = graph.add_constant(array, name=f"{match.anchor.name}.{op.lower()}")
            value = graph.add_node(op, [value, constant], name=f"{match.anchor.name}/{op}", shape=shape)
        parts.append(value)
    graph.set_inputs(concat, parts)
    graph.remove([match.anchor])
    graph.replace_uses(match.anchor.output, concat.output)


RULE = Rule(name="affine-before-concat", pattern=_pattern, check=_check, rewrite=_rewrite)
