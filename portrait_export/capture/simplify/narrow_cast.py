"""Compute casts to 8 or 16 bits in 32 bits.

Core ML has no fewer. The result of such a cast must only be moved and cast on.

Algebra. cast(x) to integers of n values from `lowest` on = (⌊x⌋₀ − lowest) mod n + lowest, ⌊x⌋₀ being x without its
fraction; of booleans it is x. Beyond those integers ONNX leaves a cast of floats open; ONNX Runtime wraps around, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from ..onnx.graph import Graph, Node
from .rule import Match, Rule, at_each

SPANS: dict[int, tuple[int, int]] = {  # the number of values, and the lowest
    TensorProto.UINT8: (2**8, 0),
    TensorProto.INT8: (2**8, -(2**7)),
    TensorProto.UINT16: (2**16, 0),
    TensorProto.INT16: (2**16, -(2**15)),
}
SOURCES = (TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL)


# Operators that move the elements of their first input
MOVES = ("Expand", "Flatten", "Gather", "Reshape", "Slice", "Squeeze", "Tile", "Transpose", "Unsqueeze")


@dataclass(frozen=True)
class _Parts:
    """A cast's span, and the values that hold its integers; none where something computes with them."""

    count: int
    lowest: int
    values: tuple[str, ...]


def _find(graph: Graph, node: Node) -> _Parts | None:
    span = SPANS.get(int(node.attrs.get("to", 0)))
    return None if span is None else _Parts(*span, _moved(graph, node.output))


def _moved(graph: Graph, value: str) -> tuple[str, ...]:
    found = [value]
    for each in found:
        readers = [use for use in graph.uses(each) if use.op != "Cast"]
        if graph.is_fixed(each) or any(use.op not in MOVES or each in use.inputs[1:] for use in readers):
            return ()
        found += [use.output for use in readers]
    return tuple(found)


def _check(graph: Graph, match: Match[_Parts]) -> str:
    node = match.anchor
    if not match.parts.values:
        return "something else than a cast reads it, and may compute in so few bits"
    if graph.dtype(node.input(0)) not in SOURCES or any(graph.shape(value) is None for value in match.parts.values):
        return "its input is of another type"
    return ""


def _rewrite(graph: Graph, match: Match[_Parts]) -> None:
    node, count, lowest = match.anchor, match.parts.count, match.parts.lowest
    source, shape, kind = node.input(0), graph.shape(node.output) or (), TensorProto.INT32
    value = graph.add_node("Cast", [source], name=node.name, shape=shape, dtype=kind, attrs={"to": kind}, before=node)
    if graph.dtype(source) != TensorProto.BOOL:
        steps = [("Sub", lowest), ("Mod", count), ("Add", lowest)] if lowest else [("Mod", count)]
        for op, number in steps:
            constant = graph.add_constant(np.array(number, np.int32), name=f"{node.name}/{op}_number")
            name = f"{node.name}/{op}"
            value = graph.add_node(op, [value, constant], name=name, shape=shape, dtype=kind, before=node)
    for moved in match.parts.values[1:]:
        graph.declare(moved, graph.shape(moved) or (), kind)
    graph.remove([node])
    graph.replace_uses(node.output, value)


RULE = Rule(name="narrow-cast", pattern=at_each("Cast", _find), check=_check, rewrite=_rewrite, since=10)
