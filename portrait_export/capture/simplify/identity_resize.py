"""Remove a resize to the size that its input has.

Algebra. At scale 1 every coordinate transformation used here maps pixel i to coordinate i, where the interpolation's
weight of pixel i is 1 and all others are 0.
"""

from __future__ import annotations

from ..onnx.graph import Graph, Node
from .linear import AVERAGING
from .rule import Match, Rule, at_each


def _find(graph: Graph, node: Node) -> str | None:
    """What a resize to the same size reads."""
    shape = graph.shape(node.output)
    return node.input(0) if shape is not None and shape == graph.shape(node.input(0)) else None


def _check(graph: Graph, match: Match[str]) -> str:
    node = match.anchor
    mode = node.attrs.get("coordinate_transformation_mode", "half_pixel")
    if mode not in AVERAGING:
        return f"coordinate mode {mode} may crop"
    scales = graph.constant(node.input(2)) if node.input(2) else None
    if node.input(2) and (scales is None or (scales.size and not (scales == 1).all())):
        return "its scales are not 1, only its rounded size is the same"
    return ""


def _rewrite(graph: Graph, match: Match[str]) -> None:
    graph.remove([match.anchor])
    graph.replace_uses(match.anchor.output, match.parts)


RULE = Rule(name="identity-resize", pattern=at_each("Resize", _find), check=_check, rewrite=_rewrite, since=11)
