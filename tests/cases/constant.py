"""Operators whose result is known at conversion."""

from __future__ import annotations

import numpy as np

from .model import Case, values

X = {"x": values(2, 3, 4)}

CASES = [
    Case("shape_of_all", "Shape", X),
    Case("shape_from_start", "Shape", X, attrs={"start": 1}),
    Case("shape_negative_range", "Shape", X, attrs={"start": -2, "end": -1}),
    Case("size_of_all", "Size", X),
    Case("eye_like_shifted", "EyeLike", {"x": values(3, 4)}, attrs={"k": 1}),
    Case("eye_like_of_type", "EyeLike", {"x": values(4, 3)}, attrs={"k": -1, "dtype": 6}),
    Case("optional_has_element_tensor", "OptionalHasElement", X, opset=18),
    Case("optional_get_element_tensor", "OptionalGetElement", X, opset=18),
    Case("range_of_constants", "Range", {}, {k: np.asarray(v, "f") for k, v in zip("sld", (1, 5, 0.5), strict=True)}),
]
