"""Helpers that several families of lowerings share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..context import NodeContext
from ..refusals import Unsupported
from ..values import Tensor, Var, axis_of


def unary(mil_op: str) -> Callable[[NodeContext], Var]:
    """A lowering for `y = op(x)` on floats."""

    def lower(node: NodeContext) -> Var:
        require_float(node)
        return node.emit(mil_op, x=node.var())

    lower.__qualname__ = f"unary({mil_op})"
    return lower


def binary(mil_op: str, *, types: str = "fi") -> Callable[[NodeContext], Var]:
    """A lowering for `z = op(x, y)` with broadcasting; `types` are the numpy kinds that MIL's operation takes."""

    def lower(node: NodeContext) -> Var:
        if node.dtype().kind not in types:
            raise Unsupported(f"on {node.dtype().name} tensors")
        return node.emit(mil_op, **xy(node, node.x(0), node.x(1)))

    lower.__qualname__ = f"binary({mil_op})"
    return lower


def xy(node: NodeContext, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """The operands of a binary MIL operation; the first becomes a Var if both are constant."""
    if isinstance(x, np.ndarray | np.generic) and isinstance(y, np.ndarray | np.generic):
        x = node.as_var(x)
    return {"x": x, "y": y}


def require_float(node: NodeContext, index: int = 0) -> None:
    """Raise Unsupported unless the input is float32 or float16."""
    if node.dtype(index).kind != "f":
        raise Unsupported(f"on {node.dtype(index).name} tensors")


def axes_of(node: NodeContext, *, rank: int, index: int, default: list[int] | None = None) -> list[int] | None:
    """Axes in 0..rank-1, from the attribute (older opsets) or the constant input `index` (newer ones)."""
    axes = node.attr("axes")
    if node.has(index):
        axes = node.ints(index, "axes")
    if axes is None:
        return default
    return [axis_of(int(axis), rank) for axis in axes]


def combine(node: NodeContext, values: Sequence[Tensor], step: Callable[[Tensor, Tensor], Var]) -> Var:
    """Combine values from left to right."""
    if len(values) == 1:
        return node.emit("identity", x=node.as_var(values[0]))
    result = step(values[0], values[1])
    for value in values[2:]:
        result = step(result, value)
    return result


def as_bool(node: NodeContext, value: Tensor) -> Tensor:
    """Whether each element is not zero."""
    if node.dtype_of(value) == np.bool_:
        return value
    if isinstance(value, np.ndarray):
        return value != 0
    return node.emit("not_equal", x=value, y=node.dtype_of(value).type(0))


def select(node: NodeContext, cond: Tensor, a: Tensor, b: Tensor) -> Var:
    """`a` where the condition holds, else `b`; all three are broadcast.

    MIL infers the result's shape from `a` and `b` only, so one of them is expanded to it.
    """
    shape = np.broadcast_shapes(*(tuple(np.shape(value)) for value in (cond, a, b)))
    cond, a, b = (_full_rank(node, value, len(shape)) for value in (cond, a, b))
    if np.broadcast_shapes(tuple(np.shape(a)), tuple(np.shape(b))) != shape:
        if isinstance(b, np.ndarray | np.generic):
            b = np.ascontiguousarray(np.broadcast_to(b, shape))
        elif isinstance(a, np.ndarray | np.generic):
            a = np.ascontiguousarray(np.broadcast_to(a, shape))
        else:
            reps = [new // old for new, old in zip(shape, np.shape(b) or (1,) * len(shape), strict=True)]
            wide = node.reshape(b, (1,) * len(shape)) if not np.shape(b) else b
            b = node.emit("tile", x=wide, reps=np.asarray(reps, np.int32))
    return node.emit("select", cond=cond, a=a, b=b)


def _full_rank(node: NodeContext, value: Tensor, rank: int) -> Tensor:
    """The value with as many dimensions as the result; scalars stay scalars."""
    own = len(np.shape(value))
    return value if own in (0, rank) else node.reshape(value, (1,) * (rank - own) + tuple(value.shape))
