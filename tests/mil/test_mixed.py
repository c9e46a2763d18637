"""Operations kept in float32 by type and name, errors for patterns that match nothing, and what it costs."""

from __future__ import annotations

import pytest

from portrait_export.errors import UsageError
from portrait_export.mil.compile import compile_program
from portrait_export.mil.mixed import mixed_cost
from portrait_export.mil.package import save_package
from portrait_export.mil.program import Metadata, read_program

from .programs import SIDE, two_convolutions


def saved(tmp_path, *patterns, **options):
    lowered = two_convolutions()
    compiled = compile_program(lowered, keep_fp32=patterns, **options)
    save_package(compiled, lowered, tmp_path / "a.mlpackage", metadata=Metadata())
    return compiled.kept, read_program(tmp_path / "a.mlpackage").main


def types(function):
    return {
        op.type: [o.outputs[0][1].dtype for o in function.block.operations if o.type == op.type]
        for op in function.block.operations
    }


@pytest.mark.parametrize("pattern", ["first", "fir*", "/first", "first_cast_fp16", "f?rst", "[f]irst"])
def test_a_value_is_kept_by_its_name_in_onnx_or_mil(pattern, tmp_path):
    kept, function = saved(tmp_path, pattern)
    assert kept == {"first": "conv"}
    assert types(function)["conv"] == ["fp32", "fp16"]


@pytest.mark.parametrize("pattern", ["conv", "Conv", "co_nv", "con*"])
def test_operators_are_kept_by_their_type(pattern, tmp_path):
    kept, function = saved(tmp_path, pattern)
    assert kept == {"first": "conv", "logits": "conv"}
    assert types(function)["conv"] == ["fp32", "fp32"]
    assert types(function)["sigmoid"] == ["fp16"]


def test_several_patterns_add_up(tmp_path):
    assert set(saved(tmp_path, "sigmoid", "first")[0]) == {"first", "probability"}


def test_every_pattern_without_a_match_is_named_with_what_is_similar(tmp_path):
    with pytest.raises(UsageError, match="matches no operation of the program: frist, sigmod") as caught:
        saved(tmp_path, "frist", "logits", "sigmod")
    assert list(caught.value.context) == ["frist: similar are `first`", "sigmod: similar are `sigmoid`"]


def test_a_pattern_with_nothing_similar_says_so(tmp_path):
    with pytest.raises(UsageError) as caught:
        saved(tmp_path, "/encoder/*/zzz")
    assert list(caught.value.context) == ["/encoder/*/zzz: nothing has a similar name"]


def test_the_cost_counts_operations_casts_and_bytes(tmp_path):
    cost = mixed_cost(saved(tmp_path, "first")[1])
    assert cost.operations == {"mul": 1, "add": 1, "conv": 1}  # coremltools scales the image in float32 always
    assert cost.total == 7  # besides two convolutions, sigmoid, times 255, round
    assert cost.weight_bytes - mixed_cost(saved(tmp_path / "plain")[1]).weight_bytes == 2 * 128 * 3 * 3 * 3
    assert cost.activation_bytes == 2 * (128 + 3 + 3) * SIDE * SIDE
    assert cost.casts == 2
    assert "3 of 7 operations in float32 (1 mul, 1 add, 1 conv)" in str(cost)


def test_without_patterns_the_program_is_the_usual_one():
    plain, again = (compile_program(two_convolutions(), **options) for options in ({}, {"keep_fp32": ()}))
    assert plain.kept == again.kept == {}
    assert plain.weights == again.weights
