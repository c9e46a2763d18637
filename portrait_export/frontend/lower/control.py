"""Lower ONNX control flow to MIL: an If with a constant condition becomes one of its branches."""

from __future__ import annotations

from collections.abc import Sequence

from ..context import NodeContext
from ..refusals import Unsupported
from ..registry import lowers
from ..values import MaybeValue


@lowers("If")
def constant_if(node: NodeContext) -> Sequence[MaybeValue]:
    """The branch that the constant condition selects, inlined."""
    branches = node.attr("then_branch"), node.attr("else_branch")
    if not node.is_const(0):
        raise Unsupported("its condition is computed by the model; both branches would need the same static shape")
    condition = bool(node.const(0, "condition").reshape(-1)[0])
    return node.lower_graph(branches[0 if condition else 1], node.name)
