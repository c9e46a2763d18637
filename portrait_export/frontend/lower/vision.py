"""Lower ONNX operators on image patches to MIL: Col2Im, DeformConv."""

from __future__ import annotations

from itertools import product

import numpy as np

from ..context import NodeContext
from ..refusals import Unsupported
from ..registry import lowers
from ..values import Tensor, Var, shape_of
from ._common import require_float
from .conv import add_bias


@lowers("Col2Im", since=18)
def col2im(node: NodeContext) -> Var:
    """Sum overlapping patches into an image, by a transposed convolution that moves each element to its position."""
    require_float(node)
    image, block = node.ints(1, "image_shape"), node.ints(2, "block_shape")
    spatial, area = len(image), int(np.prod(block))
    dilations, strides = node.attr("dilations", [1] * spatial), node.attr("strides", [1] * spatial)
    pads = node.attr("pads", [0] * (2 * spatial))
    channels = node.shape()[1] // area
    padded = [size + pads[i] + pads[i + spatial] for i, size in enumerate(image)]
    reach = [(k - 1) * d + 1 for k, d in zip(block, dilations, strict=True)]
    counts = [(size - r) // s + 1 for size, r, s in zip(padded, reach, strides, strict=True)]
    if int(np.prod(counts)) != node.shape()[2] or spatial > 3:
        raise Unsupported(f"{node.shape()[2]} patches; {counts} fit into the image")
    x = node.reshape(node.var(0), (node.shape()[0], channels * area, *counts))
    place = np.tile(np.eye(area).reshape(area, 1, *block), (channels, *[1] * (spatial + 1)))
    full = [(n - 1) * s + r for n, s, r in zip(counts, strides, reach, strict=True)]
    cut = [(pads[i], full[i] - pads[i] - image[i]) for i in range(spatial)]
    result = node.emit(
        "conv_transpose",
        x=x,
        weight=place.astype(node.dtype()),
        strides=np.asarray(strides, np.int32),
        dilations=np.asarray(dilations, np.int32),
        pad_type="custom",
        pad=np.asarray([max(v, 0) for pair in cut for v in pair], np.int32),
        groups=np.int32(channels),
    )
    grown = [v for _, after in cut for v in (0, max(-after, 0))]
    if not any(grown):
        return result
    zero = node.float_scalar(0, x)
    return node.emit("pad", x=result, pad=np.asarray(grown, np.int32), mode="constant", constant_val=zero)


@lowers("DeformConv", since=19)
def deform_conv(node: NodeContext) -> Var:
    """A convolution of bilinear samples at positions shifted by offsets (and weighted by a mask), zeros outside.

    One resampling per kernel element, concatenated along the channels, then one 1×1 convolution.
    """
    require_float(node)
    x, weight, offset = node.var(0), node.const(1, "weight"), node.var(2)
    if len(node.shape()) != 4:
        raise Unsupported(f"on tensors of rank {len(node.shape())}")
    batch, channels = node.shape()[:2]
    groups, parts = node.attr("group", 1), node.attr("offset_group", 1)
    kernel = list(node.attr("kernel_shape", weight.shape[2:]))
    rows, columns = shape_of(offset)[2:]
    points = list(product(range(kernel[0]), range(kernel[1])))
    samples = []
    for part in range(parts):
        image = node.take(x, np.arange(channels // parts) + part * (channels // parts), 1)
        for index, point in enumerate(points):
            number = part * len(points) + index
            moved = node.take(offset, np.asarray([2 * number, 2 * number + 1]), 1)
            sample = _sampled(node, image, moved, _grid(node, point, rows, columns))
            if node.has(4):
                sample = node.emit("mul", x=sample, y=node.take(node.var(4), np.asarray([number]), 1))
            samples.append(sample)
    order = _channel_major(channels, parts, len(points))
    stacked = node.take(node.emit("concat", values=samples, axis=1) if len(samples) > 1 else samples[0], order, 1)
    flat = weight.reshape(weight.shape[0], -1, 1, 1)
    result = node.emit("conv", x=stacked, weight=np.ascontiguousarray(flat), groups=np.int32(groups), pad_type="valid")
    assert shape_of(result)[0] == batch
    return add_bias(node, result, node.x(3)) if node.has(3) else result


def _grid(node: NodeContext, point: tuple[int, int], rows: int, columns: int) -> np.ndarray:
    """The positions that a kernel element reads without offsets: (1, 2, rows, columns) of y and x, in pixels."""
    strides, dilations = node.attr("strides", [1, 1]), node.attr("dilations", [1, 1])
    pads = node.attr("pads", [0, 0, 0, 0])
    y = np.arange(rows) * strides[0] - pads[0] + point[0] * dilations[0]
    x = np.arange(columns) * strides[1] - pads[1] + point[1] * dilations[1]
    return np.stack(np.meshgrid(y, x, indexing="ij"))[None].astype(np.float32)


def _sampled(node: NodeContext, image: Tensor, moved: Tensor, grid: np.ndarray) -> Var:
    """The image at grid + offsets, (N, C, rows, columns)."""
    positions = node.emit("add", x=moved, y=grid.astype(node.dtype_of(moved)))
    flipped = node.take(positions, np.asarray([1, 0]), 1)  # ONNX has y first, MIL x
    return node.emit(
        "resample",
        x=image,
        coordinates=node.transpose(flipped, [0, 2, 3, 1]),
        sampling_mode="bilinear",
        padding_mode="constant",
        padding_value=node.float_scalar(0, image),
        coordinates_mode="unnormalized",
        align_corners=True,
    )


def _channel_major(channels: int, parts: int, points: int) -> np.ndarray:
    """Indices that reorder (part, kernel element, channel) to the weight's (part, channel, kernel element)."""
    each = channels // parts
    return np.arange(channels * points).reshape(parts, points, each).transpose(0, 2, 1).reshape(-1)
