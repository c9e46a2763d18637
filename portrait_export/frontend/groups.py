"""Merge adjacent dimensions of a node's inputs.

The node can then be lowered in the five dimensions that Core ML has."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .values import MAX_RANK, OverRank, TensorSequence, Value

if TYPE_CHECKING:
    from .context import NodeContext
    from .values import Result


@dataclass(frozen=True)
class Collapsed:
    """A node in fewer dimensions.

    Attributes:
        node: to be lowered instead.
        shape: of each result in ONNX.
    """

    node: NodeContext
    shape: tuple[int, ...]

    def restored(self, result: Result) -> Result:
        """The results in the shape that ONNX gives them."""
        values = list(result) if isinstance(result, Sequence) else [result]
        return [self.node.reshape_any_rank(value, self.shape) for value in values]  # type: ignore[arg-type]  # tensors


def alone(axis: int, rank: int) -> list[list[int]]:
    """One dimension alone; all before it as one, and all behind it."""
    return [list(range(axis)), [axis], list(range(axis + 1, rank))]


def merged_around(shape: Sequence[int], changed: Sequence[int]) -> list[list[int]]:
    """Each changed dimension alone; adjacent others as one, without those of size 1."""
    groups: list[list[int]] = []
    joinable = False
    for axis, size in enumerate(shape):
        if axis in changed:
            groups.append([axis])
            joinable = False
        elif size != 1 and joinable:
            groups[-1].append(axis)
        elif size != 1:
            groups.append([axis])
            joinable = True
    return groups


def grouped(shape: Sequence[int], alike: Callable[[int], Hashable]) -> list[list[int]]:
    """Group adjacent dimensions for which `alike` is the same; those of size 1 are dropped."""
    groups: list[list[int]] = []
    for axis in (axis for axis, size in enumerate(shape) if size != 1):
        if groups and alike(groups[-1][-1]) == alike(axis):
            groups[-1].append(axis)
        else:
            groups.append([axis])
    return groups


def merged(
    node: NodeContext, value: Value | None, shape: Sequence[int], groups: Sequence[Sequence[int]]
) -> Value | None:
    """A value with each group of its dimensions as one; a single element keeps its rank where that is small."""
    if value is None or isinstance(value, TensorSequence):
        return value
    if isinstance(value, np.ndarray | np.generic) and np.size(value) == 1:
        return np.asarray(value).reshape(())
    if len(groups) > MAX_RANK:
        return value
    sizes = [int(np.prod([shape[axis] for axis in group], dtype=np.int64)) for group in groups]
    result: Value = node.reshape_any_rank(value, sizes or [1])
    return result


def collapsed(
    node: NodeContext,
    inputs: Sequence[Value | None],
    attributes: Mapping[str, object],
    groups: Sequence[Sequence[int]],
    shape: tuple[int, ...],
) -> Collapsed | None:
    if len(groups) > MAX_RANK or any(isinstance(value, OverRank) for value in inputs):
        return None
    return Collapsed(replace(node, inputs=tuple(inputs), attributes={**node.attributes, **attributes}), shape)
