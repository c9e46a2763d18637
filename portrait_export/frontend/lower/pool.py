"""Lower ONNX pooling to MIL: MaxPool, AveragePool, LpPool, Global…Pool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..context import Node, Unsupported, shape_of
from ..registry import lowers
from ._common import need_float, select
from .conv import window_pads


@dataclass(frozen=True)
class Window:
    """A sliding window, one number per spatial dimension.

    Attributes:
        kernel, strides, dilations: as in ONNX.
        before, after: padding that ONNX asks for.
        extra: further padding at the end, so that ceil_mode's last window fits. Never counted in an average.
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
        """MIL's order, extra padding included."""
        rows = [(b, a + e) for b, a, e in zip(self.before, self.after, self.extra, strict=True)]
        return np.asarray(rows, np.int32).reshape(-1)


def window_of(node: Node) -> Window:
    """The window of a pooling node over (N, C, …).

    With ceil_mode the output has ⌈·⌉ instead of ⌊·⌋ windows, without any that starts in the end padding.
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
    return Window(*(tuple(v) for v in (kernel, strides, dilations, before, after, extra, outs)))


@lowers("MaxPool")
def max_pool(node: Node) -> Any:
    """The largest element of each window; what lies outside never wins."""
    need_float(node)
    window, x = window_of(node), node.var()
    column_major = bool(node.attr("storage_order", 0))
    if node.wants(1):
        return _max_with_indices(node, x, window, column_major)
    if all(d == 1 for d in window.dilations) and len(window.outs) <= 3:
        return _pool(node, "max_pool", x, window)
    return _max_by_slices(node, x, window, None)[0]


def _max_with_indices(node: Node, x: Any, window: Window, column_major: bool) -> tuple[Any, Any]:
    """The maxima and where the first of each was, counted through the whole tensor (N, C, …)."""
    shape = shape_of(x)
    places = _flat_places(shape[2:], window, column_major)
    best, where = _max_by_slices(node, x, window, np.broadcast_to(places, (*shape[:2], *places.shape[2:])).copy())
    planes = np.arange(shape[0] * shape[1], dtype=np.int32) * int(np.prod(shape[2:]))
    first = planes.reshape(*shape[:2], *[1] * len(window.outs))
    return best, node.emit("add", x=node.as_var(where), y=first)


def _flat_places(sizes: tuple[int, ...], window: Window, column_major: bool) -> np.ndarray:
    """Index within a plane of each element of the padded input, (1, 1, …); nobody reads those of the padding."""
    weights = np.cumprod([1, *sizes[:-1]]) if column_major else np.cumprod([1, *sizes[:0:-1]])[::-1]
    flat = np.zeros((1, 1), np.int64)
    for size, weight, (before, after) in zip(sizes, weights, window.pads.reshape(-1, 2), strict=True):
        flat = flat[..., None] + weight * np.arange(-before, size + after)
    return flat.astype(np.int32)


def _max_by_slices(node: Node, x: Any, window: Window, where: Any) -> tuple[Any, Any]:
    """The largest element of each window, and of `where` the element at the same place (the first of several).

    MIL's pooling has no dilation and tells no places, but a maximum of slices does. A maximum over a box is one along
    each dimension in turn; beginning with the last one, the first of equals stays first.
    """
    dtype = node.dtype_of(x)
    if window.pads.any():
        x = node.emit("pad", x=x, pad=window.pads, mode="constant", constant_val=dtype.type(np.finfo(dtype).min))
    for dimension in range(len(window.outs))[::-1]:
        best, *others = _parts(node, x, window, dimension)
        place, *places = [None] * (len(others) + 1) if where is None else _parts(node, where, window, dimension)
        for value, its_place in zip(others, places, strict=True):
            if where is not None:
                place = select(node, node.emit("greater", x=value, y=best), its_place, place)
            best = node.emit("maximum", x=best, y=value)
        x, where = best, place
    return x, where


def _parts(node: Node, value: Any, window: Window, dimension: int) -> list[Any]:
    """What each element of the kernel meets along one spatial dimension, for every position of the window."""
    axis, step, shape = dimension + 2, window.strides[dimension], list(shape_of(value))
    span = (window.outs[dimension] - 1) * step + 1
    parts = []
    for element in range(window.kernel[dimension]):
        start = element * window.dilations[dimension]
        if isinstance(value, np.ndarray):
            parts.append(np.ascontiguousarray(np.take(value, np.arange(start, start + span, step), axis)))
            continue
        begin, end, stride = [0] * len(shape), list(shape), [1] * len(shape)
        begin[axis], end[axis], stride[axis] = start, start + span, step
        bounds = {"begin": begin, "end": end, "stride": stride}
        parts.append(node.emit("slice_by_index", x=value, **{k: np.asarray(v, np.int32) for k, v in bounds.items()}))
    return parts


def _pool(node: Node, op: str, x: Any, window: Window, **more: Any) -> Any:
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
def average_pool(node: Node) -> Any:
    """The mean of each window: over all of it, or (by default) over what is not padding."""
    need_float(node)
    window, include = window_of(node), bool(node.attr("count_include_pad", 0))
    x, plain = node.var(), not any(window.extra) and all(d == 1 for d in window.dilations)
    padded = any(window.before) or any(window.after)
    if plain and (not padded or include):
        return _pool(node, "avg_pool", x, window, exclude_padding_from_average=False)
    if all(d == 1 for d in window.dilations) and not include:
        return _pool(node, "avg_pool", x, window, exclude_padding_from_average=True)
    if include and any(window.extra):
        raise Unsupported(
            "count_include_pad with ceil_mode and a window beyond the padding; ONNX's versions disagree on it"
        )
    total = _window_sum(node, x, window)
    return node.emit("mul", x=total, y=_inverse_counts(node, window, include).astype(node.dtype()))


def _window_sum(node: Node, x: Any, window: Window) -> Any:
    """Σ of each window: a convolution of every channel with ones."""
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


def _inverse_counts(node: Node, window: Window, include: bool) -> np.ndarray:
    """1 / how many elements each window counts, (1, 1, …outs)."""
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
def lp_pool(node: Node) -> Any:
    """(Σ |x|ᵖ)^(1/p) of each window."""
    need_float(node)
    window, x, p = window_of(node), node.var(), float(node.attr("p", 2))
    powered = _power(node, x, p)
    total = _window_sum(node, powered, window)
    return _root(node, total, p)


def _power(node: Node, x: Any, p: float) -> Any:
    if p == 2:
        return node.emit("square", x=x)
    size = node.emit("abs", x=x)
    return size if p == 1 else node.emit("pow", x=size, y=node.float_scalar(p, x))


def _root(node: Node, x: Any, p: float) -> Any:
    if p == 1:
        return x
    if p == 2:
        return node.emit("sqrt", x=x)
    return node.emit("pow", x=x, y=node.float_scalar(1 / p, x))


@lowers("GlobalAveragePool", "GlobalMaxPool")
def global_pool(node: Node) -> Any:
    """The mean or maximum of each channel."""
    need_float(node)
    op = "reduce_mean" if node.op_type == "GlobalAveragePool" else "reduce_max"
    return node.emit(op, x=node.var(), axes=_spatial_axes(node), keep_dims=True)


@lowers("GlobalLpPool")
def global_lp_pool(node: Node) -> Any:
    """(Σ |x|ᵖ)^(1/p) of each channel."""
    need_float(node)
    p = float(node.attr("p", 2))
    total = node.emit("reduce_sum", x=_power(node, node.var(), p), axes=_spatial_axes(node), keep_dims=True)
    return _root(node, total, p)


def _spatial_axes(node: Node) -> np.ndarray:
    return np.arange(2, len(node.shape()), dtype=np.int32)


@lowers("MaxUnpool", since=9)
def max_unpool(node: Node) -> Any:
    """Each value back to where MaxPool found it (flat indices), zeros elsewhere."""
    need_float(node)
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
        raise Unsupported(f"output_shape {wanted} where the indices count in {inferred}")
    flat = int(np.prod(wanted))
    data = node.as_var(np.zeros(flat, node.dtype()))
    indices = node.reshape(node.x(1), (int(np.prod(shape)),))
    values = node.reshape(node.var(0), (int(np.prod(shape)),))
    scattered = node.emit("scatter_along_axis", data=data, indices=indices, updates=values, axis=0, mode="update")
    return node.reshape(scattered, wanted)
