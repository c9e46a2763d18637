"""List which operators of an ONNX model the frontend supports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import registry
from .functions import has_body
from .graph import DEFAULT_DOMAINS, all_nodes, label_of, opset_of, qualified

if TYPE_CHECKING:
    from onnx import ModelProto

LOWERED = "lowered"  # has its own lowering, which may still refuse attributes and types
EXPANDED = "function"  # lowered through the function body that the ONNX standard gives it
MISSING = "missing"


@dataclass(frozen=True)
class OperatorSupport:
    """One type of operator in a model.

    Attributes:
        op_type: with its domain unless that is ONNX's own.
        count: number of nodes of this type, including those in subgraphs.
        first: name of the first of them.
        status: `lowered`, `function` or `missing`. A node whose inputs are all constant is folded, whatever its type.
    """

    op_type: str
    count: int
    first: str
    status: str


def operators(model: ModelProto) -> tuple[OperatorSupport, ...]:
    """Every type of operator in a model, sorted by name."""
    opset = opset_of(model)
    found: dict[str, list[str]] = {}
    status: dict[str, str] = {}
    local = {(function.domain, function.name) for function in model.functions}
    for node in all_nodes(model.graph.node):
        name = qualified(node)
        found.setdefault(name, []).append(label_of(node, ""))
        own = node.domain in DEFAULT_DOMAINS and registry.find(node.op_type, opset) is not None
        body = has_body(node, opset) or (node.domain, node.op_type) in local
        status[name] = LOWERED if own else EXPANDED if body else MISSING
    return tuple(
        OperatorSupport(op_type=name, count=len(labels), first=labels[0], status=status[name])
        for name, labels in sorted(found.items())
    )
