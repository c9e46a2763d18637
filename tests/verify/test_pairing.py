"""Values of two graphs that are the same value: by name, through casts, through fused and moved operators."""

from __future__ import annotations

import pytest

from portrait_export.artifacts import Value
from portrait_export.verify.pairing import nearest_paired, pair_values


def value(name: str, kind: str, *inputs: str, shape: tuple[int, ...] | None = (1, 4)) -> Value:
    return Value(name, kind, inputs, shape)


ONNX = [
    value("/a/Conv", "Conv", "image", "w"),
    value("/n/ToLast", "Transpose", "/a/Conv", shape=(4, 1)),
    value("/n/Norm", "LayerNormalization", "/n/ToLast", shape=(4, 1)),
    value("/n/ToFirst", "Transpose", "/n/Norm"),
    value("/b/Conv", "Conv", "/n/ToFirst", "v"),
    value("/sum", "Add", "/b/Conv", "/n/ToFirst"),
]
FUSED = [
    value("image_to_fp16", "cast", "image"),
    value("a_Conv_cast_fp16", "conv", "image_to_fp16", "w"),
    value("n_Norm_layer_norm_cast_fp16", "layer_norm", "a_Conv_cast_fp16"),
    value("b_Conv_cast_fp16", "conv", "n_Norm_layer_norm_cast_fp16", "v"),
    value("sum", "add", "b_Conv_cast_fp16", "n_Norm_layer_norm_cast_fp16"),
]

CASES: dict[str, tuple[list[Value], list[Value], dict[str, str]]] = {
    "a_fused_operator_is_found_by_those_that_take_it": (
        ONNX,
        FUSED,
        {
            "a_Conv_cast_fp16": "/a/Conv",
            "n_Norm_layer_norm_cast_fp16": "/n/ToFirst",
            "b_Conv_cast_fp16": "/b/Conv",
            "sum": "/sum",
        },
    ),
    "a_value_and_its_cast_share_a_partner": (
        [value("y", "Relu", "x")],
        [value("y_cast_fp16", "relu", "x"), value("y", "cast", "y_cast_fp16")],
        {"y_cast_fp16": "y", "y": "y"},
    ),
    "one_name_and_two_shapes_are_two_values": (
        [value("y", "Reshape", "x", shape=(2, 2))],
        [value("y", "reshape", "x", shape=(4,))],
        {},
    ),
    "an_unknown_shape_is_settled_when_it_runs": (
        [value("y", "Relu", "x", shape=None)],
        [value("y", "relu", "x")],
        {"y": "y"},
    ),
    "takers_of_another_kind_prove_nothing": (
        [value("m", "MatMul", "x"), value("y", "Add", "m", "b")],
        [value("other", "mul", "x"), value("y", "linear", "other")],
        {"y": "y"},
    ),
    "takers_that_disagree_prove_nothing": (
        [value("p", "Relu", "x"), value("q", "Relu", "x"), value("y", "Exp", "p"), value("z", "Sqrt", "q")],
        [value("r", "clip", "x"), value("y", "exp", "r"), value("z", "sqrt", "r")],
        {"y": "y", "z": "z"},
    ),
    "two_without_partner_prove_nothing": (
        [value("p", "Relu", "x"), value("q", "Relu", "x"), value("y", "Add", "p", "q")],
        [value("r", "clip", "x"), value("s", "clip", "x"), value("y", "add", "r", "s")],
        {"y": "y"},
    ),
    "another_shape_at_the_same_place_is_no_partner": (
        [value("p", "Transpose", "x", shape=(4, 1)), value("y", "MatMul", "p", "w")],
        [value("r", "reshape", "x", shape=(1, 4)), value("y", "matmul", "r", "w")],
        {"y": "y"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_pairs(name: str) -> None:
    reference, candidate, expected = CASES[name]
    assert list(pair_values(reference, candidate).items()) == list(expected.items())


def test_what_a_value_starts_from_and_answers_for() -> None:
    found = nearest_paired(FUSED, ["a_Conv_cast_fp16", "b_Conv_cast_fp16", "sum"])
    assert found["a_Conv_cast_fp16"] == ((), ("image_to_fp16",))
    assert found["b_Conv_cast_fp16"] == (("a_Conv_cast_fp16",), ("n_Norm_layer_norm_cast_fp16",))
    assert found["sum"] == (("b_Conv_cast_fp16", "a_Conv_cast_fp16"), ("n_Norm_layer_norm_cast_fp16",))
