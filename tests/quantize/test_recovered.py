"""Weights that were stored as 8-bit integers are recovered as such, whatever scaled them since; no others are."""

from __future__ import annotations

import numpy as np
import pytest

from portrait_export.quantize.recovered import _recovered

SHAPES = {"conv": (24, 8, 3, 3), "depthwise": (32, 1, 3, 3), "linear": (40, 64), "one_by_one": (300, 16, 1, 1)}


def quantized(shape: tuple[int, ...], axis: int | None, *, zero: int = 0, low: int = -127, seed: int = 0) -> np.ndarray:
    """(q − zero) · scale in float64, with a scale per element of an axis, or one."""
    generator = np.random.default_rng(seed)
    numbers = generator.integers(low, low + 255, shape)
    count = 1 if axis is None else shape[axis]
    scales = generator.uniform(0.001, 0.02, count)
    return (numbers - zero) * scales.reshape([-1 if axis == i else 1 for i in range(len(shape))])


def decoded_again(found) -> np.ndarray:
    """The weight from its stored parts, by the operators' definitions."""
    parts = {name: part.values.astype(np.float64) for name, part in found.parts.items()}
    if found.operator == "constexpr_blockwise_shift_scale":
        return (parts["data"] - parts.get("offset", 0)) * parts["scale"]
    along = [-1 if i == int(parts["axis"]) else 1 for i in range(parts["quantized_data"].ndim)]
    return (parts["quantized_data"] - parts["zero_point"].reshape(along)) * parts["scale"].reshape(along)


@pytest.mark.parametrize("ios18", [False, True])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize(("axis", "zero", "low"), [(0, 0, -127), (None, 0, -127), (0, 131, 0), (1, 0, -127)])
@pytest.mark.parametrize("name", SHAPES)
def test_integers_are_recovered(name, axis, zero, low, dtype, ios18):
    exact = quantized(SHAPES[name], axis, zero=zero, low=low)
    if axis == 1:
        exact = quantized((SHAPES[name][0], 8, *SHAPES[name][2:]), axis)
    weight = exact.astype(dtype)
    found = _recovered(weight, transposed=False, ios18=ios18)
    assert not isinstance(found, str), found
    assert found.dtype == "int8"
    assert np.array_equal(found.decoded, decoded_again(found).astype(dtype))
    steps = np.abs(exact).max() * 2 * np.finfo(dtype).eps  # the weight's rounding and the scale's
    assert np.abs(found.decoded.astype(np.float64) - exact).max() <= steps


def test_channels_that_were_scaled_since_are_recovered():
    """A batch norm multiplies each output channel by a number of its own."""
    gains = np.random.default_rng(1).normal(size=(24, 1, 1, 1))
    weight = (quantized(SHAPES["conv"], None) * gains).astype(np.float16)
    assert not isinstance(_recovered(weight, transposed=False, ios18=False), str)


def test_a_weight_whose_channels_are_the_last_axis():
    weight = quantized((64, 40), 1).astype(np.float16)
    found = _recovered(weight, transposed=True, ios18=False)
    assert int(found.parts["axis"].values) == 1


def test_zeros_are_recovered():
    weight = quantized(SHAPES["conv"], 0).astype(np.float16)
    weight[3] = 0
    found = _recovered(weight, transposed=False, ios18=True)
    assert np.array_equal(found.decoded[3], weight[3])


LEFT = {
    "random": (np.random.default_rng(0).normal(size=(24, 8, 3, 3)), "not on a grid"),
    "one_channel_of_many": (
        np.concatenate([quantized((23, 72), 0), np.random.default_rng(0).normal(size=(1, 72))]),
        "not on a grid",
    ),
    "ten_bits": (np.random.default_rng(0).integers(-511, 512, (24, 72)) * 0.001, "not on a grid"),
    "steps_below_half_precision": (np.random.default_rng(0).integers(-127, 128, (24, 72)) * 1.01e-6, "too small"),
    "not_finite": (np.full((24, 72), np.nan), "NaN"),
}


@pytest.mark.parametrize("name", LEFT)
def test_other_weights_are_left_with_the_reason(name):
    weight, reason = LEFT[name]
    assert reason in _recovered(weight.astype(np.float16), transposed=False, ios18=False)
