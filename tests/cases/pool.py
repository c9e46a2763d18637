"""Pooling."""

from __future__ import annotations

import numpy as np

from .model import Case, values

X = {"x": values(1, 2, 7, 8)}
L = {"x": values(2, 3, 9)}
V = {"x": values(1, 2, 5, 6, 7)}


def _max(name: str, feeds: dict[str, np.ndarray] = X, **attrs: object) -> Case:
    return Case(f"max_pool_{name}", "MaxPool", feeds, attrs=attrs)


def _places(name: str, feeds: dict[str, np.ndarray] = X, **attrs: object) -> Case:
    return Case(f"max_pool_indices_{name}", "MaxPool", feeds, outputs=2, attrs=attrs)


def _mean(name: str, feeds: dict[str, np.ndarray] = X, opset: int = 19, **attrs: object) -> Case:
    return Case(f"average_pool_{name}", "AveragePool", feeds, opset=opset, attrs=attrs)


CASES = [
    _max("plain", kernel_shape=[2, 2], strides=[2, 2]),
    _max("padded", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    _max("padded_unevenly", kernel_shape=[3, 3], pads=[0, 1, 2, 0]),
    _max("ceil", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    _max("ceil_padded", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1),
    _max("same_upper", kernel_shape=[3, 2], strides=[2, 2], auto_pad="SAME_UPPER"),
    _max("same_lower", kernel_shape=[3, 2], strides=[2, 2], auto_pad="SAME_LOWER"),
    _max("dilated", kernel_shape=[2, 3], dilations=[2, 2], strides=[2, 1], pads=[1, 1, 0, 1]),
    _max("one_dimension", feeds=L, kernel_shape=[3], strides=[2]),
    _max("three_dimensions", feeds=V, kernel_shape=[2, 2, 3], strides=[2, 2, 2], pads=[0, 0, 1, 0, 1, 1]),
    _places("padded", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 0]),
    _places("dilated", feeds=L, kernel_shape=[3], dilations=[2]),
    _places("in_column_major_order", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 0], storage_order=1),
    _places("in_column_major_order_3d", feeds=V, kernel_shape=[2, 2, 3], strides=[2, 1, 2], storage_order=1),
    _places("of_equals", feeds={"x": np.ones((1, 2, 4, 4), "f")}, kernel_shape=[2, 2]),
    _mean("plain", kernel_shape=[2, 2], strides=[2, 2]),
    _mean("padding_left_out", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    _mean("padding_counted", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1),
    _mean("ceil", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    _mean("ceil_padded", kernel_shape=[3, 3], strides=[2, 3], pads=[1, 1, 1, 1], ceil_mode=1),
    _mean("same_upper", kernel_shape=[3, 2], strides=[2, 2], auto_pad="SAME_UPPER"),
    _mean("dilated", kernel_shape=[2, 2], dilations=[2, 3], pads=[1, 0, 1, 0]),
    _mean("dilated_counted", kernel_shape=[2, 2], dilations=[2, 3], pads=[1, 0, 1, 0], count_include_pad=1),
    _mean("one_dimension", feeds=L, kernel_shape=[4], strides=[2], pads=[1, 2]),
    _mean("three_dimensions", feeds=V, kernel_shape=[2, 2, 2], pads=[1, 1, 1, 0, 0, 0]),
    Case("lp_pool_2", "LpPool", X, opset=18, attrs={"kernel_shape": [2, 3], "strides": [2, 2], "pads": [1, 1, 0, 0]}),
    Case("lp_pool_3", "LpPool", X, opset=18, attrs={"kernel_shape": [2, 2], "p": 3}),
    Case("lp_pool_1", "LpPool", X, opset=18, attrs={"kernel_shape": [2, 2], "p": 1}),
    Case("global_average_pool_plain", "GlobalAveragePool", X),
    Case("global_max_pool_plain", "GlobalMaxPool", X),
    Case("global_lp_pool_3", "GlobalLpPool", X, attrs={"p": 3}),
    Case(
        "max_unpool_plain",
        "MaxUnpool",
        {"x": values(1, 1, 2, 2), "i": np.asarray([[[[5, 7], [13, 15]]]], np.int64)},
        attrs={"kernel_shape": [2, 2], "strides": [2, 2]},
    ),
]
