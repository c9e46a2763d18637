"""Move a 1x1 convolution before an enlarging resize, where there are fewer pixels.

Algebra. Every number of a resized image is an average Σ w·x with Σ w = 1, the same w for every channel. A 1x1
convolution mixes channels, a resize mixes pixels, so they commute: W·(Σ w·x) + b = Σ w·(W·x + b).
"""

from __future__ import annotations

import math

from ..onnx.cost import macs_of
from ..onnx.graph import Graph, Node
from .linear import is_pointwise, kernel_of, resized_channels, why_not_before
from .rule import Match, Rule, at_each


def _find(graph: Graph, node: Node) -> Node | None:
    resize = graph.maker(node.input(0))
    return resize if resize is not None and resize.op == "Resize" and is_pointwise(graph, node) else None


def _check(graph: Graph, match: Match[Node]) -> str:
    resize = match.parts
    reason = why_not_before(graph, resize)
    if reason:
        return reason
    if not graph.feeds_only(resize.output, match.anchor):
        return "the resized value is also read elsewhere"
    before = macs_of(graph, match.anchor)[1] + macs_of(graph, resize)[1]
    after = work_before_resize(graph, match.anchor, resize)
    if after >= before:
        return f"before the resize it would take {after:,} MACs, it takes {before:,}"
    return ""


def work_before_resize(graph: Graph, conv: Node, resize: Node) -> int:
    """MACs of both where the convolution comes first."""
    weight = kernel_of(graph, conv)
    small = graph.shape(resize.input(0)) or (0,)
    assert weight is not None  # callers have checked is_pointwise
    resizing = macs_of(graph, resize)[1] * weight.shape[0] // weight.shape[1]
    return math.prod(small) * weight.shape[0] + resizing


def _rewrite(graph: Graph, match: Match[Node]) -> None:
    conv, resize = match.anchor, match.parts
    source, old = resize.input(0), conv.output
    batch, channels = (graph.shape(old) or ())[:2]
    height, width = (graph.shape(source) or ())[2:]
    graph.set_input(conv, 0, source)
    small = graph.set_output(conv, shape=(batch, channels, height, width), like=source)
    graph.set_inputs(resize, [small, *resized_channels(graph, resize, channels)])
    graph.set_output(resize, shape=graph.shape(old) or (), like=old)
    graph.replace_uses(old, resize.output)


RULE = Rule(name="conv-before-resize", pattern=at_each("Conv", _find), check=_check, rewrite=_rewrite)
