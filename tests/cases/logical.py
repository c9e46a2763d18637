"""Comparisons and logic."""

from __future__ import annotations

import numpy as np

from .model import Case, values

A = {"a": values(3, 4, low=-2, high=2, dtype=np.int32)}
B = {"b": values(4, low=-2, high=2, seed=1, dtype=np.int32)}
P = {"p": values(3, 4, dtype=bool)}
Q = {"q": values(3, 1, seed=1, dtype=bool)}
F = {"f": values(2, 3, 4)}

CASES = [
    *[Case(f"{op.lower()}_broadcast", op, {**A, **B}) for op in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual")],
    Case("equal_ints", "Equal", {**A, **B}),
    Case("equal_bools", "Equal", {**P, **Q}),
    Case("equal_floats", "Equal", {"a": np.asarray([1, 2, np.nan], "f"), "b": np.asarray([1, 3, np.nan], "f")}),
    Case("less_than_constant", "Less", F, {"c": np.asarray(0.5, "f")}),
    *[Case(f"{op.lower()}_broadcast", op, {**P, **Q}) for op in ("And", "Or", "Xor")],
    Case("not_plain", "Not", P),
    Case(
        "where_broadcast_condition", "Where", {"c": values(3, 1, dtype=bool), "a": values(3, 4), "b": values(4, seed=1)}
    ),
    Case("where_scalar_branches", "Where", P, {"a": np.asarray(1, "f"), "b": np.asarray(-1, "f")}),
    Case("where_computed_scalar_branches", "Where", {**P, "a": np.asarray(1, "f"), "b": np.asarray(-1, "f")}),
    Case(
        "where_constant_condition",
        "Where",
        {"a": values(3, 4), "b": values(3, 4, seed=1)},
        {"c": P["p"]},
        ("c", "a", "b"),
    ),
    Case("where_ints", "Where", {**P, "a": A["a"], "b": values(4, seed=5, dtype=np.int32)}),
]
