"""Name the changed weights of a rewritten graph after the operators that read them."""

from __future__ import annotations

import re

from ..onnx.graph import Graph, Node

# Names that exporters number, and those of constants that a rule made from another.
MADE_UP = re.compile(r"^onnx::|^_v_\d+$|_\d+$|^/")
ROLES = {1: "weight", 2: "bias"}
WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "LayerNormalization", "PRelu"})


def name_weights(graph: Graph) -> None:
    """Rename, in place: `onnx::MatMul_1600_2` read by `/encoder/query/MatMul` becomes `encoder.query.weight`."""
    graph.release_names()
    for node in graph.nodes:
        if node.op not in WEIGHTED or node.domain:
            continue
        for index, role in ROLES.items():
            name = node.input(index)
            if name and graph.is_constant(name) and MADE_UP.search(name) and graph.feeds_only(name, node):
                graph.rename_constant(name, f"{module_path(node)}.{role}")


def module_path(node: Node) -> str:
    """The module that a node was traced from, as PyTorch writes it; the node's own name if that cannot be determined.

    >>> module_path(Node("MatMul", [], [], name="/encoder/block.0/query/MatMul_1"))
    'encoder.block.0.query'
    """
    parts = node.name.strip("/").split("/")
    if len(parts) > 1 and re.fullmatch(r"(Conv|ConvTranspose|Gemm|MatMul|LayerNormalization|PRelu)(_\d+)?", parts[-1]):
        parts = parts[:-1]
    return ".".join(parts)
