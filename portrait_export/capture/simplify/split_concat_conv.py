"""Split a 1x1 convolution of a concatenation into a sum of 1x1 convolutions of its parts, if those are cheaper.

Algebra. W·concat(x₁, …, xₖ) + b = Σᵢ Wᵢ·xᵢ + b, where Wᵢ are the columns of W for xᵢ's channels; b goes to the last
part's convolution. By itself that saves nothing. It pays where a part is an enlarged image (then its convolution moves
before the resize, see conv_before_resize.py) or comes from a convolution (then the two become one, see conv_chain.py):
SegFormer's decode head is both, for all of its four parts.
"""

from __future__ import annotations

import math

from ..onnx.cost import macs_of
from ..onnx.graph import Graph, Node
from .linear import group_of, is_pointwise, kernel_of, resize_ratio
from .rule import Match, Rule, at_each

LEAST_SAVING = 0.1  # of the multiply-accumulates: below that, more and smaller operators are not worth it


def _find(graph: Graph, node: Node) -> Node | None:
    concat = graph.maker(node.input(0))
    return concat if concat is not None and concat.op == "Concat" and is_pointwise(graph, node) else None


def _check(graph: Graph, match: Match[Node]) -> str:
    concat = match.parts
    if concat.attrs["axis"] not in (1, -3):
        return "the concatenation is not along the channels"
    if not graph.feeds_only(concat.output, match.anchor):
        return "the concatenated value is also read elsewhere"
    if any(graph.shape(name) is None for name in concat.inputs):
        return "the shape of a part is not known"
    before, after = macs_of(graph, match.anchor)[1], 0
    pixels = math.prod((graph.shape(match.anchor.output) or ())[2:])
    width = (graph.shape(match.anchor.output) or ())[1]
    for name in concat.inputs:
        old, new = _part_work(graph, name, width, pixels)
        before, after = before + old, after + new
    after += (len(concat.inputs) - 1) * pixels * width  # the sum
    if after > (1 - LEAST_SAVING) * before:
        return f"in parts it would take {after:,} MACs, it takes {before:,}"
    return ""


def _part_work(graph: Graph, value: str, width: int, pixels: int) -> tuple[int, int]:
    """MACs for a part, without the concatenation's convolution and with its share of it after all rules."""
    channels = (graph.shape(value) or ())[1]
    before = after = 0
    if graph.sole_use(value) is not None:
        resize = graph.maker(value)
        if resize is not None and resize_ratio(graph, resize) > 1:
            resizing = macs_of(graph, resize)[1]
            before, after = before + resizing, after + resizing * width // channels
            value = resize.input(0)
            pixels = math.prod((graph.shape(value) or ())[2:])
    conv = graph.maker(value)
    weight = kernel_of(graph, conv)
    if conv is not None and weight is not None and group_of(conv) == 1 and graph.sole_use(value) is not None:
        own = macs_of(graph, conv)[1]
        merged = pixels * width * math.prod(weight.shape[1:])
        return before + own, after + min(merged, own + pixels * width * channels)
    return before, after + pixels * width * channels


def _rewrite(graph: Graph, match: Match[Node]) -> None:
    conv, concat = match.anchor, match.parts
    weight = kernel_of(graph, conv)
    shape = graph.shape(conv.output) or ()
    assert weight is not None  # established by the check
    start, parts = 0, []
    for index, name in enumerate(concat.inputs):
        channels = (graph.shape(name) or ())[1]
        columns = weight[:, start : start + channels]
        start += channels
        inputs = [name, graph.add_constant(columns, name=f"{conv.input(1)}.{index}")]
        if index == len(concat.inputs) - 1 and conv.input(2):
            inputs.append(conv.input(2))
        attrs = {"kernel_shape": [1, 1]}
        parts.append(graph.add_node("Conv", inputs, name=f"{conv.name}/part{index}", shape=shape, attrs=attrs))
    total = parts[0]
    for index, part in enumerate(parts[1:]):
        total = graph.add_node("Add", [total, part], name=f"{conv.name}/sum{index}", shape=shape)
    graph.remove([conv])
    graph.replace_uses(conv.output, total)


RULE = Rule(name="split-concat-conv", pattern=at_each("Conv", _find), check=_check, rewrite=_rewrite)
