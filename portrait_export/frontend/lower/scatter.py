"""Lower ONNX scatters to MIL: ScatterElements, Scatter, ScatterND."""

from __future__ import annotations

import numpy as np

from ..context import NodeContext
from ..refusals import Unsupported
from ..registry import lowers
from ..values import Tensor, Var, axis_of, shape_of
from .gather import bools_as_ints, non_negative_indices

MODES = {"none": "update", "add": "add", "mul": "mul", "min": "min", "max": "max"}


def _mode(node: NodeContext) -> str:
    reduction = node.attr("reduction", "none")
    if reduction not in MODES:
        raise Unsupported(f"reduction={reduction!r}")
    return MODES[reduction]


@lowers("ScatterElements", "Scatter")
def scatter_elements(node: NodeContext) -> Var:
    """A copy of the data with updates[i, j, …] written to (or combined with) [index[i, j, …], j, …]."""
    data, shape = node.var(0), node.shape(0)
    axis = axis_of(node.attr("axis", 0), len(shape))
    indices = non_negative_indices(node, node.x(1), shape[axis])
    numbers, updates = bools_as_ints(node, data), bools_as_ints(node, node.x(2))
    smaller = [i for i, (a, b) in enumerate(zip(shape, shape_of(indices), strict=True)) if i != axis and a != b]
    if smaller:
        result = _scatter_by_coordinates(node, numbers, indices, updates, axis)
    else:
        inputs = {"data": numbers, "indices": indices, "updates": updates}
        result = node.emit("scatter_along_axis", **inputs, axis=axis, mode=_mode(node))
    return node.cast(result, node.dtype_of(data))


def _scatter_by_coordinates(node: NodeContext, data: Tensor, indices: Tensor, updates: Tensor, axis: int) -> Var:
    """Scatter with indices smaller than the data in other axes, which MIL's scatter_along_axis does not accept."""
    shape = shape_of(indices)
    grids = np.meshgrid(*(np.arange(size, dtype=np.int32) for size in shape), indexing="ij")
    where: Tensor
    if isinstance(indices, np.ndarray):
        where = np.stack([indices if i == axis else grid for i, grid in enumerate(grids)], -1).reshape(-1, len(shape))
    else:
        columns = [node.reshape(indices if i == axis else grid, (grid.size, 1)) for i, grid in enumerate(grids)]
        where = node.emit("concat", values=[node.as_var(column) for column in columns], axis=1)
    flat = node.reshape(updates, (grids[0].size,))
    return node.emit("scatter_nd", data=data, indices=where, updates=flat, mode=_mode(node))


@lowers("ScatterND", since=11)
def scatter_nd(node: NodeContext) -> Var:
    """A copy of the data with each update written to (or combined with) the element at its index tuple."""
    depth = node.shape(1)[-1]
    sizes = np.asarray(node.shape(0)[:depth], np.int32)
    data = node.var(0)
    numbers, updates = bools_as_ints(node, data), bools_as_ints(node, node.x(2))
    indices = non_negative_indices(node, node.x(1), sizes)
    result = node.emit("scatter_nd", data=numbers, indices=indices, updates=updates, mode=_mode(node))
    return node.cast(result, node.dtype_of(data))
