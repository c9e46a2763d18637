"""Remove an Identity: its readers read its input.

Algebra. y = x.
"""

from __future__ import annotations

from ..onnx.graph import Graph, Node
from .rule import Match, Rule, at_each


def _find(graph: Graph, node: Node) -> str:
    """What the node reads."""
    return node.input(0)


def _check(graph: Graph, match: Match[str]) -> str:
    source, output = match.parts, match.anchor.output
    if graph.is_fixed(output) and (graph.is_fixed(source) or graph.maker(source) is None):
        return "the names of its input and of its output must both stay"
    return ""


def _rewrite(graph: Graph, match: Match[str]) -> None:
    graph.remove([match.anchor])
    graph.replace_uses(match.anchor.output, match.parts)


RULE = Rule(name="identity", pattern=at_each("Identity", _find), check=_check, rewrite=_rewrite)
