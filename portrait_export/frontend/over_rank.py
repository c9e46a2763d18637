"""Transpose tensors that have more dimensions than Core ML supports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .refusals import Unsupported
from .values import MAX_RANK, AnyRank, OverRank, Tensor

if TYPE_CHECKING:
    from .context import NodeContext


def refusal(value: OverRank) -> Unsupported:
    """The error of an operation that needs a tensor Core ML supports."""
    return Unsupported(f"a tensor of rank {len(value.shape)} {value.shape}; Core ML supports at most {MAX_RANK}")


def transpose(node: NodeContext, value: OverRank, perm: Sequence[int]) -> AnyRank:
    """Transpose in fewer dimensions: adjacent ones that stay adjacent move as one, and those of size 1 are dropped."""
    moved = [axis for axis in perm if value.shape[axis] != 1]
    groups: list[list[int]] = []
    for axis in moved:
        if groups and _next_of(groups[-1][-1], value.shape) == axis:
            groups[-1].append(axis)
        else:
            groups.append([axis])
    source = sorted(groups)
    sizes = [int(np.prod([value.shape[axis] for axis in group])) for group in source]
    order = [source.index(group) for group in groups]
    if len(sizes) > MAX_RANK:
        result = _transpose_stepwise(node, value.var, sizes, order)
    else:
        result = node.transpose(node.reshape(value.var, sizes), order)
    return node.reshape_any_rank(result, [value.shape[axis] for axis in perm])


def _transpose_stepwise(node: NodeContext, x: Tensor, sizes: list[int], order: list[int]) -> AnyRank:
    """Move one dimension after the other to its position: each step swaps two adjacent blocks, in rank 4."""
    current = list(range(len(sizes)))
    result: AnyRank = x
    for position, wanted in enumerate(order):
        found = current.index(wanted)
        if found == position:
            continue
        parts = current[:position], current[position:found], current[found : found + 1], current[found + 1 :]
        blocks = [int(np.prod([sizes[axis] for axis in part])) for part in parts]
        result = node.transpose(node.reshape(result, blocks), [0, 2, 1, 3])
        current = [*parts[0], *parts[2], *parts[1], *parts[3]]
    return result


def _next_of(axis: int, shape: tuple[int, ...]) -> int:
    """The next dimension whose size is not 1, -1 if there is none."""
    return next((later for later in range(axis + 1, len(shape)) if shape[later] != 1), -1)
