"""Lower ONNX control flow: an If whose condition is known becomes its branch."""

from __future__ import annotations

from typing import Any

from ..context import Node, Unsupported
from ..registry import lowers


@lowers("If")
def constant_if(node: Node) -> Any:
    """The branch that the constant condition takes, in place of the If."""
    condition = node.value(0)
    branches = node.attr("then_branch"), node.attr("else_branch")
    if not node.is_const(0):
        raise Unsupported("its condition is computed by the model; both branches would have to have one static shape")
    taken = bool(condition.reshape(-1)[0])
    return node.converter.lower_graph(branches[0 if taken else 1], node.name)
