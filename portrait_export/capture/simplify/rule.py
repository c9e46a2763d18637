"""Define rewrite rules: a pattern, a check that returns the reason why not, and a rewrite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..onnx.graph import Graph, Node

P = TypeVar("P")


@dataclass(frozen=True)
class Match(Generic[P]):
    """A place where a rule's pattern was found.

    Attributes:
        anchor: the node that reports name.
        parts: whatever the rule's check and rewrite need.
    """

    anchor: Node
    parts: P


@dataclass(frozen=True)
class Rule(Generic[P]):
    """An exact algebraic identity, applied wherever it saves work.

    Attributes:
        name: kebab-case, as reports and options call it.
        pattern: yields matches; the graph may be edited between two of them.
        check: the reason why a match is not rewritten; empty if the rewrite is exact and worth it.
        rewrite: edits the graph.
        since: first ONNX opset that has the operators which the rewrite emits.
        one_size: what it writes holds for one input size only, so a network for several sizes goes without it.
    """

    name: str
    pattern: Callable[[Graph], Iterator[Match[P]]]
    check: Callable[[Graph, Match[P]], str]
    rewrite: Callable[[Graph, Match[P]], None]
    since: int = 7
    one_size: bool = False


def at_each(op: str, find: Callable[[Graph, Node], P | None]) -> Callable[[Graph], Iterator[Match[P]]]:
    """A pattern that looks at every node of one operator type.

    Args:
        op: ONNX operator type of the anchor.
        find: the parts of the match at a node, or None where the pattern is not there.
    """

    def pattern(graph: Graph) -> Iterator[Match[P]]:
        for node in [node for node in graph.nodes if node.op == op and not node.domain]:
            if graph.maker(node.output) is node:  # a rewrite just before may have removed it
                parts = find(graph, node)
                if parts is not None:
                    yield Match(node, parts)

    return pattern
