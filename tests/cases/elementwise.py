"""Elementwise arithmetic."""

from __future__ import annotations

import numpy as np

from .model import Case, values

X = {"x": values(2, 3, 4)}
Y = {"y": values(3, 4, seed=1)}
UNIT = {"x": values(2, 3, low=-0.95, high=0.95)}
POSITIVE = {"x": values(2, 3, low=0.1, high=9)}
ABOVE_ONE = {"x": values(2, 3, low=1.1, high=9)}
INTS = {"x": values(3, 4, low=-20, high=20, dtype=np.int32)}
DIVISORS = {"y": np.asarray([[3], [-4], [7]], np.int32)}
TIES = {"x": np.asarray([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 2.4], "f")}

CASES = [
    *[Case(f"{op.lower()}_plain", op, X) for op in ("Abs", "Sign", "Neg", "Erf", "Exp", "Sin", "Cos", "Atan")],
    *[Case(f"{op.lower()}_plain", op, X) for op in ("Ceil", "Floor", "Identity", "Asinh", "Sinh", "Cosh")],
    *[Case(f"{op.lower()}_within_one", op, UNIT) for op in ("Asin", "Acos", "Atanh", "Tan")],
    *[Case(f"{op.lower()}_positive", op, POSITIVE) for op in ("Sqrt", "Log", "Reciprocal")],
    Case("acosh_above_one", "Acosh", ABOVE_ONE),
    Case("reciprocal_of_small_numbers", "Reciprocal", {"x": np.asarray([1e-6, -1e-5, 2.0], "f")}),
    Case("round_half_to_even", "Round", TIES),
    *[Case(f"{op.lower()}_broadcast", op, {**X, **Y}) for op in ("Add", "Sub", "Mul", "Div")],
    *[Case(f"{op.lower()}_constant_first", op, Y, X, ("x", "y")) for op in ("Add", "Sub", "Mul", "Div")],
    *[Case(f"{op.lower()}_int32", op, {**INTS, **DIVISORS}) for op in ("Add", "Sub", "Mul")],
    Case("div_int32_truncates", "Div", {**INTS, **DIVISORS}),
    Case("div_int64_by_constant", "Div", {"x": INTS["x"].astype(np.int64)}, {"y": np.asarray(-7, np.int64)}),
    Case("add_saturates_the_unbounded", "Min", {"x": values(4, dtype=np.int64)}, {"y": np.asarray([2**62], np.int64)}),
    Case("pow_square", "Pow", X, {"y": np.asarray(2.0, "f")}),
    Case("pow_cube_of_negatives", "Pow", X, {"y": np.asarray(3.0, "f")}),
    Case("pow_root", "Pow", POSITIVE, {"y": np.asarray(0.5, "f")}),
    Case("pow_of_int_exponent", "Pow", X, {"y": np.asarray(4, np.int64)}),
    Case("pow_broadcast", "Pow", {**POSITIVE, "y": values(3, seed=2)}),
    Case("mod_of_divisor_sign", "Mod", {**INTS, **DIVISORS}),
    Case("mod_of_dividend_sign", "Mod", {**INTS, **DIVISORS}, attrs={"fmod": 1}),
    Case("mod_float_of_divisor_sign", "Mod", {**X, "y": np.asarray([0.7, -1.3, 2, -0.4], "f")}, opset=28),
    Case("mod_float_of_dividend_sign", "Mod", {**X, "y": values(4, low=0.5, seed=3)}, opset=28, attrs={"fmod": 1}),
    Case("mod_float", "Mod", {**X, "y": values(4, low=0.5, high=2, seed=3)}, attrs={"fmod": 1}),
    *[
        Case(f"{op.lower()}_of_three", op, {**X, **Y, "z": values(1, 4, seed=2)})
        for op in ("Max", "Min", "Sum", "Mean")
    ],
    Case("max_of_one", "Max", X),
    Case("max_int32", "Max", {**INTS, **DIVISORS}),
    Case("clip_both", "Clip", X, {"lo": np.asarray(-1, "f"), "hi": np.asarray(2, "f")}),
    Case("clip_low_only", "Clip", X, {"lo": np.asarray(0, "f")}),
    Case("clip_high_only", "Clip", X, {"hi": np.asarray(1, "f")}, ("x", "", "hi")),
    Case("clip_neither", "Clip", X),
    Case("clip_crossed_high_wins", "Clip", X, {"lo": np.asarray(2, "f"), "hi": np.asarray(-1, "f")}),
    Case("clip_infinite_bound", "Clip", X, {"lo": np.asarray(0, "f"), "hi": np.asarray(np.inf, "f")}),
    Case("clip_computed_bounds", "Clip", {**X, "lo": np.asarray(-1, "f"), "hi": np.asarray(1, "f")}),
    Case("clip_int32", "Clip", INTS, {"lo": np.asarray(-3, np.int32), "hi": np.asarray(5, np.int32)}),
    Case("clip_by_attributes", "Clip", X, opset=6, attrs={"min": -1.0, "max": 1.0}),
    Case("cast_float_to_int_truncates", "Cast", X, attrs={"to": 6}),
    Case("cast_float_to_bool", "Cast", {"x": np.asarray([0, 0.4, -0.2, 1], "f")}, attrs={"to": 9}),
    Case("cast_bool_to_float", "Cast", {"x": values(5, dtype=bool)}, attrs={"to": 1}),
    Case("cast_int_to_half", "Cast", INTS, attrs={"to": 10}),
    Case("cast_to_itself", "Cast", X, attrs={"to": 1}),
    Case("cast_like_of_a_constant", "CastLike", {"y": values(2)}, {"x": np.asarray([0.5, 2])}, ("x", "y")),
    Case("cast_like_int", "CastLike", {**X, "y": values(2, dtype=np.int32)}),
    Case("isnan_mixed", "IsNaN", {"x": np.asarray([1, np.nan, np.inf], "f")}),
    Case("isinf_both", "IsInf", {"x": np.asarray([1, np.nan, np.inf, -np.inf], "f")}),
    Case("isinf_negative", "IsInf", {"x": np.asarray([1, np.inf, -np.inf], "f")}, attrs={"detect_positive": 0}),
    Case("isinf_positive", "IsInf", {"x": np.asarray([1, np.inf, -np.inf], "f")}, attrs={"detect_negative": 0}),
    Case("dropout_inference", "Dropout", X, {"r": np.asarray(0.3, "f")}),
    Case("dropout_mask", "Dropout", X, outputs=2),
    Case("dropout_by_attributes", "Dropout", X, opset=10, attrs={"ratio": 0.3}),
    Case("bitwise_not_int32", "BitwiseNot", INTS, opset=18),
]
