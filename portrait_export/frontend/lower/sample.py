"""Lower ONNX sampling at computed positions to MIL: GridSample, RoiAlign."""

from __future__ import annotations

from itertools import product
from typing import TypeAlias

import numpy as np

from ..context import NodeContext
from ..refusals import Unsupported
from ..registry import lowers
from ..values import Tensor, Var, shape_of
from ._common import combine, require_float, select

MODES = {"bilinear": "linear", "linear": "linear", "nearest": "nearest", "bicubic": "cubic", "cubic": "cubic"}
PADDINGS = ("zeros", "border", "reflection")
CUBIC = -0.75  # ONNX's coefficient of the cubic kernel; R. Keys, 1981
MARGIN = 3  # elements beyond the border; from here on no kernel reaches the input
Tap: TypeAlias = tuple[Tensor, Tensor | None]  # index and weight of an element that a sample reads; None means 1


@lowers("GridSample", since=16)
def grid_sample(node: NodeContext) -> Var:
    """Sample an image or a volume at given positions, where its sides span −1..1."""
    require_float(node)
    mode, padding = node.attr("mode", "bilinear"), node.attr("padding_mode", "zeros")
    align, spatial = bool(node.attr("align_corners", 0)), len(node.shape()) - 2
    if mode not in MODES or padding not in PADDINGS or (MODES[mode] == "cubic" and spatial != 2):
        raise Unsupported(f"mode={mode!r}, padding_mode={padding!r} on rank {len(node.shape())}")
    if spatial == 2 and MODES[mode] != "cubic":
        return _resampled(node, MODES[mode], padding, align)
    return _gathered(node, MODES[mode], padding, align)


def _resampled(node: NodeContext, mode: str, padding: str, align: bool) -> Var:
    """By MIL's own operation, which supports images but no cubic kernel."""
    reflection = "reflection" if align else "symmetric"
    return node.emit(
        "resample",
        x=node.var(0),
        coordinates=node.x(1),
        sampling_mode="bilinear" if mode == "linear" else mode,
        padding_mode={"zeros": "constant", "border": "border", "reflection": reflection}[padding],
        padding_value=node.float_scalar(0, node.x()),
        coordinates_mode="normalized_minus_one_to_one",
        align_corners=align,
    )


def _gathered(node: NodeContext, mode: str, padding: str, align: bool) -> Var:
    """Σ weight · x[index] over the kernel's elements. The grid holds the last dimension's coordinate first."""
    batch, channels, *sizes = node.shape()
    grid, outs = node.var(1), node.shape(1)[1:-1]
    points = node.reshape(grid, (batch, int(np.prod(outs)), len(sizes)))
    taps = []
    for dimension, size in enumerate(sizes):
        column = node.take(points, np.asarray([len(sizes) - 1 - dimension]), 2)
        position = _in_elements(node, node.reshape(column, shape_of(points)[:2]), size, align)
        taps.append(_taps(node, position, size, mode, padding, align))
    flat = node.reshape(node.var(0), (batch, channels, int(np.prod(sizes))))
    terms = [_term(node, flat, sizes, combination) for combination in product(*taps)]
    total = combine(node, terms, lambda a, b: node.emit("add", x=a, y=b))
    return node.reshape(total, (batch, channels, *outs))


def _in_elements(node: NodeContext, position: Tensor, size: int, align: bool) -> Var:
    """Convert −1..1 to an index: between the outer centres if corners are aligned, else between the edges."""
    half = (size - 1) / 2 if align else size / 2
    scaled = node.emit("mul", x=position, y=node.float_scalar(half, position))
    return node.emit("add", x=scaled, y=node.float_scalar((size - 1) / 2, position))


def _taps(node: NodeContext, position: Tensor, size: int, mode: str, padding: str, align: bool) -> list[Tap]:
    """Indices (N, P) int32 and weights (N, P) along one dimension."""
    if padding != "reflection":  # farther out the result does not change, and the index must fit its type
        low, high = (node.float_scalar(v, position) for v in (-MARGIN, size - 1 + MARGIN))
        position = node.emit("minimum", x=node.emit("maximum", x=position, y=low), y=high)
    if mode == "nearest":
        return [_padded(node, node.emit("round", x=position), None, size, padding, align)]
    floor = node.emit("floor", x=position)
    after = node.emit("sub", x=position, y=floor)
    before = node.emit("sub", x=node.float_scalar(1, position), y=after)
    if mode == "linear":
        weights = {0: before, 1: after}
    else:
        near, far = (lambda t: _cubic_near(node, t)), (lambda t: _cubic_far(node, t))
        weights = {-1: far(after), 0: near(after), 1: near(before), 2: far(before)}
    return [
        _padded(node, node.emit("add", x=floor, y=node.float_scalar(step, position)), weight, size, padding, align)
        for step, weight in weights.items()
    ]


def _cubic_near(node: NodeContext, t: Tensor) -> Var:
    """Keys' kernel at distance t ≤ 1: ((a + 2)·t − (a + 3))·t² + 1."""
    scalar = lambda value: node.float_scalar(value, t)  # noqa: E731  three short uses in one formula
    line = node.emit("add", x=node.emit("mul", x=t, y=scalar(CUBIC + 2)), y=scalar(-CUBIC - 3))
    return node.emit("add", x=node.emit("mul", x=line, y=node.emit("square", x=t)), y=scalar(1))


def _cubic_far(node: NodeContext, t: Tensor) -> Var:
    """Keys' kernel at distance d = 1 + t: a·t·(t − 1)² = ((a·d − 5a)·d + 8a)·d − 4a."""
    less = node.emit("square", x=node.emit("sub", x=t, y=node.float_scalar(1, t)))
    return node.emit("mul", x=node.emit("mul", x=t, y=node.float_scalar(CUBIC, t)), y=less)


def _padded(node: NodeContext, index: Var, weight: Var | None, size: int, padding: str, align: bool) -> Tap:
    """A valid index for a whole number, and its weight: 0 outside if the padding is zeros."""
    where = node.cast(index, np.int32)
    if padding == "reflection":
        return _reflected(node, where, size, align), weight
    inside = node.emit("minimum", x=node.emit("maximum", x=where, y=np.int32(0)), y=np.int32(size - 1))
    if padding == "border":
        return inside, weight
    kept = node.cast(node.emit("equal", x=where, y=inside), node.dtype_of(index))
    return inside, kept if weight is None else node.emit("mul", x=weight, y=kept)


def _reflected(node: NodeContext, where: Tensor, size: int, align: bool) -> Var:
    """Reflect at the centres of the outer elements if corners are aligned, else at their edges."""
    period = 2 * (size - 1) if align else 2 * size
    if size == 1:
        return node.emit("mul", x=where, y=np.int32(0))
    wrapped = node.emit("mod", x=where, y=np.int32(period))
    mirrored = node.emit("sub", x=np.int32(period if align else period - 1), y=wrapped)
    return node.emit("minimum", x=wrapped, y=mirrored)


def _term(node: NodeContext, flat: Tensor, sizes: list[int], combination: tuple[Tap, ...]) -> Var:
    """weight · x[index] for one element per dimension, (N, C, P)."""
    index, weight = combination[0]
    for size, (more, factor) in zip(sizes[1:], combination[1:], strict=True):
        index = node.emit("add", x=node.emit("mul", x=index, y=np.int32(size)), y=more)
        weight = factor if weight is None or factor is None else node.emit("mul", x=weight, y=factor)
    batch, count = shape_of(index)
    if batch == 1:
        taken = node.emit("gather", x=flat, indices=node.reshape(index, (count,)), axis=2)
    else:
        taken = node.emit("gather", x=flat, indices=index, axis=2, batch_dims=np.int32(1))
    return taken if weight is None else node.emit("mul", x=taken, y=node.reshape(weight, (batch, 1, count)))


@lowers("RoiAlign", since=16)
def roi_align(node: NodeContext) -> Var:
    """The mean of bilinear samples in each bin of each region, as two matrices of weights per region."""
    return _roi_align(node, half_pixel=node.attr("coordinate_transformation_mode", "half_pixel") == "half_pixel")


@lowers("RoiAlign", since=10)
def roi_align_10(node: NodeContext) -> Var:
    """Before opset 16: regions are not shifted by half an element."""
    return _roi_align(node, half_pixel=False)


def _roi_align(node: NodeContext, *, half_pixel: bool) -> Var:
    require_float(node)
    if node.attr("mode", "avg") != "avg":
        raise Unsupported("mode='max'; ONNX's implementations disagree on it")
    ratio, scale = node.attr("sampling_ratio", 0), node.attr("spatial_scale", 1.0)
    if ratio < 1:
        raise Unsupported("sampling_ratio=0, where the number of samples depends on each region's size; set it to 2")
    outs = node.attr("output_height", 1), node.attr("output_width", 1)
    x, rois, shape = node.var(0), node.var(1), node.shape()
    count = node.shape(1)[0]
    if shape[0] > 1:
        x = node.emit("gather", x=x, indices=node.x(2), axis=0)
    sampled = (node, rois, ratio, scale, half_pixel)
    rows, columns = _bin_weights(*sampled, 1, shape[2], outs[0]), _bin_weights(*sampled, 0, shape[3], outs[1])
    left = node.emit("matmul", x=node.reshape(rows, (count, 1, outs[0], shape[2])), y=x)
    return node.emit("matmul", x=left, y=node.reshape(columns, (count, 1, outs[1], shape[3])), transpose_y=True)


def _bin_weights(
    node: NodeContext, rois: Tensor, ratio: int, scale: float, half_pixel: bool, first: int, size: int, out: int
) -> Var:
    """The weight of each element of a dimension in each bin, (regions, out, size).

    A sample at p has the weight max(0, 1 − |clip(p, 0, size − 1) − i|) at i, and 0 if p < −1 or p > size.
    """
    scalar = lambda value: node.float_scalar(value, rois)  # noqa: E731  many short uses
    start, end = (
        node.emit("mul", x=node.take(rois, np.asarray([column]), 1), y=scalar(scale)) for column in (first, first + 2)
    )
    extent = node.emit("sub", x=end, y=start)
    if half_pixel:
        start = node.emit("sub", x=start, y=scalar(0.5))
    else:
        extent = node.emit("maximum", x=extent, y=scalar(1))
    steps = ((np.arange(out * ratio) + 0.5) / (out * ratio)).astype(node.dtype_of(rois))[None]
    position = node.emit("add", x=node.emit("mul", x=extent, y=steps), y=start)
    inside = node.emit(
        "logical_and",
        x=node.emit("greater_equal", x=position, y=scalar(-1)),
        y=node.emit("less_equal", x=position, y=scalar(size)),
    )
    clipped = node.emit("minimum", x=node.emit("maximum", x=position, y=scalar(0)), y=scalar(size - 1))
    wide = node.reshape(clipped, (*shape_of(clipped), 1))
    ramp = np.arange(size, dtype=node.dtype_of(rois)).reshape(1, 1, size)
    distance = node.emit("abs", x=node.emit("sub", x=wide, y=ramp))
    hat = node.emit("relu", x=node.emit("sub", x=scalar(1), y=distance))
    hat = select(node, node.reshape(inside, shape_of(wide)), hat, scalar(0))
    parts = node.reshape(hat, (shape_of(rois)[0], out, ratio, size))
    return node.emit("reduce_mean", x=parts, axes=np.asarray([2], np.int32), keep_dims=False)
