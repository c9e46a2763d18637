"""Compute values that a graph computes from its constants alone, with ONNX's reference implementation."""

from __future__ import annotations

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from ..onnx.graph import Graph, Node

MOST_NODES = 64
LARGEST_CONSTANT = 2**16  # elements; what is computed from larger ones is a weight


def computed(graph: Graph, value: str) -> np.ndarray | None:
    """A value that depends on small constants and static shapes alone; None for any other."""
    found = _needed(graph, value)
    if found is None:
        return None
    nodes, constants = found
    protos = [onnx.helper.make_node(n.op, n.inputs, n.outputs, n.name, domain=n.domain, **n.attrs) for n in nodes]
    stored = [onnx.numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in constants.items()]
    made = onnx.helper.make_graph(protos, "constants", [], [onnx.ValueInfoProto(name=value)], stored)
    model = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", graph.opset)])
    try:
        results = list(ReferenceEvaluator(model).run(None, {}))
    except Exception:  # the evaluator raises whatever numpy does, and lacks operators: then the value is not known
        return None
    result = results[0]
    return result if isinstance(result, np.ndarray) else None


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
