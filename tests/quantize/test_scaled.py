"""Channels of different range get a scale each where that pays, and the stored form decodes to what was computed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portrait_export.artifacts import Lowered
from portrait_export.mil import coreml
from portrait_export.mil.audit import audit_program
from portrait_export.mil.compile import compile_program
from portrait_export.mil.encoded import Compression
from portrait_export.mil.package import save_package
from portrait_export.mil.program import Metadata, read_program
from portrait_export.mil.store import store
from portrait_export.quantize.encode import encode, weights_of
from portrait_export.quantize.layer import Layer
from portrait_export.quantize.recipes import RECIPES
from portrait_export.quantize.rounding import weighted_error
from portrait_export.quantize.scaled import ScaledPalette, cheapest, in_scaled_palette, relative_error
from tests.mil.programs import IMAGE, LOGITS, SIDE, weights

HALF = np.dtype(np.float16)
WIDTH = 256


def separable(target: str, spread: float) -> Lowered:
    """image → conv → pointwise → depthwise → pointwise → logits; channels differ in range by 10^±spread."""
    mb, ct = coreml.builder(), coreml.coremltools()
    ranges = 10 ** np.random.default_rng(9).uniform(-spread, spread, (WIDTH, 1, 1, 1)).astype(np.float32)

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 3, SIDE, SIDE))], opset_version=getattr(ct.target, target))
    def program(image):
        pads = {"pad_type": "custom", "pad": [1, 1, 1, 1]}
        x = mb.conv(x=image, weight=weights(0, 64, 3, 3, 3), name="first", **pads)
        x = mb.conv(x=x, weight=weights(1, WIDTH, 64, 1, 1) * ranges, name="expand")
        x = mb.conv(x=x, weight=weights(2, WIDTH, 1, 3, 3) / ranges, name="depthwise", groups=WIDTH, **pads)
        x = mb.conv(x=x, weight=weights(3, 32, WIDTH, 1, 1), name="project")
        return mb.conv(x=x, weight=weights(4, 1, 32, 1, 1), name="logits")

    return Lowered(program, (IMAGE,), (LOGITS,), target)


def saved(folder: Path, recipe: str, target: str, spread: float) -> tuple[Path, Compression]:
    """A package in a recipe's form, rounded to nearest, and what was intended."""
    lowered = separable(target, spread)
    compiled = compile_program(lowered)
    save_package(compiled, lowered, folder / "float.mlpackage", metadata=Metadata())
    found = weights_of(read_program(folder / "float.mlpackage").main, min_elements=RECIPES[recipe].min_elements)
    compression = encode(found, RECIPES[recipe], ios18=compiled.spec.specificationVersion >= 9)
    save_package(store(compiled, compression.encoded), lowered, folder / "a.mlpackage", metadata=Metadata())
    return folder / "a.mlpackage", compression


FORMS = {  # recipe, target, spread → operator and stored type of the pointwise and the depthwise weight
    "scales_where_channels_differ": (
        ("palette4", "iOS18", 1.0),
        ("constexpr_blockwise_shift_scale", "uint4"),
        ("constexpr_blockwise_shift_scale", "int8"),
    ),
    "3_bits": (
        ("palette3", "iOS18", 1.0),
        ("constexpr_blockwise_shift_scale", "uint3"),
        ("constexpr_blockwise_shift_scale", "int8"),
    ),
    "pairs": (
        ("palette4-vector", "iOS18", 0.0),
        ("constexpr_lut_to_dense", "uint8"),
        ("constexpr_blockwise_shift_scale", "int8"),
    ),
    "tables_alone_before_ios18": (
        ("palette4", "iOS16", 1.0),
        ("constexpr_lut_to_dense", "uint4"),
        ("constexpr_affine_dequantize", "int8"),
    ),
    "8_bits_before_ios18": (
        ("palette8", "iOS17", 1.0),
        ("constexpr_lut_to_dense", "uint8"),
        ("constexpr_affine_dequantize", "int8"),
    ),
}


@pytest.mark.parametrize("case", FORMS)
def test_the_form_follows_the_weights_and_the_target(case, tmp_path):
    (recipe, target, spread), pointwise, depthwise = FORMS[case]
    _, compression = saved(tmp_path, recipe, target, spread)
    forms = {weight.decoded.shape: (weight.operator, weight.dtype) for weight in compression.encoded.values()}
    assert forms[WIDTH, 64, 1, 1] == pointwise
    assert forms[WIDTH, 1, 3, 3] == depthwise


@pytest.mark.parametrize("case", FORMS)
def test_the_runtime_the_audit_and_coremltools_decode_what_was_computed(case, tmp_path):
    import coremltools as ct
    from coremltools.converters.mil.frontend.milproto.load import load as load_mil

    from portrait_export.runtime import load

    (recipe, target, spread), *_ = FORMS[case]
    path, compression = saved(tmp_path, recipe, target, spread)
    audit = audit_program(read_program(path), compression=compression)
    assert audit.problems == ()
    sizes = {weight.name: weight.size_bytes for weight in audit.applied}
    assert sizes == {name: weight.size_bytes for name, weight in compression.encoded.items()}
    picture = {"image": Image.new("RGB", (SIDE, SIDE))}
    ours = load(path).trace(picture, names=list(compression.encoded))
    model = ct.models.MLModel(str(path), skip_model_load=True)
    program = load_mil(model.get_spec(), model.get_spec().specificationVersion, model.weights_dir)
    theirs = {op.outputs[0].name: op.outputs[0].op for op in program.functions["main"].operations}
    for name, weight in compression.encoded.items():
        assert np.array_equal(ours[name], weight.decoded.astype(np.float32)), name
        if weight.operator != "constexpr_blockwise_shift_scale":  # of a chain it has no value
            assert np.array_equal(theirs[name].materialized_val_inference(), weight.decoded), name


def test_a_wrong_scale_is_found(tmp_path):
    path, compression = saved(tmp_path, "palette4", "iOS18", 1.0)
    name = next(name for name, weight in compression.encoded.items() if weight.dtype == "uint4")
    weight = compression.encoded[name]
    doubled = replace(weight, decoded=weight.decoded * np.float16(2))
    audit = audit_program(read_program(path), compression=Compression({**compression.encoded, name: doubled}, {}))
    assert [problem.split()[0] for problem in audit.problems] == [name]


def matrix_of(rows: int, columns: int, spread: float) -> np.ndarray:
    generator = np.random.default_rng(3)
    return generator.standard_normal((rows, columns)) * 10 ** generator.uniform(-spread, spread, (rows, 1))


@pytest.mark.parametrize("bits", [2, 3, 4, 6])
def test_a_scale_per_channel_is_right_for_every_channel(bits):
    layer = Layer("w", (96, 64), ("linear",))
    matrix = matrix_of(96, 64, 1.5)
    scaled = in_scaled_palette(layer, matrix, HALF, bits, None)
    assert scaled is not None
    alike = in_scaled_palette(layer, matrix_of(96, 64, 0), HALF, bits, None)
    assert alike is not None
    error = relative_error(matrix, scaled.decoded.astype(float), None)
    assert error < 1.25 * relative_error(matrix_of(96, 64, 0), alike.decoded.astype(float), None)


def test_compensation_works_through_scales():
    layer = Layer("w", (32, 64), ("linear",))
    matrix = matrix_of(32, 64, 1)
    x = np.random.default_rng(1).standard_normal((300, 4)) @ np.random.default_rng(2).standard_normal((4, 64))
    hessian = x.T @ x + 5 * np.eye(64)
    nearest, compensated = (in_scaled_palette(layer, matrix, HALF, 4, metric) for metric in (None, hessian))
    assert nearest is not None
    assert compensated is not None
    errors = [weighted_error(matrix, form.decoded.astype(float), hessian) for form in (nearest, compensated)]
    assert errors[1] < errors[0] / 3


def test_rows_of_zeros_stay_zero_and_tiny_rows_are_finite():
    matrix = matrix_of(4, 32, 0)
    matrix[1] = 0
    matrix[2] *= 1e-7
    form = in_scaled_palette(Layer("w", (4, 32), ("linear",)), matrix, HALF, 4, None)
    assert form is not None
    assert np.isfinite(form.decoded).all()
    assert not form.decoded[1].any()
    assert ScaledPalette.of(matrix, 4, np.ones(32)).scales[1] == 0


@pytest.mark.parametrize("compensated", [False, True])
def test_rows_of_zeros_store_zeros_although_no_other_row_needs_them(compensated):
    matrix = np.random.default_rng(0).choice([-1.0, -0.5, 0.5, 1.0], (64, 32))
    matrix[3] = 0
    hessian = np.eye(32) if compensated else None
    form = in_scaled_palette(Layer("w", (64, 32), ("linear",)), matrix, HALF, 2, hessian)
    assert form is not None
    assert not form.parts["data"].decoded[3].any(), "an entry times a scale of 0 looks like a lost weight"


def test_values_beyond_half_precision_have_no_such_form():
    matrix = np.full((4, 32), 1e8)
    assert in_scaled_palette(Layer("w", (4, 32), ("linear",)), matrix, HALF, 4, None) is None


def test_scales_that_gain_less_than_bits_would_are_not_bought():
    layer = Layer("w", (512, 8), ("linear",))
    matrix = np.random.default_rng(0).choice([-1.0, -0.25, 0.5, 1.0], (512, 8))
    table = in_scaled_palette(layer, matrix, HALF, 8, None)
    few = in_scaled_palette(layer, matrix, HALF, 2, None)
    assert table is not None
    assert few is not None
    assert cheapest([table, few], layer, matrix, None) is few


def test_8_bits_hold_a_weight_on_steps_per_channel_exactly():
    """Up to the rounding of each channel's scale, which must be that of the step and not of the largest value."""
    generator = np.random.default_rng(5)
    steps = generator.uniform(0.001, 0.1, (16, 1))
    codes = generator.integers(-127, 128, (16, 200))
    codes[:, 0] = 127
    layer = Layer("w", (16, 200), ("linear",))
    found = in_scaled_palette(layer, (steps * codes).astype(np.float16).astype(np.float64), HALF, 8, None)
    assert found is not None
    scales = found.parts["scale"].values.astype(np.float64).ravel()
    assert np.array_equal(np.rint(layer.matrix(found.decoded) / scales[:, None]), codes)
    assert np.abs(scales / steps[:, 0] - 1).max() < 2.0**-11 * 1.05
