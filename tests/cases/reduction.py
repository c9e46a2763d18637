"""Reductions."""

from __future__ import annotations

import numpy as np

from .model import Case, ints, values

X = {"x": values(2, 3, 4)}
POSITIVE = {"x": values(2, 3, 4, low=0.2)}
WITH_INPUT = 18  # the opset from which axes are an input everywhere

FLOATS = ("ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare")

CASES = [
    *[Case(f"{op.lower()}_axis", op, X, {"a": ints(1)}, opset=WITH_INPUT) for op in (*FLOATS, "ReduceLogSumExp")],
    *[Case(f"{op.lower()}_all", op, X, opset=WITH_INPUT, attrs={"keepdims": 0}) for op in FLOATS],
    Case("reducelogsum_axis", "ReduceLogSum", POSITIVE, {"a": ints(-1)}, opset=WITH_INPUT),
    Case(
        "reducelogsumexp_of_large_values",
        "ReduceLogSumExp",
        {"x": np.asarray([[500.0, 499.0]], "f")},
        {"a": ints(1)},
        opset=18,
    ),
    *[Case(f"{op.lower()}_attribute_axes", op, X, opset=11, attrs={"axes": [0, -1], "keepdims": 0}) for op in FLOATS],
    Case("reducesum_noop", "ReduceSum", X, opset=13, attrs={"noop_with_empty_axes": 1}),
    Case("reducesum_int32", "ReduceSum", {"x": values(3, 4, dtype=np.int32)}, {"a": ints(0)}, opset=13),
    Case("reducemax_int32", "ReduceMax", {"x": values(3, 4, dtype=np.int32)}, opset=13, attrs={"axes": [1]}),
    Case("reducemax_bool", "ReduceMax", {"x": values(3, 4, dtype=bool)}, {"a": ints(1)}, opset=20),
    Case("argmax_axis_0", "ArgMax", X),
    Case("argmax_dropped_axis", "ArgMax", X, attrs={"axis": -1, "keepdims": 0}),
    Case("argmax_first_of_equals", "ArgMax", {"x": np.asarray([[2, 5, 5, 1]], "f")}, attrs={"axis": 1}),
    Case(
        "argmax_last_of_equals",
        "ArgMax",
        {"x": np.asarray([[2, 5, 5, 1]], "f")},
        attrs={"axis": 1, "select_last_index": 1},
    ),
    Case(
        "argmin_last_of_equals",
        "ArgMin",
        {"x": np.asarray([[2, 1, 1, 3]], "f")},
        attrs={"axis": 1, "select_last_index": 1},
    ),
    Case("argmin_axis_1", "ArgMin", X, attrs={"axis": 1}),
]
