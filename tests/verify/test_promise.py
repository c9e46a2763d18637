"""What an operation's stored types promise, against weights that are really rounded."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from portrait_export.mil.constants import Constant
from portrait_export.mil.program import Operation, read_program
from portrait_export.mil.types import TensorType
from portrait_export.verify.promise import FLOAT_BAR_DB, HALF_WEIGHT_BAR_DB, MARGIN_DB, Promise, promises_of


class Known(Constant):
    """A constant whose value is given, not stored."""

    def __init__(self, array: np.ndarray, dtype: str):
        super().__init__(TensorType(dtype, array.shape), "test", None, None)  # type: ignore[arg-type]
        object.__setattr__(self, "array", array)

    def numpy(self) -> np.ndarray:
        return self.array  # type: ignore[attr-defined]


def decoder(kind: str, **parts: Known) -> Operation:
    return Operation(kind, "w", {}, parts, (("w", TensorType("fp16", (64, 64))),))


@pytest.mark.parametrize(("bits", "dtype"), [(8, "int8"), (4, "int4")])
def test_a_rounded_weight_is_as_far_off_as_its_steps_say(bits: int, dtype: str) -> None:
    """An oracle: round seeded weights per tensor and measure; the promise is that, less its margin."""
    from portrait_export.verify.promise import _decoder_db

    weights = np.random.default_rng(3).standard_normal((64, 64))
    scale = np.abs(weights).max() / (2 ** (bits - 1) - 1)
    steps = np.round(weights / scale)
    measured = 10 * math.log10(np.sum(weights**2) / np.sum((steps * scale - weights) ** 2))
    parts = {"data": Known(steps.astype(np.int8), dtype), "scale": Known(np.full((1, 1), scale), "fp32")}
    promised = _decoder_db(decoder("constexpr_blockwise_shift_scale", **parts), {})
    assert promised == pytest.approx(measured - MARGIN_DB, abs=0.5)


DECODERS: dict[str, tuple[Operation, float]] = {
    "zeros_promise_what_healthy_bits_would": (
        decoder("constexpr_affine_dequantize", quantized_data=Known(np.zeros((4, 4), np.int8), "int8")),
        6.02 * 8 - 2 * MARGIN_DB,
    ),
    "a_table_of_64_is_six_bits": (
        decoder("constexpr_lut_to_dense", lut=Known(np.zeros((1, 1, 64, 1)), "fp16")),
        6.02 * 6 - 2 * MARGIN_DB,
    ),
    "pruning_promises_nothing": (decoder("constexpr_sparse_to_dense"), 0.0),
    "half_stored_for_float": (decoder("constexpr_cast"), HALF_WEIGHT_BAR_DB),
}


@pytest.mark.parametrize("name", DECODERS)
def test_promises_of_compressed_weights(name: str) -> None:
    from portrait_export.verify.promise import _decoder_db

    operation, expected = DECODERS[name]
    assert _decoder_db(operation, {}) == pytest.approx(expected)


def test_promises_in_a_real_package(small_export: Path) -> None:
    function = read_program(small_export / "segformer_b0.mlpackage").main
    found = promises_of(function)
    kinds = {name: op.type for op in function.block.operations for name, _ in op.outputs}
    assert found["image__biased__"] == Promise(FLOAT_BAR_DB, half=False)
    assert found["image_to_fp16"] == Promise(FLOAT_BAR_DB, half=True)
    assert found["logits_cast_fp16"] == Promise(HALF_WEIGHT_BAR_DB, half=True)
    convolutions = {promise.weights_db for name, promise in found.items() if kinds[name] == "conv"}
    assert min(convolutions) > 28
    assert max(convolutions) == HALF_WEIGHT_BAR_DB
    assert {found[name].weights_db for name in found if kinds[name] == "softmax"} == {FLOAT_BAR_DB}


def test_eight_bit_activations_promise_what_the_recipe_keeps() -> None:
    from portrait_export.mil.program import Block, Function
    from portrait_export.quantize.activation_layers import MIN_SNR_DB

    half = TensorType("fp16", (4, 4))
    operations = (
        Operation("quantize", "q", {}, {}, (("q", TensorType("int8", (4, 4))),)),
        Operation("dequantize", "d", {}, {}, (("d", half),)),
        Operation("relu", "r", {}, {}, (("r", half),)),
    )
    found = promises_of(Function("main", (), "CoreML7", Block((), operations, ("r",))))
    assert [found[name].weights_db for name in "qdr"] == [MIN_SNR_DB - MARGIN_DB, MIN_SNR_DB - MARGIN_DB, FLOAT_BAR_DB]


def test_two_operations_promise_what_the_worse_one_does() -> None:
    assert Promise(50, half=True).joined(Promise(30)) == Promise(30, half=True)
