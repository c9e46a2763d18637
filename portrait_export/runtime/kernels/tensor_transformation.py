"""Rearrange elements: reshape, transpose, slice, split, pad, tile, space to depth."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import ExecutionError
from ..limits import claim
from ..registry import kernel


def axis_of(axis: int, rank: int) -> int:
    """Convert a possibly negative axis to 0..rank−1. Raises ExecutionError if it is outside."""
    if not -rank <= axis < rank:
        raise ExecutionError(f"axis {axis} is outside {rank} dimensions")
    return axis % rank


@kernel("reshape", exact=True)
def reshape(x: Tensor, shape: list[int]) -> Tensor:
    """Change the shape. A 0 keeps the side of x at that position, counted from the end; one −1 is inferred."""
    if 0 in shape and 0 not in x.shape:
        extra = len(shape) - x.ndim
        shape = [side or (x.shape[i - extra] if i >= extra else 1) for i, side in enumerate(shape)]
    return x.reshape(shape)


@kernel("reshape_like", exact=True)
def reshape_like(
    x: Tensor, ref_tensors: list[Tensor], begins: list[int], ends: list[int], end_masks: list[bool]
) -> Tensor:
    """Reshape to the concatenated slices shape_i[begin_i : end_i] of the reference tensors' shapes."""
    shape: list[int] = []
    for reference, begin, end, masked in zip(ref_tensors, begins, ends, end_masks, strict=True):
        shape += list(reference.shape[begin:] if masked else reference.shape[begin:end])
    return x.reshape(shape)


@kernel("flatten2d", exact=True)
def flatten2d(x: Tensor, axis: int = 1) -> Tensor:
    """Flatten to (∏ sides before the axis, ∏ sides from the axis on)."""
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@kernel("transpose", exact=True)
def transpose(x: Tensor, perm: list[int]) -> Tensor:
    """Permute the axes."""
    return x.permute(perm)


@kernel("expand_dims", exact=True)
def expand_dims(x: Tensor, axes: list[int]) -> Tensor:
    """Insert sides of 1 at these axes of the result."""
    for axis in sorted(axis_of(a, x.ndim + len(axes)) for a in axes):
        x = x.unsqueeze(axis)
    return x


@kernel("squeeze", exact=True)
def squeeze(x: Tensor, axes: list[int] | None = None) -> Tensor:
    """Remove these sides of 1; None removes all of them."""
    over = [i for i, side in enumerate(x.shape) if side == 1] if axes is None else [axis_of(a, x.ndim) for a in axes]
    wrong = [axis for axis in over if x.shape[axis] != 1]
    if wrong:
        raise ExecutionError(f"axes {wrong} of shape {list(x.shape)} are not 1")
    return x.reshape([side for i, side in enumerate(x.shape) if i not in over])


@kernel("reverse", exact=True)
def reverse(x: Tensor, axes: list[int] | None = None) -> Tensor:
    """Reverse these axes; None reverses all."""
    return torch.flip(x, list(range(x.ndim)) if axes is None else axes)


@kernel("reverse_sequence", exact=True)
def reverse_sequence(x: Tensor, lengths: Tensor, seq_axis: int = 0, batch_axis: int = 0) -> Tensor:
    """Reverse the first lengths[i] steps of batch element i."""
    sequence, batch = axis_of(seq_axis, x.ndim), axis_of(batch_axis, x.ndim)
    steps = torch.arange(x.shape[sequence], device=x.device)
    limits = lengths.long().reshape(-1, 1)
    index = torch.where(steps < limits, limits - 1 - steps, steps)  # (batch, sequence)
    if sequence == batch:
        raise ExecutionError("seq_axis and batch_axis are the same")
    shape = [1] * x.ndim
    shape[sequence], shape[batch] = x.shape[sequence], x.shape[batch]
    index = index.reshape(shape) if batch < sequence else index.transpose(0, 1).reshape(shape)
    return torch.gather(x, sequence, index.expand(x.shape))


# ---------------------------------------------------------------------------------------------------------------------
# Slices


def slices(
    shape: Sequence[int],
    begin: Sequence[int],
    end: Sequence[int],
    stride: Sequence[int] | None,
    begin_mask: Sequence[bool] | None,
    end_mask: Sequence[bool] | None,
    squeeze_mask: Sequence[bool] | None,
) -> list[range]:
    """The indices that numpy's x[begin:end:stride] selects on each axis; a squeezed axis selects only begin."""
    rank = len(shape)
    for name, values in (("begin", begin), ("end", end), ("stride", stride)):
        if values is not None and len(values) != rank:
            raise ExecutionError(f"{name} has {len(values)} numbers for {rank} dimensions")
    taken = []
    for i, side in enumerate(shape):
        step = stride[i] if stride is not None else 1
        if step == 0:
            raise ExecutionError(f"the stride on axis {i} is 0")
        if squeeze_mask is not None and squeeze_mask[i]:
            start = begin[i] if not (begin_mask is not None and begin_mask[i]) else 0
            start = axis_of(start, side)
            taken.append(range(start, start + 1))
            continue
        first = None if begin_mask is not None and begin_mask[i] else begin[i]
        last = None if end_mask is not None and end_mask[i] else end[i]
        taken.append(range(*slice(first, last, step).indices(side)))
    return taken


def _take(x: Tensor, taken: Sequence[range]) -> Tensor:
    for axis, indices in enumerate(taken):
        if len(indices) == x.shape[axis] and indices.step == 1:
            continue
        if indices.step > 0:
            x = x[(slice(None),) * axis + (slice(indices.start, indices.stop, indices.step),)]
        else:
            x = x.index_select(axis, torch.tensor(list(indices), dtype=torch.long, device=x.device))
    return x


def _without(x: Tensor, squeeze_mask: Sequence[bool] | None) -> Tensor:
    if squeeze_mask is None or not any(squeeze_mask):
        return x
    return x.reshape([side for side, gone in zip(x.shape, squeeze_mask, strict=True) if not gone])


@kernel("slice_by_index", exact=True)
def slice_by_index(
    x: Tensor,
    begin: list[int],
    end: list[int],
    stride: list[int] | None = None,
    begin_mask: list[bool] | None = None,
    end_mask: list[bool] | None = None,
    squeeze_mask: list[bool] | None = None,
) -> Tensor:
    """x[begin:end:stride] on every axis. Masked bounds are ignored; squeezed axes are removed."""
    return _without(_take(x, slices(x.shape, begin, end, stride, begin_mask, end_mask, squeeze_mask)), squeeze_mask)


@kernel("slice_update", exact=True)
def slice_update(
    x: Tensor,
    update: Tensor,
    begin: list[int],
    end: list[int],
    stride: list[int] | None = None,
    begin_mask: list[bool] | None = None,
    end_mask: list[bool] | None = None,
    squeeze_mask: list[bool] | None = None,
) -> Tensor:
    """A copy of x where the slice that `slice_by_index` selects is replaced by `update`."""
    taken = slices(x.shape, begin, end, stride, begin_mask, end_mask, squeeze_mask)
    index = torch.meshgrid(
        *(torch.tensor(list(indices), dtype=torch.long, device=x.device) for indices in taken), indexing="ij"
    )
    result = x.clone()
    result[index] = update.expand(_without(result[index], squeeze_mask).shape).reshape(result[index].shape)
    return result


@kernel("slice_by_size", exact=True)
def slice_by_size(x: Tensor, begin: list[int], size: list[int]) -> Tensor:
    """x[begin : begin + size] on every axis; size −1 is the rest of the axis."""
    if len(begin) != x.ndim or len(size) != x.ndim:
        raise ExecutionError(f"begin and size have {len(begin)} and {len(size)} numbers for {x.ndim} dimensions")
    for axis, (start, length) in enumerate(zip(begin, size, strict=True)):
        start = start + x.shape[axis] if start < 0 else start
        length = x.shape[axis] - start if length == -1 else length
        if start < 0 or length < 0 or start + length > x.shape[axis]:
            raise ExecutionError(f"{start}..{start + length} is outside axis {axis} of {x.shape[axis]}")
        x = x.narrow(axis, start, length)
    return x


@kernel("split", exact=True)
def split(
    x: Tensor, axis: int, num_splits: int | None = None, split_sizes: list[int] | None = None
) -> tuple[Tensor, ...]:
    """Split an axis into equal parts, or into parts of the given sizes."""
    side = x.shape[axis_of(axis, x.ndim)]
    if split_sizes is None:
        if not num_splits or num_splits < 0 or side % num_splits:
            raise ExecutionError(f"an axis of {side} does not divide into {num_splits} equal parts")
        split_sizes = [side // num_splits] * num_splits
    return tuple(torch.split(x, split_sizes, axis))


@kernel("concat", exact=True)
def concat(values: list[Tensor], axis: int, interleave: bool = False) -> Tensor:
    """Concatenate along an axis, or interleave element by element. Scalars become a vector."""
    values = [value.reshape(1) if value.ndim == 0 else value for value in values]
    if interleave:
        return torch.stack(values, axis_of(axis, values[0].ndim) + 1).flatten(*_pair(axis, values[0].ndim))
    return torch.cat(values, axis)


def _pair(axis: int, rank: int) -> tuple[int, int]:
    first = axis_of(axis, rank)
    return first, first + 1


@kernel("stack", exact=True)
def stack(values: list[Tensor], axis: int) -> Tensor:
    """Stack along a new axis."""
    return torch.stack(values, axis)


@kernel("sliding_windows", exact=True)
def sliding_windows(x: Tensor, axis: int, size: int, stride: int = 1) -> Tensor:
    """All windows of `size` along an axis: (…, (side − size)//stride + 1, size, …)."""
    where = axis_of(axis, x.ndim)
    if size < 1 or stride < 1 or size > x.shape[where]:
        raise ExecutionError(f"windows of {size} with stride {stride} do not fit in an axis of {x.shape[where]}")
    windows = x.unfold(where, size, stride)  # the window is the last axis
    claim(windows.shape)
    return windows.movedim(-1, where + 1)


# ---------------------------------------------------------------------------------------------------------------------
# Padding and tiling

_PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "replicate"}


@kernel("pad", exact=True)
def pad(x: Tensor, pad: list[int], mode: str = "constant", constant_val: float = 0.0) -> Tensor:
    """Pad the last len(pad)/2 axes before and after: with a constant, by reflection, or with the border element."""
    if mode not in _PAD_MODES:
        raise ExecutionError(f"mode {mode!r} is not constant, reflect or replicate")
    if len(pad) % 2 or len(pad) > 2 * x.ndim or min(pad, default=0) < 0:
        raise ExecutionError(f"pad {pad} does not match {x.ndim} dimensions")
    first = x.ndim - len(pad) // 2
    pairs = [(pad[2 * i], pad[2 * i + 1]) for i in range(len(pad) // 2)]
    wanted = [*x.shape[:first], *(side + a + b for side, (a, b) in zip(x.shape[first:], pairs, strict=True))]
    claim(wanted)
    if mode == "constant":
        flat = [side for pair in reversed(pairs) for side in pair]
        return F.pad(x, flat, value=constant_val if x.dtype.is_floating_point else int(constant_val))
    for axis, (before, after) in enumerate(pairs, start=first):  # torch's pad takes at most three axes
        if before or after:
            x = x.index_select(axis, _mirror(x.shape[axis], before, after, mode).to(x.device))
    return x


def _mirror(side: int, before: int, after: int, mode: str) -> Tensor:
    """The source index of each element of a padded axis."""
    places = torch.arange(-before, side + after)
    if side == 0:
        raise ExecutionError("an empty axis cannot be padded")
    if mode == "replicate" or side == 1:
        if mode == "reflect":
            raise ExecutionError("an axis of 1 cannot be reflected")
        return places.clamp(0, side - 1)
    if max(before, after) >= side:
        raise ExecutionError(f"an axis of {side} cannot be reflected for {max(before, after)} elements")
    places = places.abs()
    return torch.where(places >= side, 2 * (side - 1) - places, places)


@kernel("tile", exact=True)
def tile(x: Tensor, reps: list[int]) -> Tensor:
    """Repeat x reps[i] times along axis i."""
    if len(reps) != x.ndim or min(reps, default=1) < 0:
        raise ExecutionError(f"reps {reps} do not match {x.ndim} dimensions")
    claim(side * times for side, times in zip(x.shape, reps, strict=True))
    return x.repeat(reps)


# ---------------------------------------------------------------------------------------------------------------------
# Channels ↔ space ↔ batch


def _blocks(x: Tensor, size: int) -> None:
    if x.ndim != 4 or size < 1:
        raise ExecutionError(
            f"x has {x.ndim} dimensions and the block size is {size}; 4 dimensions and a size of at least 1 are needed"
        )


@kernel("depth_to_space", exact=True)
def depth_to_space(x: Tensor, block_size: int) -> Tensor:
    """(N, b·b·C, H, W) → (N, C, H·b, W·b); the input channels are ordered (block row, block column, channel)."""
    _blocks(x, block_size)
    n, c, h, w = x.shape
    inner = c // (block_size * block_size)
    parts = x.reshape(n, block_size, block_size, inner, h, w)
    return parts.permute(0, 3, 4, 1, 5, 2).reshape(n, inner, h * block_size, w * block_size)


@kernel("space_to_depth", exact=True)
def space_to_depth(x: Tensor, block_size: int) -> Tensor:
    """(N, C, H·b, W·b) → (N, b·b·C, H, W); the inverse of depth_to_space."""
    _blocks(x, block_size)
    n, c, h, w = x.shape
    parts = x.reshape(n, c, h // block_size, block_size, w // block_size, block_size)
    return parts.permute(0, 3, 5, 1, 2, 4).reshape(n, -1, h // block_size, w // block_size)


@kernel("pixel_shuffle", exact=True)
def pixel_shuffle(x: Tensor, upscale_factor: int) -> Tensor:
    """(N, C·r·r, H, W) → (N, C, H·r, W·r), like torch's PixelShuffle: ordered (channel, block row, block column)."""
    _blocks(x, upscale_factor)
    return F.pixel_shuffle(x, upscale_factor)


@kernel("pixel_unshuffle", exact=True)
def pixel_unshuffle(x: Tensor, downscale_factor: int) -> Tensor:
    """(N, C, H·r, W·r) → (N, C·r·r, H, W), like torch's PixelUnshuffle."""
    _blocks(x, downscale_factor)
    return F.pixel_unshuffle(x, downscale_factor)


@kernel("space_to_batch", exact=True)
def space_to_batch(x: Tensor, block_shape: list[int], paddings: list[int]) -> Tensor:
    """Zero-pad H and W, divide them into blocks, and move the position in the block to the batch axis."""
    _blocks(x, min(block_shape))
    (top, bottom, left, right), (by, bx) = paddings, block_shape
    claim([*x.shape[:2], x.shape[2] + top + bottom, x.shape[3] + left + right])
    padded = F.pad(x, [left, right, top, bottom])
    n, c, h, w = padded.shape
    parts = padded.reshape(n, c, h // by, by, w // bx, bx)
    return parts.permute(3, 5, 0, 1, 2, 4).reshape(n * by * bx, c, h // by, w // bx)


@kernel("batch_to_space", exact=True)
def batch_to_space(x: Tensor, block_shape: list[int], crops: list[int]) -> Tensor:
    """The inverse of space_to_batch; `crops` removes its padding."""
    _blocks(x, min(block_shape))
    (top, bottom, left, right), (by, bx) = crops, block_shape
    n, c, h, w = x.shape
    parts = x.reshape(by, bx, n // (by * bx), c, h, w)
    whole = parts.permute(2, 3, 4, 0, 5, 1).reshape(n // (by * bx), c, h * by, w * bx)
    return whole.narrow(2, top, h * by - top - bottom).narrow(3, left, w * bx - left - right)
