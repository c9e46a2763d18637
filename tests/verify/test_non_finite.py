"""Test that NaN and infinity are traced from the outputs back to the operation that made them."""

from __future__ import annotations

import numpy as np
import pytest

from portrait_export.artifacts import Value
from portrait_export.verify.non_finite import Extent, describe_origin, extent, origins

FINE, BROKEN = Extent(True, 1.0), Extent(False, 2.0)


def chain(*links: tuple[str, tuple[str, ...]]) -> list[Value]:
    return [Value(name, "mul", inputs, None) for name, inputs in links]


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        ("", []),
        ("out", ["out"]),
        ("b out", ["b"]),
        ("a b out", ["a"]),
        ("a", []),  # it does not reach the output
        ("b c out", ["b", "c"]),
    ],
)
def test_the_first_operation_on_the_way_to_the_output_is_found(broken: str, expected: list[str]) -> None:
    values = chain(("a", ("x",)), ("b", ("a",)), ("c", ("x",)), ("out", ("b", "c")))
    extents = {name: BROKEN if name in broken.split() else FINE for name in ("a", "b", "c", "out")}
    assert [value.name for value in origins(values, extents, ["out"])] == expected


def test_the_extent_of_values_of_any_type() -> None:
    assert extent(np.array([1.0, -3.0, np.inf])) == Extent(False, 3.0)
    assert extent(np.array([np.nan, 2.0])) == Extent(False, 2.0)
    assert extent(np.array([-7, 2])) == Extent(True, 7.0)
    assert extent(np.array([True])) == Extent(True, 0.0)
    assert extent(np.zeros((0, 2))) == Extent(True, 0.0)


def test_the_sentence_names_the_operation_and_what_half_precision_holds() -> None:
    value = Value("z", "mul", ("a",), None)
    text = describe_origin(value, {"a": Extent(True, 43840.0)}, "a.jpg", half=True)
    assert text.startswith(
        "NaN or infinity first appears in z (mul) on a.jpg, whose inputs are finite and reach 43840."
    )
    assert "65,504" in text
    assert "65,504" not in describe_origin(value, {}, "a.jpg", half=False)
