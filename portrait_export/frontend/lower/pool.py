"""Lower ONNX pooling to MIL: MaxPool, AveragePool, LpPool, Global…Pool."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..context import NodeContext
from ..refusals import Unsupported
from ..registry import lowers
from ..values import Tensor, Var, shape_of
from ._common import require_float, select
from .conv import window_pads


@dataclass(frozen=True)
class PoolWindow:
    """A sliding window, one number per spatial dimension.

    Attributes:
        kernel, strides, dilations: as in ONNX.
        before, after: the padding that the node specifies.
        extra: additional padding at the end, for the last window in ceil_mode. Never counted in an average.
        outs: output sizes.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    extra: tuple[int, ...]
    outs: tuple[int, ...]

    @property
    def pads(self) -> np.ndarray:
        """The padding in MIL's order, including the extra padding."""
        rows = [(b, a + e) for b, a, e in zip(self.before, self.after, self.extra, strict=True)]
        return np.asarray(rows, np.int32).reshape(-1)


def window_of(node: NodeContext) -> PoolWindow:
    """The window of a pooling node over (N, C, …).

    With ceil_mode the number of windows is rounded up instead of down, but none starts in the padding at the end.
    """
    sizes = node.shape()[2:]
    kernel = [int(k) for k in node.attr("kernel_shape")]
    strides = [int(s) for s in node.attr("strides", [1] * len(sizes))]
    dilations = [int(d) for d in node.attr("dilations", [1] * len(sizes))]
    if node.attr("auto_pad", "NOTSET").startswith("SAME") and any(d > 1 for d in dilations):
        raise Unsupported("auto_pad with dilations; ONNX's implementations disagree on it")
    pads = window_pads(node, sizes, kernel, strides, dilations)
    before, after = pads[::2], pads[1::2]
    if min(pads) < 0:
        raise Unsupported(f"negative pads {pads}")
    ceil = bool(node.attr("ceil_mode", 0)) and node.attr("auto_pad", "NOTSET") == "NOTSET"
    outs, extra = [], []
    for size, k, s, d, b, a in zip(sizes, kernel, strides, dilations, before, after, strict=True):
        room = size + b + a - ((k - 1) * d + 1)
        if room < 0:
            raise Unsupported(f"a window of {(k - 1) * d + 1} over {size + b + a} elements")
        if room % s and node.attr("ceil_mode", 0) and not ceil:
            raise Unsupported("auto_pad with ceil_mode; ONNX's implementations disagree on it")
        out = -(-room // s) + 1 if ceil else room // s + 1
        if ceil and (out - 1) * s >= size + b:
            out -= 1
        outs.append(out)
        extra.append(max((out - 1) * s - room, 0))
    return PoolWindow(*(tuple(v) for v in (kernel, strides, dilations, before, after, extra, outs)))


@lowers("MaxPool")
def max_pool(node: NodeContext) -> Tensor | tuple[Tensor, Tensor]:
    """The maximum of each window; padding is never the maximum."""
    require_float(node)
    window, x = window_of(node), node.var()
    column_major = bool(node.attr("storage_order", 0))
    if node.wants(1):
        return _max_with_indices(node, x, window, column_major)
    if all(d == 1 for d in window.dilations) and len(window.outs) <= 3:
        return _pool(node, "max_pool", x, window)
    return _max_by_slices(node, x, window, None)[0]


def _max_with_indices(node: NodeContext, x: Var, window: PoolWindow, column_major: bool) -> tuple[Tensor, Var]:
    """The maxima, and the flat index of the first of each in the whole tensor (N, C, …)."""
    shape = shape_of(x)
    indices = _flat_indices(shape[2:], window, column_major)
    best, where = _max_by_slices(node, x, window, np.broadcast_to(indices, (*shape[:2], *indices.shape[2:])).copy())
    assert where is not None
    planes = np.arange(shape[0] * shape[1], dtype=np.int32) * int(np.prod(shape[2:]))
    first = planes.reshape(*shape[:2], *[1] * len(window.outs))
    return best, node.emit("add", x=node.as_var(where), y=first)


def _flat_indices(sizes: tuple[int, ...], window: PoolWindow, column_major: bool) -> np.ndarray:
    """The index within a plane of each element of the padded input, (1, 1, …); those of the padding are unused."""
    weights = np.cumprod([1, *sizes[:-1]]) if column_major else np.cumprod([1, *sizes[:0:-1]])[::-1]
    flat = np.zeros((1, 1), np.int64)
    for size, weight, (before, after) in zip(sizes, weights, window.pads.reshape(-1, 2), strict=True):
        flat = flat[..., None] + weight * np.arange(-before, size + after)
    return flat.astype(np.int32)


def _max_by_slices(
    node: NodeContext, x: Tensor, window: PoolWindow, where: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """The maximum of each window, and the element of `where` at its position (at the first of several maxima).

    MIL's pooling has no dilation and returns no indices, but a maximum of slices can do both. The maximum over a box is
    taken along one dimension at a time; starting with the last one, the first of equal maxima stays the first.
    """
    dtype = node.dtype_of(x)
    if window.pads.any():
        x = node.emit("pad", x=x, pad=window.pads, mode="constant", constant_val=dtype.type(np.finfo(dtype).min))
    for dimension in range(len(window.outs))[::-1]:
        values = _slices(node, x, window, dimension)
        indices = None if where is None else _slices(node, where, window, dimension)
        x, where = values[0], None if indices is None else indices[0]
        for position, value in enumerate(values[1:], start=1):
            if indices is not None and where is not None:
                where = select(node, node.emit("greater", x=value, y=x), indices[position], where)
            x = node.emit("maximum", x=x, y=value)
    return x, where


def _slices(node: NodeContext, value: Tensor, window: PoolWindow, dimension: int) -> list[Tensor]:
    """For each kernel element along one spatial dimension, the values under it at every position of the window."""
    axis, step, shape = dimension + 2, window.strides[dimension], list(shape_of(value))
    span = (window.outs[dimension] - 1) * step + 1
    slices: list[Tensor] = []
    for element in range(window.kernel[dimension]):
        start = element * window.dilations[dimension]
        if isinstance(value, np.ndarray):
            slices.append(np.ascontiguousarray(np.take(value, np.arange(start, start + span, step), axis)))
            continue
        begin, end, stride = [0] * len(shape), list(shape), [1] * len(shape)
        begin[axis], end[axis], stride[axis] = start, start + span, step
        bounds = {"begin": begin, "end": end, "stride": stride}
        slices.append(node.emit("slice_by_index", x=value, **{k: np.asarray(v, np.int32) for k, v in bounds.items()}))
    return slices


def _pool(node: NodeContext, op: str, x: Tensor, window: PoolWindow, **more: bool) -> Var:
    return node.emit(
        op,
        x=x,
        kernel_sizes=np.asarray(window.kernel, np.int32),
        strides=np.asarray(window.strides, np.int32),
        pad_type="custom",
        pad=window.pads,
        **more,
    )


@lowers("AveragePool")
def average_pool(node: NodeContext) -> Var:
    """The mean of each window: with its padding, or (by default) without."""
    require_float(node)
    window, include = window_of(node), bool(node.attr("count_include_pad", 0))
    x, plain = node.var(), not any(window.extra) and all(d == 1 for d in window.dilations)
    padded = any(window.before) or any(window.after)
    if plain and (not padded or include):
        return _pool(node, "avg_pool", x, window, exclude_padding_from_average=False)
    if all(d == 1 for d in window.dilations) and not include:
        return _pool(node, "avg_pool", x, window, exclude_padding_from_average=True)
    if include and any(window.extra):
        raise Unsupported(
            "count_include_pad with ceil_mode and a window beyond the padding; ONNX's implementations disagree on it"
        )
    total = _window_sum(node, x, window)
    return node.emit("mul", x=total, y=_inverse_counts(node, window, include).astype(node.dtype()))


def _window_sum(node: NodeContext, x: Tensor, window: PoolWindow) -> Var:
    """The sum of each window: a convolution of each channel with ones."""
    channels = shape_of(x)[1]
    return node.emit(
        "conv",
        x=x,
        weight=np.ones((channels, 1, *window.kernel), node.dtype_of(x)),
        strides=np.asarray(window.strides, np.int32),
        pad_type="custom",
        pad=window.pads,
        dilations=np.asarray(window.dilations, np.int32),
        groups=np.int32(channels),
    )


def _inverse_counts(node: NodeContext, window: PoolWindow, include: bool) -> np.ndarray:
    """1 / the number of elements that each window counts, (1, 1, …outs)."""
    counts = np.ones((1, 1))
    rows = zip(
        node.shape()[2:],
        window.kernel,
        window.strides,
        window.dilations,
        window.before,
        window.after,
        window.outs,
        strict=True,
    )
    for size, k, s, d, before, after, out in rows:
        positions = np.arange(out)[:, None] * s - before + np.arange(k)[None] * d
        low, high = (-before, size + after) if include else (0, size)
        along = ((positions >= low) & (positions < high)).sum(1)
        counts = counts[..., None] * along
    return 1.0 / counts


@lowers("LpPool")
def lp_pool(node: NodeContext) -> Var:
    """(Σ |x|ᵖ)^(1/p) of each window."""
    require_float(node)
    window, x, p = window_of(node), node.var(), float(node.attr("p", 2))
    powered = _power(node, x, p)
    total = _window_sum(node, powered, window)
    return _root(node, total, p)


def _power(node: NodeContext, x: Tensor, p: float) -> Var:
    if p == 2:
        return node.emit("square", x=x)
    size = node.emit("abs", x=x)
    return size if p == 1 else node.emit("pow", x=size, y=node.float_scalar(p, x))


def _root(node: NodeContext, x: Var, p: float) -> Var:
    if p == 1:
        return x
    if p == 2:
        return node.emit("sqrt", x=x)
    return node.emit("pow", x=x, y=node.float_scalar(1 / p, x))


@lowers("GlobalAveragePool", "GlobalMaxPool")
def global_pool(node: NodeContext) -> Var:
    """The mean or maximum of each channel."""
    require_float(node)
    op = "reduce_mean" if node.op_type == "GlobalAveragePool" else "reduce_max"
    return node.emit(op, x=node.var(), axes=_spatial_axes(node), keep_dims=True)


@lowers("GlobalLpPool")
def global_lp_pool(node: NodeContext) -> Var:
    """(Σ |x|ᵖ)^(1/p) of each channel."""
    require_float(node)
    p = float(node.attr("p", 2))
    total = node.emit("reduce_sum", x=_power(node, node.var(), p), axes=_spatial_axes(node), keep_dims=True)
    return _root(node, total, p)


def _spatial_axes(node: NodeContext) -> np.ndarray:
    return np.arange(2, len(node.shape()), dtype=np.int32)


@lowers("MaxUnpool", since=9)
def max_unpool(node: NodeContext) -> Var:
    """Each value at the flat index where MaxPool found it, zeros elsewhere."""
    require_float(node)
    shape = node.shape()
    spatial = len(shape) - 2
    kernel = node.attr("kernel_shape")
    strides, pads = node.attr("strides", [1] * spatial), node.attr("pads", [0] * (2 * spatial))
    inferred = [
        (size - 1) * s - pads[i] - pads[i + spatial] + k
        for i, (size, s, k) in enumerate(zip(shape[2:], strides, kernel, strict=True))
    ]
    wanted = node.ints(2, "output_shape") if node.has(2) else [*shape[:2], *inferred]
    if wanted != [*shape[:2], *inferred]:
        raise Unsupported(f"output_shape {wanted}, while the indices are for {inferred}")
    flat = int(np.prod(wanted))
    data = node.as_var(np.zeros(flat, node.dtype()))
    indices = node.reshape(node.x(1), (int(np.prod(shape)),))
    values = node.reshape(node.var(0), (int(np.prod(shape)),))
    scattered = node.emit("scatter_along_axis", data=data, indices=indices, updates=values, axis=0, mode="update")
    return node.reshape(scattered, wanted)
