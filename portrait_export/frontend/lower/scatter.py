"""Lower ONNX scatters to MIL: ScatterElements, Scatter, ScatterND."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..context import Node, Unsupported, axis_of, shape_of
from ..registry import lowers
from .gather import from_the_front, numbers

MODES = {"none": "update", "add": "add", "mul": "mul", "min": "min", "max": "max"}


def _mode(node: Node) -> str:
    reduction = node.attr("reduction", "none")
    if reduction not in MODES:
        raise Unsupported(f"reduction={reduction!r}")
    return MODES[reduction]


@lowers("ScatterElements", "Scatter")
def scatter_elements(node: Node) -> Any:
    """A copy of the data in which updates[i, j, …] stand at (or are combined with) [index[i, j, …], j, …]."""
    data, shape = node.var(0), node.shape(0)
    axis = axis_of(node.attr("axis", 0), len(shape))
    indices, updates = from_the_front(node, node.x(1), shape[axis]), node.x(2)
    data, was_bool = numbers(node, data)
    updates = numbers(node, updates)[0]
    smaller = [i for i, (a, b) in enumerate(zip(shape, shape_of(indices), strict=True)) if i != axis and a != b]
    if smaller:
        return _scatter_by_coordinates(node, data, indices, updates, axis, was_bool)
    result = node.emit("scatter_along_axis", data=data, indices=indices, updates=updates, axis=axis, mode=_mode(node))
    return node.cast(result, np.bool_) if was_bool else result


def _scatter_by_coordinates(node: Node, data: Any, indices: Any, updates: Any, axis: int, was_bool: bool) -> Any:
    """MIL's scatter_along_axis wants indices as large as the data in other axes; scatter_nd takes any."""
    shape = shape_of(indices)
    grids = np.meshgrid(*(np.arange(size, dtype=np.int32) for size in shape), indexing="ij")
    columns = [node.reshape(indices if i == axis else grid, (grid.size, 1)) for i, grid in enumerate(grids)]
    where = np.concatenate(columns, 1) if isinstance(indices, np.ndarray) else _columns(node, columns)
    flat = node.reshape(updates, (grids[0].size,))
    result = node.emit("scatter_nd", data=data, indices=where, updates=flat, mode=_mode(node))
    return node.cast(result, np.bool_) if was_bool else result


def _columns(node: Node, columns: list[Any]) -> Any:
    return node.emit("concat", values=[node.as_var(column) for column in columns], axis=1)


@lowers("ScatterND", since=11)
def scatter_nd(node: Node) -> Any:
    """A copy of the data in which each update stands at (or is combined with) its index tuple."""
    depth = node.shape(1)[-1]
    sizes = np.asarray(node.shape(0)[:depth], np.int32)
    data, was_bool = numbers(node, node.var(0))
    updates = numbers(node, node.x(2))[0]
    indices = from_the_front(node, node.x(1), sizes)
    result = node.emit("scatter_nd", data=data, indices=indices, updates=updates, mode=_mode(node))
    return node.cast(result, np.bool_) if was_bool else result
