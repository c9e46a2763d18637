"""Lower normalizations of too many dimensions in fewer dimensions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from .groups import Collapsed, collapsed, grouped, merged
from .values import Value, axis_of

if TYPE_CHECKING:
    from .context import NodeContext


def channels_first(node: NodeContext) -> Collapsed | None:
    """(N, C, …) as (N, C, pixels), with vectors of one value per channel or group."""
    shape = node.shape()
    groups = [[0], [1], list(range(2, len(shape)))]
    return collapsed(node, [merged(node, node.value(0), shape, groups), *node.inputs[1:]], {}, groups, shape)


def from_axis_on(node: NodeContext) -> Collapsed | None:
    """Rows of all dimensions from `axis` on, with a scale and a bias of a row's shape, or broadcast to it."""
    if node.wants(1):
        return None  # the mean has another shape
    shape = node.shape()
    axis = axis_of(node.attributes.get("axis", -1), len(shape))
    groups = [list(range(axis)), list(range(axis, len(shape)))]
    inputs: list[Value | None] = [merged(node, node.value(0), shape, groups)]
    for index in range(1, len(node.inputs)):
        inputs.append(_row(node, index, shape[axis:]) if node.has(index) else None)
    return collapsed(node, inputs, {"axis": 1}, groups, shape)


def mean_variance(node: NodeContext) -> Collapsed | None:
    """Over the dimensions in `axes`, which need not be adjacent."""
    shape = node.shape()
    axes = [axis_of(axis, len(shape)) for axis in node.attributes.get("axes", [0, 2, 3])]
    groups = grouped(shape, lambda axis: axis in axes)
    reduced = [index for index, group in enumerate(groups) if group[0] in axes]
    inputs = [merged(node, node.value(0), shape, groups)]
    return collapsed(node, inputs, {"axes": reduced}, groups, shape) if reduced else None


def _row(node: NodeContext, index: int, shape: tuple[int, ...]) -> Value:
    """A scale or bias as a vector, unless it is computed in another shape, which is refused later."""
    value = node.elements(index)
    if isinstance(value, np.ndarray):
        return np.broadcast_to(value, shape).reshape(-1)
    return node.reshape(value, (int(np.prod(shape)),)) if node.shape(index) == shape else value


WAYS: dict[str, Callable[[NodeContext], Collapsed | None]] = {
    "BatchNormalization": channels_first,
    "InstanceNormalization": channels_first,
    "GroupNormalization": channels_first,
    "LayerNormalization": from_axis_on,
    "RMSNormalization": from_axis_on,
    "MeanVarianceNormalization": mean_variance,
}
