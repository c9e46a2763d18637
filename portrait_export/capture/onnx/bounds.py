"""Refuse ONNX graphs that would take more memory than any machine has.

A file of a few hundred bytes can state sides of millions of pixels, double a constant forty times, or call functions
that call functions twice each.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import onnx

from ...errors import CaptureError
from ...utils.growth import LARGEST_COMPUTED
from .subgraphs import all_graphs, subgraphs

LARGEST_CONSTANT = LARGEST_COMPUTED  # elements of an input, or of a value computed from constants alone
LARGEST_VALUE = 2**34  # elements of any other value; networks of 2048x2048 pixels have up to 2**31
LARGEST_DATA = 2**20  # numbers that shape inference follows through a graph; real ones have a few thousand
MOST_NODES = 10**6  # of a graph with its functions' bodies in the place of their calls
LISTED = 12
DYNAMIC = -1  # how some exporters write a side that is not known

# Operators through which onnx's shape inference follows numbers, besides Concat and Gather, which can have more of them
# than they are given.
FOLLOWED = frozenset(
    {"Add", "Cast", "Constant", "Identity", "Mul", "Shape", "Size", "Slice", "Squeeze", "Sub", "Unsqueeze"}
)


def negative_sides(graph: onnx.GraphProto) -> list[str]:
    """One line for each input with a side that no value has."""
    shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in graph.input}
    return [
        f"its input {name!r} has the shape {'×'.join(map(str, sides))}, with a negative side"
        for name, sides in shapes.items()
        if any(side < DYNAMIC for side in sides)
    ]


def require_bounded_inputs(model: onnx.ModelProto, name: str) -> None:
    """Raise CaptureError for inputs that are too large, and for functions without end."""
    stored = {tensor.name for tensor in model.graph.initializer}
    lines: list[str] = []
    for value in model.graph.input:
        sides = [dim.dim_value for dim in value.type.tensor_type.shape.dim if dim.HasField("dim_value")]
        shown = f"input {value.name!r} has the shape {'×'.join(map(str, sides))}"
        if value.name not in stored and math.prod(max(side, 1) for side in sides) > LARGEST_CONSTANT:
            lines.append(f"{shown}, with more than {LARGEST_CONSTANT:,} elements")
    try:
        endless = _calls(model) > MOST_NODES
    except RecursionError:
        endless = True
    if endless:
        lines.append(f"with its functions' bodies it has more than {MOST_NODES:,} nodes, or they call themselves")
    _refuse(lines, name)


def require_bounded_values(model: onnx.ModelProto, inferred: onnx.ModelProto, name: str) -> None:
    """Raise CaptureError for values that are too large.

    Args:
        inferred: the model with the shapes of its values.
    """
    constant: set[str] = set()
    lines: list[str] = []
    for graph, known in zip(all_graphs(model.graph), all_graphs(inferred.graph), strict=True):
        constant.update(tensor.name for tensor in graph.initializer)
        shapes = {value.name: value for value in (*known.value_info, *known.output)}
        lines += _large_values(graph, shapes, constant)
    _refuse(lines, name)


def _large_values(
    graph: onnx.GraphProto, shapes: Mapping[str, onnx.ValueInfoProto], constant: set[str]
) -> Iterator[str]:
    """One line for each value that is too large; what is computed from constants alone is added to `constant`."""
    for node in graph.node:
        fixed = all(read in constant for read in node.input if read) and not any(subgraphs(node))
        if fixed:
            constant.update(node.output)
        limit = LARGEST_CONSTANT if fixed else LARGEST_VALUE
        for output in node.output:
            shape = _shape(shapes.get(output))
            if math.prod(shape) > limit:
                what, sides = "constant " if fixed else "", "×".join(map(str, shape))
                yield f"{node.op_type} makes the {what}value {output!r} of {sides}, more than {limit:,} elements"


def _shape(value: onnx.ValueInfoProto | None) -> list[int]:
    """The known sides of a value; those that are not known count 1."""
    return [] if value is None else [max(dim.dim_value, 1) for dim in value.type.tensor_type.shape.dim]


def _refuse(lines: list[str], name: str) -> None:
    if lines:
        more = len(lines) - LISTED
        raise CaptureError(
            f"{name} would take more memory than a network does, so it is not read.",
            code="too-large",
            context=[*lines[:LISTED], *([f"… and {more} more"] if more > 0 else [])],
            hint="export the network again at the input size that the app uses.",
        )


def _calls(model: onnx.ModelProto) -> int:
    """The number of nodes, with the bodies of the model's own functions in the place of their calls."""
    bodies = {(function.domain, function.name): function.node for function in model.functions}
    if not bodies:
        return 0
    counts: dict[tuple[str, str], int] = {}
    open_calls: set[tuple[str, str]] = set()

    def count(nodes: Iterable[onnx.NodeProto]) -> int:
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            if key in bodies and key not in counts:
                if key in open_calls:  # a function that calls itself; onnx.checker refuses it too
                    return MOST_NODES + 1
                open_calls.add(key)
                counts[key] = count(bodies[key])
                open_calls.discard(key)
            total += counts.get(key, 1) + sum(count(inner.node) for inner in subgraphs(node))
        return total

    return count(model.graph.node)


def followed(model: onnx.ModelProto) -> int:
    """How many numbers shape inference with data propagation holds for a model, at most; inner graphs included.

    A vector of one doubled forty times is 2⁴⁰ numbers, and each is an object.
    """
    if model.functions:
        return LARGEST_DATA + 1
    return _followed(model.graph, {})


def _followed(graph: onnx.GraphProto, outer: Mapping[str, int]) -> int:
    known = {**outer, **{tensor.name: math.prod(tensor.dims) for tensor in graph.initializer}}
    total = 0
    for node in graph.node:
        total += sum(_followed(inner, known) for inner in subgraphs(node))
        read = [known.get(name) for name in node.input if name]
        size = _size(node, read)
        if size:
            known.update(dict.fromkeys(node.output, size))
            total += size
    return total


def _size(node: onnx.NodeProto, read: list[int | None]) -> int:
    """How many numbers are followed out of a node; 0 if none are.

    Args:
        read: of each input; None where its numbers are not known.
    """
    if node.op_type in ("Shape", "Size"):
        return 64  # more dimensions than any value has
    if node.op_type == "Constant":
        return sum(math.prod(each.t.dims) if each.HasField("t") else len(each.ints) + 1 for each in node.attribute)
    if node.op_type == "Concat":
        return 0 if None in read else sum(size or 0 for size in read)
    if node.op_type == "Gather":
        return 0 if not read or None in read else read[-1] or 1
    if node.op_type in FOLLOWED and read and read[0] is not None:
        return max(size or 0 for size in read)
    return 0
