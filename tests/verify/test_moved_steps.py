"""Count the rounded values that half precision moves to another step."""

from __future__ import annotations

import numpy as np

from portrait_export.artifacts import Value
from portrait_export.verify.moved_steps import describe_moved, moved_steps, rounded_values

VALUES = [
    Value("scaled", "mul", ("x",), (4,)),
    Value("steps", "quantize", ("scaled",), (4,)),
    Value("back", "dequantize", ("steps",), (4,)),
    Value("range", "round", ("back",), (4,)),
    Value("pixels", "round", ("range",), (4,)),
    Value("mask", "cast", ("dtype", "pixels"), (4,)),
]


def test_the_rounding_of_the_output_to_pixels_is_not_counted():
    assert rounded_values(VALUES, ["mask"]) == ["steps", "range"]
    assert rounded_values(VALUES, ["pixels"]) == ["steps", "range"]


def test_moved_steps_are_counted_over_all_roundings():
    exact = {"steps": np.array([1, 2, 3, 4], np.int8), "range": np.array([0.0, 5.0])}
    half = {"steps": np.array([1, 3, 3, 4], np.int8), "range": np.array([0.0, 5.0], np.float16)}
    found = moved_steps(exact, half)
    assert (found.operations, found.values, found.moved) == (2, 6, 1)
    assert "moves 1 of 6 rounded values (17 %) on cat.jpg" in describe_moved(
        found, "cat.jpg", iou_half=0.9, iou_exact=0.99
    )
