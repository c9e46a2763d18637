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


def full(node: Node, shape: tuple[int, ...], value: Any, dtype: np.dtype) -> np.ndarray:
    """A constant of one value."""
    return np.full(shape, value, dtype)
