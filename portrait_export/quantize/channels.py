"""Store a weight as 8-bit integers, symmetric, with one scale per output channel.

For each output channel c of a weight W:  s_c = max|W_c| / 127;  Q_c = round(W_c / s_c);  W'_c = s_c · Q_c
"""

from __future__ import annotations

import numpy as np

from ..mil.encoded import EncodedWeight, Part
from .layer import Layer

MOST = 127


def in_channels(layer: Layer, matrix: np.ndarray, dtype: np.dtype, *, ios18: bool) -> EncodedWeight | str:
    """The stored form of a weight, or the reason to leave it alone.

    Args:
        matrix: (outputs, inputs) float64.
        dtype: of the weight, float16 or float32.
        ios18: write the operator of iOS18.
    """
    peaks = np.abs(matrix).max(axis=1)
    scales = np.where(peaks > 0, peaks / MOST, 1).astype(dtype)  # a channel of zeros has no scale of its own
    if (scales < np.finfo(dtype).tiny).any():
        return "its values are too small for scales in half precision"
    codes = np.rint(matrix / scales.astype(np.float64)[:, None]).clip(-MOST, MOST).astype(np.int8)
    decoded = (codes * scales.astype(np.float32)[:, None]).astype(dtype)
    floats = "fp16" if dtype == np.float16 else "fp32"
    stored, axis = layer.restore(codes), len(layer.shape) - 1 if layer.transposed else 0
    if ios18:
        along = scales.reshape([-1 if side == axis else 1 for side in range(len(layer.shape))])
        parts = {"data": Part("int8", stored), "scale": Part(floats, along)}
        return EncodedWeight("constexpr_blockwise_shift_scale", parts, "int8", layer.restore(decoded))
    parts = {
        "axis": Part("int32", np.array(axis, np.int32)),
        "quantized_data": Part("int8", stored),
        "scale": Part(floats, scales),
        "zero_point": Part("int8", np.zeros(len(scales), np.int8)),
    }
    return EncodedWeight("constexpr_affine_dequantize", parts, "int8", layer.restore(decoded))
