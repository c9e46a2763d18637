"""Convolutions."""

from __future__ import annotations

import numpy as np

from .model import Case, values


def _conv(name: str, x: tuple[int, ...], w: tuple[int, ...], *, bias: bool = False, **attrs: object) -> Case:
    params = {"w": values(*w, seed=1)} | ({"b": values(w[0], seed=2)} if bias else {})
    return Case(f"conv_{name}", "Conv", {"x": values(*x)}, params, attrs=attrs)


def _transposed(name: str, x: tuple[int, ...], w: tuple[int, ...], *, bias: int = 0, **attrs: object) -> Case:
    params = {"w": values(*w, seed=1)} | ({"b": values(bias, seed=2)} if bias else {})
    return Case(f"conv_transpose_{name}", "ConvTranspose", {"x": values(*x)}, params, attrs=attrs)


X2 = (1, 4, 7, 9)

CASES = [
    _conv("plain", X2, (6, 4, 3, 3), bias=True),
    _conv("padded_unevenly", X2, (6, 4, 3, 3), pads=[0, 1, 2, 3]),
    _conv("strided", X2, (6, 4, 3, 3), strides=[2, 3], pads=[1, 1, 1, 1]),
    _conv("dilated", X2, (6, 4, 3, 3), dilations=[2, 1], pads=[2, 1, 2, 1]),
    _conv("grouped_same_upper_odd_size", X2, (6, 2, 4, 3), group=2, auto_pad="SAME_UPPER", strides=[2, 2]),
    _conv("same_lower", X2, (6, 4, 4, 2), auto_pad="SAME_LOWER", strides=[2, 1]),
    _conv("valid", X2, (6, 4, 3, 3), auto_pad="VALID"),
    _conv("depthwise", X2, (4, 1, 3, 3), bias=True, group=4, pads=[1, 1, 1, 1]),
    _conv("one_dimension", (2, 3, 11), (4, 3, 5), pads=[2, 2], strides=[2]),
    _conv("three_dimensions", (1, 2, 5, 6, 7), (3, 2, 3, 3, 3), pads=[1] * 6, bias=True),
    Case("conv_computed_weight", "Conv", {"x": values(*X2), "w": values(6, 4, 3, 3, seed=1)}),
    Case("conv_computed_bias", "Conv", {"x": values(*X2), "b": values(6)}, {"w": values(6, 4, 1, 1)}, ("x", "w", "b")),
    Case(
        "conv_float16", "Conv", {"x": values(1, 2, 4, 4, dtype=np.float16)}, {"w": values(3, 2, 1, 1, dtype=np.float16)}
    ),
    _transposed("plain", (1, 3, 4, 5), (3, 2, 3, 3), bias=2),
    _transposed("doubling", (1, 3, 4, 5), (3, 2, 2, 2), strides=[2, 2]),
    _transposed("output_padding", (1, 3, 4, 5), (3, 2, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]),
    _transposed("grown_beyond_full", (1, 3, 4, 5), (3, 2, 3, 3), bias=2, strides=[2, 2], output_padding=[1, 1]),
    _transposed("uneven_pads", (1, 3, 4, 5), (3, 2, 3, 4), pads=[0, 1, 2, 0]),
    _transposed("grouped", (1, 4, 4, 5), (4, 3, 3, 3), bias=6, group=2, dilations=[2, 1]),
    _transposed("same_upper", (1, 3, 4, 4), (3, 2, 3, 3), strides=[2, 2], auto_pad="SAME_UPPER"),
    _transposed("output_shape", (1, 3, 4, 4), (3, 2, 4, 4), strides=[2, 2], output_shape=[8, 8]),
    _transposed("one_dimension", (1, 3, 6), (3, 2, 4), strides=[2], pads=[1, 1]),
]
