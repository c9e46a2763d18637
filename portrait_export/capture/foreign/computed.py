"""Compute values that a graph computes from its constants alone, with ONNX's reference implementation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from ...utils.growth import outputs_are_bounded
from ..onnx.graph import Graph, Node

MOST_NODES = 64
LARGEST_CONSTANT = 2**16  # elements; what is computed from larger ones is a weight


def computed(graph: Graph, value: str) -> np.ndarray | None:
    """A value that depends on small constants and static shapes alone; None for any other."""
    found = _needed(graph, value)
    if found is None:
        return None
    nodes, values = found
    try:
        for node in nodes:
            values |= _outputs_of(node, values, graph.opset)
    except Exception:  # the evaluator raises whatever numpy does, and lacks operators: then the value is not known
        return None
    result = values.get(value)
    return result if isinstance(result, np.ndarray) else None


def _outputs_of(node: Node, values: Mapping[str, np.ndarray], opset: int) -> dict[str, np.ndarray]:
    """The outputs of one node. Raises whatever the evaluator does, and MemoryError for values that are too large."""
    proto = onnx.helper.make_node(node.op, node.inputs, node.outputs, node.name, domain=node.domain, **node.attrs)
    given = {name: np.asarray(values[name], order="C") for name in node.inputs if name}
    if not outputs_are_bounded(proto, given, opset):
        raise MemoryError
    stored = [onnx.numpy_helper.from_array(array, name) for name, array in given.items()]
    names = [name for name in node.outputs if name]
    made = onnx.helper.make_graph([proto], "constants", [], [onnx.ValueInfoProto(name=name) for name in names], stored)
    model = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", opset)])
    return dict(zip(names, ReferenceEvaluator(model).run(None, {}), strict=True))


def _needed(graph: Graph, value: str) -> tuple[list[Node], dict[str, np.ndarray]] | None:
    """The nodes that a value needs, in order, and the constants that they read."""
    chosen: set[int] = set()
    constants: dict[str, np.ndarray] = {}
    stack = [value]
    while stack:
        name = stack.pop()
        node = graph.maker(name)
        stored = _stored(graph, name, node)
        if stored is not None:
            constants[name] = stored
        elif node is None or node.domain not in ("", "ai.onnx") or len(chosen) >= MOST_NODES:
            return None
        elif id(node) not in chosen:
            chosen.add(id(node))
            stack += [read for read in node.inputs if read]
    return [node for node in graph.nodes if id(node) in chosen], constants


def _stored(graph: Graph, name: str, node: Node | None) -> np.ndarray | None:
    """A small constant, or the static shape that a node reads."""
    if node is not None:
        shape = graph.shape(node.input(0)) if node.op == "Shape" and not node.attrs else None
        return None if shape is None else np.array(shape, np.int64)
    if int(np.prod(graph.shape(name) or (), dtype=np.int64)) > LARGEST_CONSTANT:
        return None
    return graph.constant(name)
