"""Lower ONNX operators that only move elements to MIL: Reshape, Transpose, Slice, Concat, Pad, Expand …"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, overload

import numpy as np

from .. import over_rank
from ..context import NodeContext
from ..groups import grouped
from ..refusals import Unsupported
from ..registry import lowers
from ..values import INT32_MAX, INT32_MIN, MAX_RANK, AnyRank, OverRank, Tensor, Value, Var, axis_of, shape_of
from ._common import axes_of, select


@lowers("Reshape")
def reshape(node: NodeContext) -> AnyRank:
    """The same elements in another shape; 0 keeps a dimension (unless allowzero), and one −1 is inferred."""
    shape = node.shape()
    wanted = node.attr("shape") if not node.has(1) else node.ints(1, "shape")
    keep_zero = bool(node.attr("allowzero", 0))
    sizes = [shape[i] if size == 0 and not keep_zero else int(size) for i, size in enumerate(wanted)]
    if -1 in sizes:
        known = int(np.prod([size for size in sizes if size != -1], dtype=np.int64))
        sizes[sizes.index(-1)] = int(np.prod(shape, dtype=np.int64)) // max(known, 1)
    return node.reshape_any_rank(node.elements(), sizes)


@lowers("Flatten")
def flatten(node: NodeContext) -> AnyRank:
    """Reshape to a matrix: dimensions before `axis` × the rest."""
    shape = node.shape()
    axis = node.attr("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    rows = int(np.prod(shape[:axis], dtype=np.int64))
    return node.reshape(node.elements(), (rows, int(np.prod(shape[axis:], dtype=np.int64))))


@lowers("Squeeze")
def squeeze(node: NodeContext) -> Value:
    """Drop dimensions of size 1: those in `axes`, or all."""
    shape = node.shape()
    ones = [axis for axis, size in enumerate(shape) if size == 1]
    axes = axes_of(node, rank=len(shape), index=1, default=ones) or []
    if any(shape[axis] != 1 for axis in axes):
        raise Unsupported(f"axes {axes} of shape {shape}, which are not all of size 1")
    if not axes:
        return node.value(0)
    x = node.elements()
    if isinstance(x, OverRank):
        return node.reshape_any_rank(x, [size for axis, size in enumerate(shape) if axis not in axes])
    return node.emit("squeeze", x=node.var(), axes=np.asarray(axes, np.int32))


@lowers("Unsqueeze")
def unsqueeze(node: NodeContext) -> Value:
    """Insert dimensions of size 1 at `axes` of the result."""
    raw = node.ints(1, "axes") if node.has(1) else node.attr("axes")
    rank = len(node.shape()) + len(raw)
    axes = sorted(axis_of(int(axis), rank) for axis in raw)
    if not axes:
        return node.value(0)
    if rank > MAX_RANK:
        sizes = iter(node.shape())
        return node.reshape_any_rank(node.elements(), [1 if axis in axes else next(sizes) for axis in range(rank)])
    return node.emit("expand_dims", x=node.var(), axes=np.asarray(axes, np.int32))


@lowers("Transpose")
def transpose(node: NodeContext) -> AnyRank:
    """Dimensions in another order; reversed by default."""
    rank = len(node.shape())
    return node.transpose(node.computed(node.elements()), list(node.attr("perm", list(range(rank))[::-1])))


@lowers("Concat")
def concat(node: NodeContext) -> Var:
    """Tensors concatenated along an axis; empty ones are dropped."""
    axis = axis_of(node.attr("axis", 1), len(node.shape()))
    values = [node.x(index) for index in range(len(node.inputs)) if 0 not in node.shape(index)]
    return join(node, values, axis)


def join(node: NodeContext, values: Sequence[Tensor], axis: int) -> Var:
    """Concatenate tensors; bools as integers, because MIL cannot concatenate bools."""
    variables = [node.as_var(value) for value in values]
    if len(variables) == 1:
        return variables[0]
    if node.dtype_of(variables[0]) == np.bool_:
        numbers = [node.cast(value, np.int32) for value in variables]
        return node.cast(node.emit("concat", values=numbers, axis=axis), np.bool_)
    return node.emit("concat", values=variables, axis=axis)


@lowers("Split")
def split(node: NodeContext) -> tuple[AnyRank, ...]:
    """Parts of a tensor along an axis: of given sizes, or of equal size with a smaller last one."""
    shape, count = node.shape(), len(node.outputs)
    axis = axis_of(node.attr("axis", 0), len(shape))
    sizes = node.ints(1, "split") if node.has(1) else node.attr("split")
    parts = node.attr("num_outputs", count)
    if sizes is None:
        each = -(-shape[axis] // parts)
        sizes = [each] * (parts - 1) + [shape[axis] - each * (parts - 1)]
    if sum(sizes) != shape[axis] or min(sizes) < 0:
        raise Unsupported(f"parts of {list(sizes)} of a dimension of {shape[axis]}")
    return split_tensor(node, node.elements(), axis, [int(size) for size in sizes])


@overload
def split_tensor(node: NodeContext, x: Tensor, axis: int, sizes: list[int]) -> tuple[Tensor, ...]: ...
@overload
def split_tensor(node: NodeContext, x: AnyRank, axis: int, sizes: list[int]) -> tuple[AnyRank, ...]: ...
def split_tensor(node: NodeContext, x: AnyRank, axis: int, sizes: list[int]) -> tuple[AnyRank, ...]:
    """Consecutive parts of a tensor along an axis; empty parts are constants."""
    shape = shape_of(x)
    shapes = [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]
    if isinstance(x, np.ndarray):
        return tuple(np.split(x, np.cumsum(sizes)[:-1], axis))
    dtype = node.dtype_of(x.var if isinstance(x, OverRank) else x)
    filled = [size for size in sizes if size]
    parts: Iterator[AnyRank]
    if len(filled) == 1:
        parts = iter([x])
    else:
        flat, along = (node.reshape(x, around(shape, axis)), 1) if isinstance(x, OverRank) else (x, axis)
        parts = iter(node.emit_all("split", x=flat, split_sizes=np.asarray(filled, np.int32), axis=along))
    return tuple(
        node.reshape_any_rank(next(parts), part) if size else np.zeros(part, dtype)
        for size, part in zip(sizes, shapes, strict=True)
    )


def around(shape: tuple[int, ...], axis: int) -> tuple[int, int, int]:
    """A shape merged to three dimensions: those before the axis, the axis, those after it."""
    before, after = (int(np.prod(part, dtype=np.int64)) for part in (shape[:axis], shape[axis + 1 :]))
    return before, shape[axis], after


@lowers("Slice", since=10)
def slice_by_inputs(node: NodeContext) -> Tensor:
    """Every step-th element from start to end, along some axes."""
    shape = node.shape()
    starts, ends = node.ints(1, "starts"), node.ints(2, "ends")
    axes = node.ints(3, "axes") if node.has(3) else list(range(len(starts)))
    steps = node.ints(4, "steps") if node.has(4) else [1] * len(starts)
    return slice_axes(node, node.x(), starts, ends, [axis_of(a, len(shape)) for a in axes], steps)


@lowers("Slice")
def slice_by_attributes(node: NodeContext) -> Tensor:
    """Before opset 10: constant bounds as attributes, steps of 1."""
    starts, ends = list(node.attr("starts")), list(node.attr("ends"))
    axes = [axis_of(a, len(node.shape())) for a in node.attr("axes", list(range(len(starts))))]
    return slice_axes(node, node.x(), starts, ends, axes, [1] * len(starts))


def slice_axes(
    node: NodeContext, x: Tensor, starts: list[int], ends: list[int], axes: list[int], steps: list[int]
) -> Tensor:
    """Slice as Python does; a negative step becomes a forward slice that is then reversed."""
    shape = shape_of(x)
    begin, end, stride, backward = [0] * len(shape), list(shape), [1] * len(shape), []
    for start, stop, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step == 0:
            raise Unsupported("a step of 0")
        picked = range(shape[axis])[_python_slice(start, stop, step, shape[axis])]
        if not len(picked):
            return _empty(node, x, starts, ends, axes, steps)
        forward = picked if step > 0 else picked[::-1]
        begin[axis], end[axis], stride[axis] = forward[0], forward[-1] + 1, abs(step)
        if step < 0 and len(picked) > 1:
            backward.append(axis)
    if (begin, end) != ([0] * len(shape), list(shape)) or any(s > 1 for s in stride):
        bounds = {"begin": begin, "end": end, "stride": stride}
        clipped = {key: np.asarray(np.clip(value, INT32_MIN, INT32_MAX), np.int32) for key, value in bounds.items()}
        x = node.emit("slice_by_index", x=node.as_var(x), **clipped)
    return node.emit("reverse", x=node.as_var(x), axes=np.asarray(backward, np.int32)) if backward else x


def _empty(
    node: NodeContext, x: Tensor, starts: list[int], ends: list[int], axes: list[int], steps: list[int]
) -> np.ndarray:
    """The result of an empty slice, which is constant."""
    sizes = list(shape_of(x))
    for start, stop, axis, step in zip(starts, ends, axes, steps, strict=True):
        sizes[axis] = len(range(sizes[axis])[_python_slice(start, stop, step, sizes[axis])])
    return np.zeros(sizes, node.dtype_of(x))


def _python_slice(start: int, stop: int, step: int, size: int) -> slice:
    """Convert ONNX's bounds to Python's: clamped; for a negative step, an end before the first element means all."""
    start = start + size if start < 0 else start
    stop = stop + size if stop < 0 else stop
    if step > 0:
        return slice(min(max(start, 0), size), min(max(stop, 0), size), step)
    start, stop = min(max(start, 0), size - 1), min(max(stop, -1), size - 1)
    return slice(start, None if stop < 0 else stop, step)


@lowers("Expand", since=8)
def expand(node: NodeContext) -> AnyRank:
    """Broadcast the tensor and a shape against each other."""
    x, wanted = node.elements(), np.broadcast_shapes(node.shape(), tuple(node.ints(1, "shape")))
    own = (1,) * (len(wanted) - len(shape_of(x))) + shape_of(x)
    return tiled(node, node.reshape_any_rank(x, own), [new // old for new, old in zip(wanted, own, strict=True)])


def tiled(node: NodeContext, x: AnyRank, reps: list[int]) -> AnyRank:
    """Repeat a tensor along each dimension."""
    if all(rep == 1 for rep in reps):
        return x
    if 0 in reps:
        raise Unsupported("an empty result")
    if isinstance(x, OverRank) or len(reps) > MAX_RANK:
        return _tiled_merged(node, x, reps)
    return node.emit("tile", x=node.as_var(x), reps=np.asarray(reps, np.int32))


def _tiled_merged(node: NodeContext, x: AnyRank, reps: list[int]) -> AnyRank:
    """Repeat a tensor of many dimensions: adjacent ones that are not repeated, or have size 1, move as one."""
    shape = shape_of(x)
    result = [size * rep for size, rep in zip(shape, reps, strict=True)]
    groups = grouped(result, lambda axis: reps[axis] == 1 or (axis if shape[axis] != 1 else "new"))
    if len(groups) > MAX_RANK:
        raise over_rank.refusal(OverRank(x.var if isinstance(x, OverRank) else x, tuple(result)))
    sizes, times = ([int(np.prod([of[axis] for axis in group])) for group in groups] for of in (shape, reps))
    flat = node.as_var(node.reshape(x, sizes))
    return node.reshape_any_rank(node.emit("tile", x=flat, reps=np.asarray(times, np.int32)), result)


@lowers("Tile")
def tile(node: NodeContext) -> AnyRank:
    """Repeat a tensor along each dimension."""
    return tiled(node, node.elements(), node.ints(1, "repeats"))


@lowers("Pad", since=11)
def pad(node: NodeContext) -> Tensor:
    """Elements around a tensor: constant, or its own edge elements, reflected or wrapped."""
    shape, pads = node.shape(), node.ints(1, "pads")
    axes = [axis_of(a, len(shape)) for a in node.ints(3, "axes")] if node.has(3) else list(range(len(shape)))
    value = node.const(2, "constant_value").reshape(-1)[0] if node.has(2) and node.const(2, "value").size else 0
    full = [(0, 0)] * len(shape)
    for axis, before, after in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        full[axis] = (before, after)
    return padded(node, node.x(), full, node.attr("mode", "constant"), value)


@lowers("Pad")
def pad_by_attributes(node: NodeContext) -> Tensor:
    """Before opset 11: pads and value are attributes."""
    pads = node.attr("pads") or node.attr("paddings")
    half = len(pads) // 2
    full = list(zip(pads[:half], pads[half:], strict=True))
    return padded(node, node.x(), full, node.attr("mode", "constant"), node.attr("value", 0.0))


def padded(node: NodeContext, x: Tensor, pads: list[tuple[int, int]], mode: str, value: float | np.generic) -> Tensor:
    """Pad by (before, after) per dimension; negative amounts crop."""
    if mode not in ("constant", "reflect", "edge", "wrap"):
        raise Unsupported(f"mode={mode!r}")
    shape = shape_of(x)
    kept = [(max(-before, 0), size - max(-after, 0)) for (before, after), size in zip(pads, shape, strict=True)]
    starts, ends = [start for start, _ in kept], [end for _, end in kept]
    x = slice_axes(node, x, starts, ends, list(range(len(shape))), [1] * len(shape))
    grow = [(max(before, 0), max(after, 0)) for before, after in pads]
    if not any(map(any, grow)):
        return x
    if mode == "constant":
        return _constant_pad(node, x, grow, value)
    for axis, amounts in enumerate(grow):
        if any(amounts):
            x = node.take(x, padded_indices(shape_of(x)[axis], amounts, mode), axis)
    return x


def _constant_pad(node: NodeContext, x: Tensor, grow: list[tuple[int, int]], value: float | np.generic) -> Tensor:
    dtype = node.dtype_of(x)
    if dtype.kind == "f":
        first = next(axis for axis, amounts in enumerate(grow) if any(amounts))
        flat = np.asarray(grow[first:], np.int32).reshape(-1)
        return node.emit("pad", x=node.as_var(x), pad=flat, mode="constant", constant_val=dtype.type(value))
    for axis, (before, after) in enumerate(grow):
        parts: list[Tensor] = [x]
        for amount, position in ((before, 0), (after, len(parts) + (1 if before else 0))):
            if amount:
                shape = [amount if i == axis else size for i, size in enumerate(shape_of(x))]
                parts.insert(position, np.full(shape, value, dtype))
        x = join(node, parts, axis)
    return x


def padded_indices(size: int, amounts: tuple[int, int], mode: str) -> np.ndarray:
    """The element of a dimension that each padded position repeats; `mode` is one of numpy's.

    >>> padded_indices(3, (2, 1), "reflect").tolist()
    [2, 1, 0, 1, 2, 1]
    """
    modes: dict[str, Literal["reflect", "edge", "wrap"]] = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}
    return np.pad(np.arange(size), amounts, mode=modes[mode])


@lowers("Trilu", since=14)
def trilu(node: NodeContext) -> Var:
    """The upper or lower triangle from the k-th diagonal on, zeros elsewhere."""
    shape = node.shape()
    k = int(node.const(1, "k").reshape(-1)[0]) if node.has(1) else 0
    ones = np.ones(shape[-2:], bool)
    kept = np.triu(ones, k) if node.attr("upper", 1) else np.tril(ones, k)
    x, zero = node.var(), np.zeros((), node.dtype())
    kept = kept.reshape((1,) * (len(shape) - 2) + kept.shape)
    if node.dtype() == np.bool_:
        return node.emit("logical_and", x=x, y=kept)
    return select(node, kept, x, zero)


@lowers("DepthToSpace")
def depth_to_space(node: NodeContext) -> Var:
    """Channels to pixels. The position in the block is the leading (DCR) or the trailing (CRD) part of the channel."""
    block, mode = node.attr("blocksize"), node.attr("mode", "DCR")
    if mode == "CRD":
        return node.emit("pixel_shuffle", x=node.var(), upscale_factor=block)
    return node.emit("depth_to_space", x=node.var(), block_size=block)


@lowers("SpaceToDepth")
def space_to_depth(node: NodeContext) -> Var:
    """Pixels to channels. The position in the block becomes the channel's leading (DCR) or trailing (CRD) part."""
    if node.attr("mode", "DCR") == "CRD":
        return node.emit("pixel_unshuffle", x=node.var(), downscale_factor=np.uint32(node.attr("blocksize")))
    return node.emit("space_to_depth", x=node.var(), block_size=node.attr("blocksize"))


@lowers("ReverseSequence", since=10)
def reverse_sequence(node: NodeContext) -> Var:
    """Reverse the first `length` elements of each sequence in a batch."""
    return node.emit(
        "reverse_sequence",
        x=node.var(),
        lengths=node.x(1),
        seq_axis=node.attr("time_axis", 0),
        batch_axis=node.attr("batch_axis", 1),
    )


@lowers("CumSum", since=11)
def cumsum(node: NodeContext) -> Var:
    """Running sums along an axis."""
    axis = axis_of(int(node.const(1, "axis").reshape(-1)[0]), len(node.shape()))
    exclusive, reverse = bool(node.attr("exclusive", 0)), bool(node.attr("reverse", 0))
    return node.emit("cumsum", x=node.var(), axis=axis, exclusive=exclusive, reverse=reverse)


@lowers("CenterCropPad", since=18)
def center_crop_pad(node: NodeContext) -> Tensor:
    """The centre of a tensor at another size: cropped where it is larger, padded with zeros where it is smaller."""
    shape, sizes = node.shape(), node.ints(1, "shape")
    axes = [axis_of(a, len(shape)) for a in node.attr("axes", list(range(len(shape))))]
    pads = [(0, 0)] * len(shape)
    for axis, size in zip(axes, sizes, strict=True):
        more = size - shape[axis]
        before = more // 2 if more > 0 else -(-more // 2)
        pads[axis] = (before, more - before)
    return padded(node, node.x(), pads, "constant", 0)
