"""Compute, for one axis, the matrix of a resize and the convolution that reads it: what each tap reads from where.

Along one axis a resize is a matrix R (resized, size). Tap a of a convolution with stride s, dilation d and padding p
reads, for output i, the resized element s·i + d·a − p, or 0 where there is none. So the tap reads M_a·x with

    M_a[i, :] = R[s·i + d·a − p, :]    or zeros beyond the border

and resize, shift and zero padding are one matrix M (out, taps, size). It is banded: a tile of outputs needs only a
short window of x, and only that is multiplied.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto

from ..onnx.check import make_session, run_session
from ..onnx.graph import Graph, Node

# Elements of a tile's matrix: few enough that it multiplies few zeros, and that no recipe takes it for a weight.
MAX_ELEMENTS = 2048


@dataclass(frozen=True)
class TapWindow:
    """The taps of a convolution along one axis of an image.

    Attributes:
        taps: size of the kernel.
        stride, dilation: of the convolution.
        before, after: zeros that it puts around the image.
    """

    taps: int
    stride: int
    dilation: int
    before: int
    after: int


@dataclass(frozen=True)
class Tile:
    """Neighbouring outputs of one axis and what they are made from.

    Attributes:
        start, end: the window of inputs, end exclusive.
        matrix: (outputs, taps · window), float32.
    """

    start: int
    end: int
    matrix: np.ndarray


def windows(graph: Graph, conv: Node) -> tuple[TapWindow, TapWindow] | None:
    """A 2D convolution's taps along H and W; None for a convolution of something else than images."""
    kernel, image, out = graph.shape(conv.input(1)), graph.shape(conv.input(0)), graph.shape(conv.output)
    if kernel is None or image is None or out is None or len(kernel) != 4:
        return None
    strides, dilations = (list(conv.attrs.get(name, [1, 1])) for name in ("strides", "dilations"))
    pads = list(conv.attrs.get("pads", [0, 0, 0, 0]))
    automatic = conv.attrs.get("auto_pad", "NOTSET")
    found = []
    for axis in (0, 1):
        taps, stride, dilation = kernel[2 + axis], strides[axis], dilations[axis]
        before, after = pads[axis], pads[2 + axis]
        if automatic != "NOTSET":
            missing = (out[2 + axis] - 1) * stride + dilation * (taps - 1) + 1 - image[2 + axis]
            total = 0 if automatic == "VALID" else max(missing, 0)
            before = (total + (automatic == "SAME_LOWER")) // 2
            after = total - before
        found.append(TapWindow(taps, stride, dilation, before, after))
    return found[0], found[1]


def resize_one_axis(graph: Graph, resize: Node, value: str, axis: int, *, name: str) -> str | None:
    """A resize along H (axis 2) or W (axis 3) alone, of an image of any channels; None where it cannot be split.

    It is one half of `resize`: every mode that resizes an image does H and W independently of one another.
    """
    small, large = graph.shape(value), graph.shape(resize.output)
    scales = graph.constant(resize.input(2)) if resize.input(2) else None
    sizes = graph.constant(resize.input(3)) if resize.input(3) else None
    if small is None or large is None or "axes" in resize.attrs or resize.input(1):
        return None
    shape = tuple(large[index] if index == axis else size for index, size in enumerate(small))
    if sizes is not None and sizes.size == 4:
        inputs = [value, "", "", graph.add_constant(np.asarray(shape, np.int64), name=f"{name}.sizes")]
    elif scales is not None and scales.size == 4:
        alone = np.where(np.arange(4) == axis, scales, 1).astype(np.float32)
        inputs = [value, "", graph.add_constant(alone, name=f"{name}.scales")]
    else:
        return None
    return graph.add_node("Resize", inputs, name=name, shape=shape, attrs=dict(resize.attrs))


def resize_matrix(graph: Graph, resize: Node, axis: int) -> np.ndarray | None:
    """The (resized, size) float32 matrix of a resize along H (axis 2) or W (axis 3); None where it has none of its own.

    It is what ONNX Runtime makes of the unit vectors, so that its rounding of coordinates is the reference's own.
    """
    shape, large = graph.shape(resize.input(0)), graph.shape(resize.output)
    if shape is None or large is None:
        return None
    size = shape[axis]
    image = [1, size, 1, 1]
    image[axis] = size
    twin = graph.copy()
    twin.declare("units", image, TensorProto.FLOAT)
    value = resize_one_axis(twin, resize, "units", axis, name="alone")
    if value is None:
        return None
    alone = twin.maker(value)
    assert alone is not None  # just made
    stored = [(name, twin.constant(name)) for name in alone.inputs[1:] if name]
    node = onnx.helper.make_node("Resize", alone.inputs, ["y"], **alone.attrs)
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [node],
            "resize",
            [onnx.helper.make_tensor_value_info("units", TensorProto.FLOAT, image)],
            [onnx.helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in stored],
        ),
        opset_imports=[onnx.helper.make_opsetid("", graph.opset)],
        ir_version=8,
    )
    units = np.eye(size, dtype=np.float32).reshape(image)
    resized = run_session(make_session(model, optimize=False), {"units": units})["y"]
    return resized.reshape(size, large[axis]).T


def tap_matrix(resized: np.ndarray, window: TapWindow) -> np.ndarray:
    """M (out, taps, size) of a resize's matrix and the taps that read it, see above."""
    padded = np.pad(resized, ((window.before, window.after), (0, 0)))
    reach = window.dilation * (window.taps - 1)
    outputs = np.arange(0, len(padded) - reach, window.stride)
    taps = window.dilation * np.arange(window.taps)
    return padded[outputs[:, None] + taps].astype(np.float32)


def tiles(matrix: np.ndarray) -> list[Tile]:
    """M cut into as few tiles of outputs as keep each tile's own matrix within MAX_ELEMENTS."""
    outputs = len(matrix)
    for count in range(1, outputs + 1):
        size = math.ceil(outputs / count)
        cut = [_tile(matrix[start : start + size]) for start in range(0, outputs, size)]
        if max(tile.matrix.size for tile in cut) <= MAX_ELEMENTS or size == 1:
            break
    return cut


def _tile(rows: np.ndarray) -> Tile:
    read = np.flatnonzero(rows.any(axis=(0, 1)))
    start, end = (int(read[0]), int(read[-1]) + 1) if read.size else (0, 1)
    return Tile(start, end, rows[:, :, start:end].reshape(len(rows), -1))


def whole_tap(matrix: np.ndarray) -> int | None:
    """A tap inside the image for every output, so that a constant it reads stays unchanged; None if there is none."""
    sums = matrix.sum(axis=2)  # (out, taps)
    inside = np.abs(sums - 1).max(axis=0) < 1e-5
    return int(inside.argmax()) if inside.any() else None
