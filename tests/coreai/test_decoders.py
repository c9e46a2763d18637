"""Compressed weights in assets: the text that decodes them, and what Apple's runtime makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from portrait_export.artifacts import Frame
from portrait_export.coreai.asset import save_asset
from portrait_export.coreai.audit import audit_asset
from portrait_export.coreai.decoders import decoders_of, transposed
from portrait_export.coreai.graph import with_pixels
from portrait_export.coreai.half import in_half
from portrait_export.coreai.runner import CoreAIRunner
from portrait_export.coreai.shared import NOT_FOUND, matched, with_open_weights
from portrait_export.coreai.worker import with_decoders
from portrait_export.errors import QuantizeError
from portrait_export.mil.encoded import Compression, EncodedWeight, Part
from portrait_export.mil.program import Metadata
from portrait_export.preprocessing import SPEC_KEY

from .nets import needs_core_ai, photo, run_onnx, small_net, spec_of_side

FP16 = np.dtype(np.float16)
MATRIX = "mix.weight"  # (16 inputs, 16 outputs), as MatMul reads it
KERNEL = "deep.weight"  # (16, 3, 3, 3)
LUT, BLOCKS = "constexpr_lut_to_dense", "constexpr_blockwise_shift_scale"


def palette(shape: tuple[int, ...], bits: int) -> EncodedWeight:
    """Random indices into one table of halves."""
    rng = np.random.default_rng(bits)
    codes = rng.integers(0, 2**bits, shape).astype(np.uint8)
    table = rng.normal(0, 0.3, 2**bits).astype(FP16)
    lut = Part("fp16", table.reshape(*[1] * len(shape), -1, 1))
    return EncodedWeight(LUT, {"indices": Part(f"uint{bits}", codes), "lut": lut}, f"uint{bits}", table[codes])


def scaled_palette(shape: tuple[int, ...], bits: int) -> EncodedWeight:
    """Random indices into one table of integers, times a scale per row."""
    rng = np.random.default_rng(bits)
    codes = rng.integers(0, 2**bits, shape).astype(np.uint8)
    table = rng.integers(-127, 128, 2**bits).astype(np.int8)
    lut = Part("int8", table.reshape(*[1] * len(shape), -1, 1))
    looked_up = EncodedWeight(LUT, {"indices": Part(f"uint{bits}", codes), "lut": lut}, f"uint{bits}", table[codes])
    scales = (rng.uniform(1, 3, shape[0]) / 400).astype(FP16).reshape(-1, *[1] * (len(shape) - 1))
    decoded = (table[codes] * scales.astype(np.float32)).astype(FP16)
    return EncodedWeight(BLOCKS, {"data": looked_up, "scale": Part("fp16", scales)}, f"uint{bits}", decoded)


def blocks(shape: tuple[int, ...], bits: int) -> EncodedWeight:
    """Random signed integers; two scales per row of a matrix, one per row of a kernel."""
    rng = np.random.default_rng(bits)
    codes = rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), shape).astype(np.int8)
    per_row = 2 if shape[1] % 2 == 0 else 1
    scales = (rng.uniform(1, 3, (shape[0], per_row, *[1] * (len(shape) - 2))) / 2**bits / 3).astype(FP16)
    wide = np.repeat(scales.astype(np.float32), shape[1] // per_row, axis=1)
    parts = {"data": Part(f"int{bits}", codes), "scale": Part("fp16", scales)}
    return EncodedWeight(BLOCKS, parts, f"int{bits}", (codes * wide).astype(FP16))


def vectors(shape: tuple[int, ...], bits: int) -> EncodedWeight:
    """Random indices into a table of pairs of rows."""
    rng = np.random.default_rng(bits)
    codes = rng.integers(0, 2**bits, (shape[0] // 2, *shape[1:])).astype(np.uint8)
    table = rng.normal(0, 0.3, (2**bits, 2)).astype(FP16)
    decoded = np.moveaxis(table[codes], -1, 1).reshape(shape)
    parts = {
        "indices": Part(f"uint{bits}", codes),
        "lut": Part("fp16", table.reshape(*[1] * len(shape), 2**bits, 2)),
        "vector_axis": Part("int32", np.array(0, np.int32)),
    }
    return EncodedWeight(LUT, parts, f"uint{bits}", decoded)


FORMS = {
    **{f"palette{bits}": (palette, bits) for bits in (2, 3, 4, 6, 8)},
    "palette4_with_scales": (scaled_palette, 4),
    "palette3_with_scales": (scaled_palette, 3),
    "int4_blocks": (blocks, 4),
    "int8_blocks": (blocks, 8),
    "pairs": (vectors, 8),
}


def with_weights(encoded: dict[str, EncodedWeight]) -> onnx.ModelProto:
    """The small network with the decoded weights."""
    model = small_net()
    for tensor in model.graph.initializer:
        if tensor.name in encoded:
            array = encoded[tensor.name].decoded.astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return model


def saved(folder: Path, encoded: dict[str, EncodedWeight]) -> tuple[Path, onnx.ModelProto]:
    """An asset with compressed weights, and the model that was converted."""
    opened, inputs = with_open_weights(in_half(with_weights(encoded)), encoded)
    model = with_pixels(opened, spec_of_side())
    metadata = Metadata(user_defined={SPEC_KEY: spec_of_side().to_json()})
    return save_asset(model, folder / "small.aimodel", metadata=metadata, encoded=inputs).path, model


@needs_core_ai
@pytest.mark.parametrize("name", FORMS)
def test_runtime_decodes_what_is_stored(name: str, tmp_path: Path) -> None:
    form, bits = FORMS[name]
    encoded = {KERNEL: form((16, 3, 3, 3), bits), MATRIX: transposed(form((16, 16), bits))}
    path, model = saved(tmp_path, encoded)
    plain = with_pixels(in_half(with_weights(encoded)), spec_of_side())
    metadata = Metadata(user_defined={SPEC_KEY: spec_of_side().to_json()})
    decoded = save_asset(plain, tmp_path / "decoded.aimodel", metadata=metadata).path
    [found], [expected] = (CoreAIRunner(asset).run([Frame(photo())]) for asset in (path, decoded))
    assert found.logits is not None
    assert expected.logits is not None
    np.testing.assert_array_equal(found.logits, expected.logits)
    exact = run_onnx(with_pixels(with_weights(encoded), spec_of_side()), image=photo()[None])["logits"][0, 0]
    assert np.abs(found.logits - exact).max() < 1e-2 * np.abs(exact).max()  # the asset computes in half precision
    audit = audit_asset(path, model, requested=encoded[MATRIX].dtype, encoded=encoded)
    assert audit.passed
    assert {weight.name for weight in audit.applied} == {KERNEL, MATRIX}


@needs_core_ai
def test_audit_finds_another_table_and_repeats_are_identical(tmp_path: Path) -> None:
    encoded = {KERNEL: palette((16, 3, 3, 3), 4)}
    path, model = saved(tmp_path / "one", encoded)
    again, _ = saved(tmp_path / "two", encoded)
    assert (path / "main.mlirb").read_bytes() == (again / "main.mlirb").read_bytes()
    table = encoded[KERNEL].parts["lut"].values + FP16.type(0.01)
    parts = {**encoded[KERNEL].parts, "lut": Part("fp16", table)}
    other = EncodedWeight(LUT, parts, "uint4", encoded[KERNEL].decoded)
    assert audit_asset(path, model, requested="uint4", encoded={KERNEL: other}).problems == (
        "deep.weight (16, 3, 3, 3): its fp16 are not in the asset as they were given",
    )


def test_text_of_a_palette_with_scales() -> None:
    decoder = decoders_of({"w": scaled_palette((2, 3), 4)})["w"]
    assert decoder.lines == [
        "%weight_indices = coreai.constant dense_resource<resource_0> : tensor<2x3xui4>",
        "%weight_table = coreai.constant dense_resource<resource_1> : tensor<1x1x16x1xsi8>",
        "%weight_axis = coreai.constant dense<0> : tensor<si16>",
        (
            "%weight_data = coreai.lut_to_dense %weight_indices, %weight_table, %weight_axis :"
            " (tensor<2x3xui4>, tensor<1x1x16x1xsi8>, tensor<si16>) -> tensor<2x3xsi8>"
        ),
        "%weight_scale = coreai.constant dense_resource<resource_2> : tensor<2x1xf16>",
        "%weight_zero = coreai.constant dense<0> : tensor<2x1xsi8>",
        "%weight_bias = coreai.constant dense<0.0> : tensor<2x1xf16>",
        (
            "%weight = coreai.blockwise_shift_scale %weight_data, %weight_scale, %weight_zero, %weight_bias :"
            " (tensor<2x3xsi8>, tensor<2x1xf16>, tensor<2x1xsi8>, tensor<2x1xf16>) -> tensor<2x3xf16>"
        ),
    ]
    assert [len(data) for data in decoder.blobs.values()] == [3, 16, 4]


def test_names_of_blobs_are_unique_among_weights() -> None:
    found = decoders_of({"a": palette((2, 4), 4), "b": palette((2, 4), 4)})
    assert [name for decoder in found.values() for name in decoder.blobs] == [f"resource_{n}" for n in range(4)]


def test_operator_that_core_ai_lacks_is_refused() -> None:
    sparse = EncodedWeight("constexpr_sparse_to_dense", {}, "fp16", np.zeros((2, 2), FP16))
    with pytest.raises(QuantizeError, match="Core AI has no operator for constexpr_sparse_to_dense"):
        decoders_of({"w": sparse})


TEXT = (
    "module {\n"
    '  coreai.graph @main(%arg0: tensor<1xf16> {coreai.name = "image"}, %arg1: tensor<2xf16> {coreai.name = "w"})'
    ' -> (tensor<1xf16> {coreai.name = "y"}) attributes {__coreai_pure__} {\n'
    "    coreai.output %arg1 : tensor<2xf16>\n  }\n}\n"
)
DECODERS = {"w": {"lines": ["%weight_i = a", "%weight = b %weight_i"], "blobs": {"resource_0": "0A"}}}
DECODED = (
    "module {\n"
    '  coreai.graph @main(%arg0: tensor<1xf16> {coreai.name = "image"})'
    ' -> (tensor<1xf16> {coreai.name = "y"}) attributes {__coreai_pure__} {\n'
    "    %arg1_i = a\n    %arg1 = b %arg1_i\n"
    "    coreai.output %arg1 : tensor<2xf16>\n  }\n}\n"
)
BLOBS = "\n{-#\n  dialect_resources: {\n    builtin: {\n"


def test_input_becomes_a_decoded_weight() -> None:
    end = '      resource_0: "0x100000000A"\n    }\n  }\n#-}\n'
    assert with_decoders(TEXT, DECODERS) == DECODED + BLOBS + end
    other = '      resource_7: "0x1000000001"\n    }\n  }\n#-}\n'
    assert with_decoders(TEXT + BLOBS + other, DECODERS) == (
        DECODED + BLOBS + '      resource_0: "0x100000000A",\n' + other
    )
    assert with_decoders(TEXT, {}) == TEXT


def test_missing_input_is_an_error() -> None:
    with pytest.raises(ValueError, match="does not take v"):
        with_decoders(TEXT, {"v": DECODERS["w"]})


def test_weights_are_found_by_their_values() -> None:
    model = small_net()
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    originals = {
        "conv_0_weight": arrays[KERNEL].astype(FP16),
        "linear_1": np.ascontiguousarray(arrays[MATRIX].T).astype(FP16),
        "other": np.ones((16, 16), FP16),
    }
    encoded = {"conv_0_weight": palette((16, 3, 3, 3), 4), "linear_1": vectors((16, 16), 8)}
    found, skipped = matched(model, Compression(encoded, {}), originals, dtype=FP16, min_elements=200)
    assert found[KERNEL] is encoded["conv_0_weight"]
    np.testing.assert_array_equal(found[MATRIX].decoded, encoded["linear_1"].decoded.T)
    assert found[MATRIX].parts["vector_axis"].values == 1
    assert found[MATRIX].parts["indices"].values.shape == (16, 8)
    small = {"head.weight": "it has no more than 200 elements"}
    assert skipped == small
    del encoded["linear_1"]
    _, skipped = matched(model, Compression(encoded, {}), originals, dtype=FP16, min_elements=200)
    assert skipped == {MATRIX: NOT_FOUND, **small}
    _, skipped = matched(model, Compression(encoded, {"linear_1": "last"}), originals, dtype=FP16, min_elements=200)
    assert skipped == {MATRIX: "last", **small}
