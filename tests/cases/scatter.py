"""Scatters."""

from __future__ import annotations

import numpy as np

from .model import Case, values

X = {"x": values(3, 4)}
AT = {"i": np.asarray([[2, -1, 0, 1]], np.int64), "u": values(1, 4, seed=1)}
PART = {"i": np.asarray([[1, 2], [0, 3]], np.int64), "u": values(2, 2, seed=1)}
ND = {"i": np.asarray([[0, 1], [2, -1]], np.int64), "u": values(2, seed=1)}

CASES = [
    Case("scatter_elements_axis_0", "ScatterElements", {**X, **AT}),
    Case("scatter_elements_part", "ScatterElements", {**X, **PART}, attrs={"axis": 1}),
    Case("scatter_elements_constant_indices", "ScatterElements", {**X, "u": AT["u"]}, {"i": AT["i"]}, ("x", "i", "u")),
    *[
        Case(f"scatter_elements_{mode}", "ScatterElements", {**X, **AT}, opset=18, attrs={"reduction": mode})
        for mode in ("add", "mul", "min", "max")
    ],
    Case("scatter_old_name", "Scatter", {**X, **AT}, opset=9),
    Case("scatter_nd_elements", "ScatterND", {**X, **ND}),
    Case("scatter_nd_rows", "ScatterND", X, {"i": np.asarray([[2], [0]], np.int64), "u": values(2, 4, seed=1)}),
    Case("scatter_nd_add", "ScatterND", {**X, **ND}, opset=18, attrs={"reduction": "add"}),
]
