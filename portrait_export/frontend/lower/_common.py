"""Steps that several families share: broadcasting of ranks, arithmetic in a type MIL lacks, axes from inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..context import Node, Unsupported, axis_of
from ..registry import Lowering


def unary(mil_op: str) -> Lowering:
    """A lowering for `y = op(x)` on floats."""

    def lower(node: Node) -> Any:
        need_float(node)
        return node.emit(mil_op, x=node.var())

    lower.__qualname__ = f"unary({mil_op})"
    return lower


def binary(mil_op: str, *, types: str = "fi") -> Lowering:
    """A lowering for a broadcasting `z = op(x, y)`; `types` are the numpy kinds that MIL's op takes."""

    def lower(node: Node) -> Any:
        if node.dtype().kind not in types:
            raise Unsupported(f"on {node.dtype().name} tensors")
        return node.emit(mil_op, **xy(node, node.x(0), node.x(1)))

    lower.__qualname__ = f"binary({mil_op})"
    return lower


def xy(node: Node, x: Any, y: Any) -> dict[str, Any]:
    """The two operands of a MIL op, the first one a Var where neither is."""
    if isinstance(x, np.ndarray | np.generic) and isinstance(y, np.ndarray | np.generic):
        x = node.as_var(x)
    return {"x": x, "y": y}


def need_float(node: Node, index: int = 0) -> None:
    """Raise Unsupported unless the input is float32 or float16."""
    if node.dtype(index).kind != "f":
        raise Unsupported(f"on {node.dtype(index).name} tensors")


def axes_of(node: Node, *, rank: int, index: int, default: list[int] | None = None) -> list[int] | None:
    """Axes from the attribute (older opsets) or the constant input `index` (newer), as 0..rank-1."""
    axes = node.attr("axes")
    if node.has(index):
        axes = node.ints(index, "axes")
    if axes is None:
        return default
    return [axis_of(int(axis), rank) for axis in axes]


def reduce_tree(node: Node, values: list[Any], step: Callable[[Any, Any], Any]) -> Any:
    """Combine values pairwise from the left."""
    result = values[0]
    for value in values[1:]:
        result = step(result, value)
    return result if len(values) > 1 else node.emit("identity", x=node.as_var(values[0]))


def as_bool(node: Node, value: Any) -> Any:
    """Whether each element is not zero."""
    if node.dtype_of(value) == np.bool_:
        return value
    if isinstance(value, np.ndarray):
        return value != 0
    return node.emit("not_equal", x=value, y=node.dtype_of(value).type(0))


def select(node: Node, cond: Any, a: Any, b: Any) -> Any:
    """a where the condition holds, b elsewhere, all three broadcast.

    MIL infers the result's shape from a and b alone, so one of them has to have it.
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


def _full_rank(node: Node, value: Any, rank: int) -> Any:
    """The value with as many dimensions as the result; scalars stay."""
    have = len(np.shape(value))
    return value if have in (0, rank) else node.reshape(value, (1,) * (rank - have) + tuple(value.shape))
