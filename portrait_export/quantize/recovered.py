"""Recover the 8-bit integers of weights that a network stored quantized and that were decoded on the way.

A weight that was stored as integers lies on a grid: each of its channels is a whole multiple n of one step s, whatever
was folded into the channel's scale since. The step is searched, not read from the ONNX file, so that it does not
matter which rewrites the weight has been through:

    s = max|w| / k  for the smallest k ≤ 255 for which every w / s is a whole number up to the float type's precision

A channel that fits is then the same numbers in fewer bytes: w = s·(q − z) with q and z in -128..127.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..mil.encoded import Compression, EncodedWeight
from .channels import along_axis
from .layers import Weights

MIN_ELEMENTS = 256  # smaller weights stay floats: their scales would cost what they save
STEPS = 255  # between the smallest and the largest of 256 integers
_PROBED = 64  # elements that every step is tried on; the steps that fit them are tried on all
_ROUNDINGS = 2.0  # of w and of max|w|, in units of the float type's relative precision
# Largest error of a decoded weight, relative to the channel's largest: a quarter of a step of 8 bits. Scales below the
# normal range of half precision are coarser than that.
_TOLERANCE = 1 / 512


def recover(weights: Weights, *, ios18: bool) -> Compression:
    """Encode every weight that lies on a grid of 8-bit integers.

    Args:
        ios18: write the operator of iOS18; else that of iOS16.
    """
    encoded, left = {}, dict(weights.left)
    for name, layer in weights.layers.items():
        weight = weights.constants[name].numpy()
        found = _recovered(weight, layer.transposed, ios18=ios18)
        if isinstance(found, str):
            left[name] = found
        else:
            encoded[name] = found
    return Compression(encoded, left)


def _recovered(weight: np.ndarray, transposed: bool, *, ios18: bool) -> EncodedWeight | str:
    """The weight as integers, or the reason why it stays as it is."""
    if not np.isfinite(weight).all():
        return "it has values that are NaN or infinite"
    reason = "it is not on a grid of 8-bit integers"
    for axis in _axes(weight.ndim, transposed):
        grid = _grid(np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1))
        if grid is None:
            continue
        steps, numbers = grid
        stored = np.moveaxis(numbers.reshape(-1, *np.delete(weight.shape, axis)), 0, axis)
        found = _encoded(weight, steps, stored, axis, ios18=ios18)
        if found is not None:
            return found
        reason = "its steps are too small for scales in half precision"
    return reason


def _axes(rank: int, transposed: bool) -> Iterator[int]:
    """The axes that may have a scale per element, the output channels of a layer first."""
    order = [rank - 1, 0, 1] if transposed else [0, 1, rank - 1]
    yield from dict.fromkeys(order)


def _grid(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The step of each row and its multiples, int16; None unless every row is on a grid."""
    precision = _ROUNDINGS * float(np.finfo(rows.dtype).eps) / 2
    smallest = float(np.finfo(rows.dtype).smallest_subnormal) / 2  # rounding error below the normal range
    matrix = rows.astype(np.float64)
    steps, numbers = np.ones(len(matrix)), np.zeros(matrix.shape, np.int16)
    for index, row in enumerate(matrix):
        found = _step(row, precision, smallest)
        if found is None:
            return None
        steps[index], numbers[index] = found
    return steps, numbers


def _step(row: np.ndarray, precision: float, smallest: float) -> tuple[float, np.ndarray] | None:
    """The step of one row, fitted by least squares, and its multiples; None unless the row is on a grid."""
    top = float(np.abs(row).max())
    if top == 0:
        return 1.0, np.zeros(row.shape, np.int16)
    counts = np.arange(1.0, STEPS + 1)
    sample = row[:: max(1, len(row) // _PROBED)] / top
    for count in counts[_whole(counts[:, None] * sample, precision, counts[:, None] * smallest / top).all(axis=1)]:
        multiples = count * row / top
        if not _whole(multiples, precision, count * smallest / top).all():
            continue
        numbers = np.rint(multiples)
        if max(numbers.max(), 0) - min(numbers.min(), 0) <= STEPS:
            return float(row @ numbers / (numbers @ numbers)), numbers.astype(np.int16)
    return None


def _whole(values: np.ndarray, precision: float, least: np.ndarray | float) -> np.ndarray:
    """Whether each value is a whole number, up to relative and absolute rounding errors."""
    return np.abs(values - np.rint(values)) <= precision * np.abs(values) + least


def _encoded(
    weight: np.ndarray, steps: np.ndarray, numbers: np.ndarray, axis: int, *, ios18: bool
) -> EncodedWeight | None:
    """Multiples of steps along an axis as an operator stores them; None if a step has no precise half."""
    along = tuple(-1 if position == axis else 1 for position in range(weight.ndim))
    others = tuple(position for position in range(weight.ndim) if position != axis)
    low, high = numbers.min(axis=others, initial=0), numbers.max(axis=others, initial=0)
    zeros = np.where((low < -128) | (high > 127), -128 - low, 0).astype(np.int8)
    codes = (numbers + zeros.reshape(along)).astype(np.int8)
    scales = steps.astype(weight.dtype)
    wide = numbers.astype(np.float64) * scales.astype(np.float64).reshape(along)
    largest = np.abs(weight.astype(np.float64)).max(axis=others, keepdims=True)
    if not (np.abs(wide - weight) <= _TOLERANCE * largest).all():
        return None
    return along_axis(codes, zeros, scales, axis, wide.astype(weight.dtype), ios18=ios18)
