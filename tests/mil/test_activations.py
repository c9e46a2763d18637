"""Activations in 8 bits are laid out as coremltools lays them out, and the audit finds what departs from the grids."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from portrait_export.artifacts import Lowered
from portrait_export.mil import coreml
from portrait_export.mil.activations import (
    RoundedValue,
    activation_problems,
    quantize_activations,
    rounded_values,
)
from portrait_export.mil.compile import CompiledProgram, compile_program
from portrait_export.mil.encoded import ActivationGrid, Activations
from portrait_export.mil.package import save_package
from portrait_export.mil.program import Metadata, Program, read_program
from portrait_export.quantize.activation_layers import find_candidates, weights_behind
from portrait_export.quantize.activations import grid_of
from portrait_export.quantize.encode import LEFT_LIGHT, assign
from portrait_export.quantize.recipes import get_recipe

from .programs import IMAGE, MASK, SIDE, weights

RANGES = (-1.5, 6.0)


def network() -> Lowered:
    """conv → relu → max_pool → two convs that read the same → add → conv → reshape → conv → sigmoid → 0..255."""
    mb, ct = coreml.builder(), coreml.coremltools()

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 3, SIDE, SIDE))], opset_version=ct.target.iOS17)
    def program(image):
        hidden = mb.relu(x=mb.conv(x=image, weight=weights(0, 8, 3, 1, 1), name="first"), name="relu")
        pooled = mb.max_pool(x=hidden, kernel_sizes=[3, 3], strides=[1, 1], pad_type="same", name="pool")
        left = mb.conv(x=pooled, weight=weights(1, 8, 8, 1, 1), name="left")
        right = mb.conv(x=pooled, weight=weights(2, 8, 8, 1, 1), name="right")
        wide = mb.conv(x=mb.add(x=left, y=right, name="sum"), weight=weights(3, 4, 8, 1, 1), name="wide")
        moved = mb.reshape(x=wide, shape=(1, 1, SIDE, 4 * SIDE), name="moved")
        logits = mb.conv(x=moved, weight=weights(4, 1, 1, 1, 4), strides=[1, 4], name="logits")
        return mb.round(x=mb.mul(x=mb.sigmoid(x=logits, name="probability"), y=np.float32(255)), name="mask")

    return Lowered(program, (IMAGE,), (MASK,), "iOS17")


def saved(compiled: CompiledProgram, lowered: Lowered, path: Path) -> Program:
    save_package(compiled, lowered, path, metadata=Metadata(), force=True)
    return read_program(path)


def rounded(folder: Path, *, asymmetric: bool = False) -> tuple[Program, Activations, Program]:
    """The program before and after, and what was intended."""
    lowered = network()
    compiled = compile_program(lowered)
    before = saved(compiled, lowered, folder / "before.mlpackage")
    candidates = find_candidates(before.main)
    layers = tuple(candidate.operation for candidate in candidates.found)
    ranges = dict.fromkeys(candidates.values, RANGES)
    after = quantize_activations(compiled, before.path, layers, ranges, asymmetric=asymmetric)
    grids = {name: grid_of(*RANGES, asymmetric=asymmetric) for name in ranges}
    return before, Activations(grids, layers), saved(after, lowered, folder / "after.mlpackage")


def layout(program: Program) -> tuple[Counter[str], set[RoundedValue]]:
    """How often each operator occurs, and what is rounded how and read by which operators.

    coremltools divides the scales around an addition of two rounded values by one of them, which we leave out.
    """
    types = Counter(op.type for op in program.main.block.walk() if op.type != "const")
    return types, {value for value in rounded_values(program) if value.name != "sum_cast_fp16"}


@pytest.mark.parametrize("asymmetric", [False, True], ids=["symmetric", "asymmetric"])
def test_the_layout_is_that_of_linear_quantize_activations(asymmetric, tmp_path, monkeypatch):
    """coremltools' own function, with its statistics, which it can only compute on a Mac, answered by ours."""
    import coremltools.optimize.coreml as optimize
    from coremltools.optimize.coreml import _post_training_quantization as own

    before, intended, after = rounded(tmp_path, asymmetric=asymmetric)
    statistics = {name: dict(zip(("rmin", "rmax"), RANGES, strict=True)) for name in intended.grids}
    monkeypatch.setattr(own, "_get_activation_calibration_stats", lambda *_: statistics)
    mode = "linear" if asymmetric else "linear_symmetric"
    left = find_candidates(before.main).left
    config = optimize.OptimizationConfig(
        global_config=optimize.OpLinearQuantizerConfig(mode=mode),
        op_type_configs={"add": None},
        op_name_configs=dict.fromkeys(name for name, reason in left.items() if reason == LEFT_LIGHT),
    )
    model = coreml.coremltools().models.MLModel(str(before.path), skip_model_load=True)
    with coreml.quiet():
        theirs = optimize.linear_quantize_activations(model, config, [])
    theirs.save(str(tmp_path / "theirs.mlpackage"))
    made_elsewhere = read_program(tmp_path / "theirs.mlpackage")
    assert layout(after) == layout(made_elsewhere)
    assert activation_problems(made_elsewhere) == ()


def test_values_are_rounded_once_for_all_readers_and_additions_read_halves(tmp_path):
    _, intended, after = rounded(tmp_path)
    found = {value.name: value for value in rounded_values(after)}
    assert len(found) == len(rounded_values(after))
    assert found["pool_cast_fp16"].read_by == ("conv",)
    assert all(value.grid == ActivationGrid(intended.grids[name].scale, 0) for name, value in found.items())
    candidates = find_candidates(read_program(tmp_path / "before.mlpackage").main)
    assert [reason for name, reason in candidates.left.items() if name.startswith("sum")] == [
        "additions keep half precision, in which they lose less"
    ]


def test_a_last_layer_that_weighs_little_keeps_halves_and_its_weight(tmp_path):
    """4 of 188 elements; the first layer, 24 of them, is rounded."""
    lowered = network()
    main = saved(compile_program(lowered), lowered, tmp_path / "before.mlpackage").main
    found = find_candidates(main)
    layers = [candidate.operation for candidate in found.found]
    assert [name for name, reason in found.left.items() if reason == LEFT_LIGHT] == ["logits_cast_fp16"]
    assert "first_cast_fp16" in layers
    recipe = replace(get_recipe("w8a8"), min_elements=0)
    stored = assign(weights_behind(main, recipe, layers), recipe)
    assert list(stored.left.values()).count(LEFT_LIGHT) == 1
    assert sorted(name.split("_")[0] for name in stored.stored) == ["first", "left", "right", "wide"]


def wrong_scale(intended: Activations) -> Activations:
    name = next(name for name in intended.grids if name.startswith("pool"))
    grid = intended.grids[name]
    other = ActivationGrid(float(np.nextafter(np.float16(grid.scale), np.float16(1))), grid.zero_point)
    return replace(intended, grids={**intended.grids, name: other})


def wrong_zero_point(intended: Activations) -> Activations:
    name = next(name for name in intended.grids if name.startswith("pool"))
    return replace(intended, grids={**intended.grids, name: replace(intended.grids[name], zero_point=3)})


def not_asked_for(intended: Activations) -> Activations:
    return replace(intended, grids={name: grid for name, grid in intended.grids.items() if "pool" not in name})


def another_layer(intended: Activations) -> Activations:
    return replace(intended, layers=(*intended.layers, "probability_cast_fp16"))


FAULTS = {
    "none": (lambda intended: intended, None),
    "a scale one step off": (wrong_scale, "pool_cast_fp16 is rounded to int8 with scale"),
    "a zero point": (wrong_zero_point, "and zero point 0, not"),
    "a value that nobody asked for": (not_asked_for, "the recipe left it in half precision"),
    "a layer that was passed over": (another_layer, "reads a value that is not rounded to 8 bits"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_audit_finds(fault, tmp_path):
    change, complaint = FAULTS[fault]
    _, intended, after = rounded(tmp_path)
    problems = activation_problems(after, change(intended))
    if complaint is None:
        assert problems == ()
    else:
        assert len(problems) == 1
        assert complaint in problems[0]


def with_scale(program: Program, scale: float) -> tuple[Program, str]:
    """The package with another scale in its first `dequantize`, and that operation's name."""
    spec = coreml.spec_message(program.specification.read_bytes())
    [block] = spec.mlProgram.functions["main"].block_specializations.values()
    dequantize = next(op for op in block.operations if op.type == "dequantize")
    name = dequantize.inputs["scale"].arguments[0].name
    constant = next(op for op in block.operations if op.outputs and op.outputs[0].name == name)
    constant.attributes["val"].immediateValue.tensor.bytes.values = np.float16(scale).tobytes()
    program.specification.write_bytes(spec.SerializeToString())
    return read_program(program.path), dequantize.outputs[0].name


@pytest.mark.parametrize("known", [True, False], ids=["with_what_was_intended", "of_unknown_origin"])
def test_a_dequantize_that_is_not_the_inverse_is_found(known, tmp_path):
    """A planted fault in the file: the scale of one `dequantize` alone."""
    _, intended, after = rounded(tmp_path)
    damaged, name = with_scale(after, 0.5)
    problems = activation_problems(damaged, intended if known else None)
    assert problems == (f"dequantize {name} has another scale or zero point than quantize_0",)


@pytest.mark.parametrize("scale", [0.0, -0.5, np.nan, np.inf])
def test_an_unusable_scale_is_found(scale, tmp_path):
    damaged, name = with_scale(rounded(tmp_path)[2], scale)
    assert activation_problems(damaged)[0] == f"dequantize {name} has a scale that is zero, negative or not a number"


def test_the_same_program_gives_the_same_bytes(tmp_path):
    (tmp_path / "again").mkdir()
    first, second = rounded(tmp_path)[2], rounded(tmp_path / "again")[2]
    assert first.specification.read_bytes() == second.specification.read_bytes()
