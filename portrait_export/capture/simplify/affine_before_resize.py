"""Move a scale and shift per channel before an enlarging resize, where there are fewer pixels.

Algebra. Every number of a resized image is an average Σ w·x with Σ w = 1 (nearest, linear and cubic alike), so
s·(Σ w·x) + t = Σ w·(s·x + t). Before the resize a convolution or another rule can take it in.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..onnx.graph import Graph, Node
from .linear import affine_of, why_not_before
from .rule import Match, Rule


def _pattern(graph: Graph) -> Iterator[Match[Node]]:
    for node in graph.nodes:
        affine = affine_of(graph, node) if node.outputs and graph.maker(node.output) is node else None
        resize = graph.maker(affine.source) if affine is not None else None
        if resize is not None and resize.op == "Resize":
            yield Match(node, resize)


def _check(graph: Graph, match: Match[Node]) -> str:
    resize = match.parts
    reason = why_not_before(graph, resize)
    if reason:
        return reason
    if not graph.feeds_only(resize.output, match.anchor):
        return "the resized value is also read as it is"
    return ""


def _rewrite(graph: Graph, match: Match[Node]) -> None:
    affine_node, resize = match.anchor, match.parts
    source, old = resize.input(0), affine_node.output
    graph.redirect(affine_node, resize.output, source)
    small = graph.set_output(affine_node, shape=graph.shape(source) or (), like=source)
    graph.set_input(resize, 0, small)
    graph.replace_uses(old, resize.output)


RULE = Rule(name="affine-before-resize", pattern=_pattern, check=_check, rewrite=_rewrite)
