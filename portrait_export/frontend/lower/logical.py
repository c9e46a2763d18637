"""Lower ONNX comparisons and logic to MIL: Equal, Less, And, Not, Where …"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..context import Node
from ..registry import lowers, register_table
from ._common import binary, xy

COMPARISONS = {"Greater": "greater", "GreaterOrEqual": "greater_equal", "Less": "less", "LessOrEqual": "less_equal"}
register_table(COMPARISONS, binary, __name__)

LOGIC = {"And": "logical_and", "Or": "logical_or", "Xor": "logical_xor"}
register_table(LOGIC, lambda op: binary(op, types="b"), __name__)


@lowers("Equal")
def equal(node: Node) -> Any:
    """x = y; truth values are compared as numbers."""
    x, y = node.x(0), node.x(1)
    if node.dtype() == np.bool_:
        x, y = node.cast(x, np.int32), node.cast(y, np.int32)
    return node.emit("equal", **xy(node, x, y))


@lowers("Not")
def logical_not(node: Node) -> Any:
    """¬x."""
    return node.emit("logical_not", x=node.var())


@lowers("Where")
def where(node: Node) -> Any:
    """a where the condition holds, b elsewhere, all three broadcast."""
    cond, a, b = node.value(0), node.x(1), node.x(2)
    if node.is_const(0) and cond.size == 1 and np.broadcast_shapes(*map(np.shape, (cond, a, b))) == np.shape(a):
        if cond.all():
            return node.emit("identity", x=node.as_var(a))
    shape = np.broadcast_shapes(*(tuple(node.shape(i)) for i in range(3)))
    cond, a, b = (_full_rank(node, value, len(shape)) for value in (cond, a, b))
    return node.emit("select", cond=cond, a=a, b=b)


def _full_rank(node: Node, value: Any, rank: int) -> Any:
    """The value with as many dimensions as the result; scalars stay."""
    have = len(value.shape)
    return value if have in (0, rank) else node.reshape(value, (1,) * (rank - have) + tuple(value.shape))
