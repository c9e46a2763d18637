"""Store a weight as 8-bit integers, symmetric, with one scale per output channel.

For each output channel c of a weight W:  s_c = max|W_c| / 127;  Q_c = round(W_c / s_c);  W'_c = s_c · Q_c

The scale is then fitted to the integers, and some of a channel's values are rounded to the other side, so that
W'_c - W_c has a sum near zero (mil/balanced.py), or the layer's output changes least (rounding.py).
"""

from __future__ import annotations

import numpy as np

from ..mil.encoded import MIL_TYPES, EncodedWeight, Part
from .grids import MOST_STEPS as MOST
from .grids import Blocks, fitted_scales
from .layer import Layer
from .rounding import round_measured, round_nearest


def in_channels(
    layer: Layer, matrix: np.ndarray, dtype: np.dtype, hessian: np.ndarray | None = None, *, ios18: bool
) -> EncodedWeight:
    """The stored form of a weight.

    Args:
        matrix: (outputs, inputs) float64.
        dtype: of the weight, float16 or float32.
        hessian: (inputs, inputs), as for `rounding.round_measured`; None if nothing was measured.
        ios18: write the operator of iOS18.
    """
    scales = _scales(np.abs(matrix).max(axis=1), dtype)
    grid = Blocks(8, matrix.shape[1], np.zeros(matrix.shape, np.int8), scales[:, None])
    round_nearest(matrix, grid)
    scales = fitted_scales(scales, matrix, grid.codes.astype(np.float64))
    grid.scales = scales[:, None]
    round_measured(matrix, grid, hessian)
    codes, scales = grid.codes, grid.scales[:, 0]
    decoded = (codes * scales.astype(np.float32)[:, None]).astype(dtype)
    axis = len(layer.shape) - 1 if layer.transposed else 0
    zeros = np.zeros(len(scales), np.int8)
    return along_axis(layer.restore(codes), zeros, scales, axis, layer.restore(decoded), ios18=ios18)


def along_axis(
    codes: np.ndarray, zeros: np.ndarray, scales: np.ndarray, axis: int, decoded: np.ndarray, *, ios18: bool
) -> EncodedWeight:
    """The stored form of W = s · (Q − z) with a scale and a zero point for each element of an axis.

    Args:
        codes: int8, in the weight's shape.
        zeros, scales: int8 and the weight's float type, one for each element of the axis.
        decoded: the weight.
        ios18: write the operator of iOS18; else that of iOS16.
    """
    floats = MIL_TYPES[scales.dtype]
    if not ios18:
        parts = {
            "axis": Part("int32", np.array(axis, np.int32)),
            "quantized_data": Part("int8", codes),
            "scale": Part(floats, scales),
            "zero_point": Part("int8", zeros),
        }
        return EncodedWeight("constexpr_affine_dequantize", parts, "int8", decoded)
    along = [-1 if position == axis else 1 for position in range(codes.ndim)]
    parts = {"data": Part("int8", codes), "scale": Part(floats, scales.reshape(along))}
    if zeros.any():
        parts["offset"] = Part("int8", zeros.reshape(along))
    return EncodedWeight("constexpr_blockwise_shift_scale", parts, "int8", decoded)


def _scales(peaks: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The scale of each channel from its largest magnitude; 1 for a channel of zeros."""
    scales = np.where(peaks > 0, peaks / MOST, 1).astype(dtype)
    clips = scales.astype(np.float64) * (MOST + 0.5) < peaks  # only tiny scales are rounded by that much
    scales[clips] = np.nextafter(scales[clips], dtype.type(1))
    overflows = scales.astype(np.float64) * MOST > np.finfo(dtype).max
    scales[overflows] = np.nextafter(scales[overflows], dtype.type(0))
    return scales
