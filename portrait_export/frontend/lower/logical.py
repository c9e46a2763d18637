"""Lower ONNX comparisons and logic to MIL: Equal, Less, And, Not, Where …"""

from __future__ import annotations

import numpy as np

from ..context import NodeContext
from ..registry import lowers, register_table
from ..values import Var
from ._common import binary, select, xy

COMPARISONS = {"Greater": "greater", "GreaterOrEqual": "greater_equal", "Less": "less", "LessOrEqual": "less_equal"}
register_table(COMPARISONS, binary, __name__)

LOGIC = {"And": "logical_and", "Or": "logical_or", "Xor": "logical_xor"}
register_table(LOGIC, lambda op: binary(op, types="b"), __name__)


@lowers("Equal")
def equal(node: NodeContext) -> Var:
    """x = y; booleans are compared as integers."""
    x, y = node.x(0), node.x(1)
    if node.dtype() == np.bool_:
        x, y = node.cast(x, np.int32), node.cast(y, np.int32)
    return node.emit("equal", **xy(node, x, y))


@lowers("Not")
def logical_not(node: NodeContext) -> Var:
    """¬x."""
    return node.emit("logical_not", x=node.var())


@lowers("Where")
def where(node: NodeContext) -> Var:
    """`a` where the condition holds, else `b`; all three are broadcast."""
    return select(node, node.x(0), node.x(1), node.x(2))
