"""Lookups."""

from __future__ import annotations

import numpy as np

from .model import Case, ints, values

X = {"x": values(3, 4, 5)}
HOT = {"d": np.asarray(4, np.int64), "v": np.asarray([0.5, 3.0], "f")}

CASES = [
    Case("gather_rows", "Gather", X, {"i": ints(2, 0, 0)}),
    Case("gather_range_is_a_slice", "Gather", X, {"i": ints(1, 2)}, attrs={"axis": 1}),
    Case("gather_scalar", "Gather", X, {"i": np.asarray(-1, np.int64)}, attrs={"axis": 2}),
    Case("gather_from_vector", "Gather", {"x": values(5)}, {"i": np.asarray(3, np.int64)}),
    Case("gather_matrix_of_indices", "Gather", X, {"i": np.asarray([[0, -1], [2, 1]], np.int64)}, attrs={"axis": 1}),
    Case("gather_computed_negative", "Gather", {**X, "i": ints(-1, 2, -3)}, attrs={"axis": 1}),
    Case("gather_bools", "Gather", {"x": values(4, 2, dtype=bool), "i": ints(3, 1)}),
    Case(
        "gather_elements_axis_1",
        "GatherElements",
        {**X, "i": values(3, 2, 5, low=-4, high=3, dtype=np.int64)},
        attrs={"axis": 1},
    ),
    Case("gather_elements_smaller", "GatherElements", {**X, "i": values(2, 2, 3, low=0, high=2, dtype=np.int64)}),
    Case("gather_nd_slices", "GatherND", X, {"i": np.asarray([[0, 1], [2, -1]], np.int64)}),
    Case("gather_nd_batch", "GatherND", {**X, "i": np.asarray([[1], [0], [3]], np.int64)}, attrs={"batch_dims": 1}),
    Case("one_hot_last", "OneHot", {"i": ints(0, 3, 1)}, HOT),
    Case("one_hot_negative_and_outside", "OneHot", {"i": ints(-1, 4, -5, -4)}, HOT),
    Case("one_hot_axis_0", "OneHot", {"i": values(2, 3, low=0, high=3, dtype=np.int64)}, HOT, attrs={"axis": 0}),
    Case("top_k_largest", "TopK", {"x": values(3, 7)}, {"k": ints(3)}, outputs=2),
    Case(
        "top_k_smallest_axis_0", "TopK", {"x": values(7, 3)}, {"k": ints(2)}, outputs=2, attrs={"axis": 0, "largest": 0}
    ),
    Case("top_k_attribute", "TopK", {"x": values(3, 7)}, outputs=2, opset=9, attrs={"k": 2}),
    Case("compress_axis", "Compress", X, {"c": np.asarray([True, False, True])}, attrs={"axis": 0}),
    Case("compress_flat", "Compress", {"x": values(2, 3)}, {"c": np.asarray([False, True, True, False, True])}),
]
