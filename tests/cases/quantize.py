"""Quantization and dequantization."""

from __future__ import annotations

import numpy as np

from .model import Case, values

X = {"x": np.asarray([[-300, -1.25, -0.75, -0.25, 0, 0.25, 0.75, 1.25, 300]], np.float32)}
C = {"x": values(2, 3, 4)}
SCALES = np.asarray([0.1, 0.02, 0.3], np.float32)


def _pair(
    name: str, feeds: dict[str, np.ndarray], scale: np.ndarray, zero: np.ndarray | None = None, **attrs: int
) -> Case:
    params = {"s": scale} | ({} if zero is None else {"z": zero})
    return Case(f"quantize_{name}", "QuantizeLinear", feeds, params, attrs=attrs, then="DequantizeLinear")


CASES = [
    _pair("uint8_halves_to_even", X, np.asarray(0.5, "f"), np.asarray(128, np.uint8)),
    _pair("int8_saturates", X, np.asarray(0.5, "f"), np.asarray(-3, np.int8)),
    _pair("uint8_by_default", X, np.asarray(0.5, "f")),
    _pair("per_channel", C, SCALES, np.asarray([1, -2, 3], np.int8), axis=1),
    _pair("last_axis", {"x": values(2, 3)}, SCALES, np.asarray([100, 128, 0], np.uint8), axis=-1),
    Case(
        "dequantize_int32",
        "DequantizeLinear",
        {"x": values(2, 3, low=-1000, high=1000, dtype=np.int32)},
        {"s": SCALES, "z": np.zeros(3, np.int32)},
        attrs={"axis": 1},
    ),
]
