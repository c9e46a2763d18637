"""Gather and scatter: read and write elements by index.

Negative indices count from the end; with `validate_indices` (iOS17) they are an error. So are indices outside the axis.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import ExecutionError
from ..limits import claim
from ..registry import kernel
from .tensor_transformation import axis_of


def _checked(indices: Tensor, side: int, validate: bool = False) -> Tensor:
    """Convert indices to 0..side−1. With `validate` negative indices are an error."""
    index = indices.long()
    if index.numel():
        low, high = int(index.min()), int(index.max())
        if low < (0 if validate else -side) or high >= side:
            raise ExecutionError(f"index {high if high >= side else low} is outside an axis of {side}")
        if low < 0:
            index = torch.where(index < 0, index + side, index)
    return index


@kernel("gather", exact=True)
def gather(x: Tensor, indices: Tensor, axis: int = 0, batch_dims: int = 0, validate_indices: bool = False) -> Tensor:
    """Slices of x along an axis: D[:axis] + N[batch_dims:] + D[axis+1:]."""
    where = axis_of(axis, x.ndim)
    if not 0 <= batch_dims <= min(where, indices.ndim):
        raise ExecutionError(f"batch_dims {batch_dims} is not between 0 and axis {where}")
    index = _checked(indices, x.shape[where], validate_indices)
    claim([*x.shape[:where], *indices.shape[batch_dims:], *x.shape[where + 1 :]])
    if batch_dims == 0:
        flat = x.index_select(where, index.reshape(-1))
        return flat.reshape([*x.shape[:where], *indices.shape, *x.shape[where + 1 :]])
    if x.shape[:batch_dims] != indices.shape[:batch_dims]:
        raise ExecutionError(
            f"the first {batch_dims} sides of x {list(x.shape)} and indices {list(indices.shape)} differ"
        )
    inner = indices.shape[batch_dims:]
    values, rows = x.flatten(0, batch_dims - 1), index.flatten(0, batch_dims - 1)
    picked = [gather(one, row, where - batch_dims) for one, row in zip(values, rows, strict=True)]
    shape = [*x.shape[:where], *inner, *x.shape[where + 1 :]]
    return torch.stack(picked).reshape(shape) if picked else x.new_zeros(shape)


@kernel("gather_along_axis", exact=True)
def gather_along_axis(x: Tensor, indices: Tensor, axis: int = 0, validate_indices: bool = False) -> Tensor:
    """out[…, i, …] = x[…, indices[…, i, …], …]; the result has the indices' shape."""
    where = axis_of(axis, x.ndim)
    return torch.gather(x, where, _checked(indices, x.shape[where], validate_indices))


@kernel("gather_nd", exact=True)
def gather_nd(x: Tensor, indices: Tensor, batch_dims: int = 0, validate_indices: bool = False) -> Tensor:
    """out[i…] = x[indices[i…]]; the last axis of indices holds the position in x, after `batch_dims` shared axes."""
    depth = indices.shape[-1]
    if batch_dims + depth > x.ndim or x.shape[:batch_dims] != indices.shape[:batch_dims]:
        raise ExecutionError(
            f"indices {list(indices.shape)} do not match x {list(x.shape)} with {batch_dims} batch axes"
        )
    claim([*indices.shape[:-1], *x.shape[batch_dims + depth :]])
    return x[_places(indices, x, batch_dims, validate_indices)]


def _places(indices: Tensor, x: Tensor, batch_dims: int = 0, validate: bool = False) -> tuple[Tensor, ...]:
    """Index tensors, one per indexed axis, that broadcast to indices.shape[:-1]."""
    depth = indices.shape[-1]
    if depth > x.ndim:
        raise ExecutionError(f"indices of depth {depth} do not match {x.ndim} dimensions")
    lead = []
    for axis in range(batch_dims):
        shape = [1] * (indices.ndim - 1)
        shape[axis] = x.shape[axis]
        lead.append(torch.arange(x.shape[axis], device=x.device).reshape(shape).expand(indices.shape[:-1]))
    own = [_checked(indices[..., i], x.shape[batch_dims + i], validate) for i in range(depth)]
    return (*lead, *own)


# ---------------------------------------------------------------------------------------------------------------------
# Scatter. Positions are converted to indices into the flattened data; each mode is then one operation on vectors.

_REDUCE = {"mul": "prod", "max": "amax", "min": "amin"}
MODES = ("update", "add", "sub", "mul", "div", "max", "min")


def _scatter_flat(data: Tensor, index: Tensor, updates: Tensor, mode: str) -> Tensor:
    """data: (M,), index and updates: (U,). Updates of the same element combine; for `update` the last one wins."""
    if mode == "update":
        places, position = _last_wins(index, data.shape[0])
        return data.index_put((places,), updates[position])
    if mode in ("add", "sub"):
        return data.index_add(0, index, updates if mode == "add" else -updates)
    if mode == "div":
        if not data.dtype.is_floating_point:
            raise ExecutionError("mode div needs float values")
        return data.scatter_reduce(0, index, 1.0 / updates, "prod", include_self=True)
    return data.scatter_reduce(0, index, updates, _REDUCE[mode], include_self=True)


def _last_wins(index: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The distinct values of `index`, and where each occurs last. (torch's index_put leaves the order undefined.)"""
    position = torch.full((size,), -1, dtype=torch.long, device=index.device)
    order = torch.arange(index.numel(), device=index.device)
    position = position.scatter_reduce(0, index, order, "amax", include_self=True)
    places = torch.nonzero(position >= 0).flatten()
    return places, position[places]


def _numbers(data: Tensor) -> Tensor:
    return torch.arange(data.numel(), device=data.device).reshape(data.shape)


def _apply(data: Tensor, index: Tensor, updates: Tensor, mode: str) -> Tensor:
    """Combine updates into data. `index` has the shape of `updates` and holds indices into the flattened data."""
    if mode not in MODES:
        raise ExecutionError(f"mode {mode!r} is not one of {', '.join(MODES)}")
    if index.shape != updates.shape:
        raise ExecutionError(f"updates have shape {list(updates.shape)}; {list(index.shape)} is needed")
    return _scatter_flat(data.flatten(), index.flatten(), updates.flatten(), mode).reshape(data.shape)


@kernel("scatter")
def scatter(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool = False,
) -> Tensor:
    """A copy of data where the slices at indices (C,) along an axis are combined with those of updates."""
    where = axis_of(axis, data.ndim)
    index = _checked(indices, data.shape[where], validate_indices)
    numbers = _numbers(data).index_select(where, index.flatten())
    shape = [*data.shape[:where], *index.shape, *data.shape[where + 1 :]]
    return _apply(data, numbers.reshape(shape), updates, mode)


@kernel("scatter_along_axis")
def scatter_along_axis(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool = False,
) -> Tensor:
    """A copy of data where out[…, indices[…, i, …], …] is combined with updates[…, i, …]."""
    where = axis_of(axis, data.ndim)
    index = _checked(indices, data.shape[where], validate_indices)
    return _apply(data, torch.gather(_numbers(data), where, index), updates, mode)


@kernel("scatter_nd")
def scatter_nd(
    data: Tensor, indices: Tensor, updates: Tensor, mode: str = "add", validate_indices: bool = False
) -> Tensor:
    """A copy of data where the slice data[indices[i…]] is combined with updates[i…]."""
    return _apply(data, _numbers(data)[_places(indices, data, 0, validate_indices)], updates, mode)
