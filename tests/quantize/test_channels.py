"""8-bit weights with a scale per channel: every value within half a step, zeros and tiny and huge weights included."""

from __future__ import annotations

import numpy as np
import pytest

from portrait_export.quantize.channels import in_channels
from portrait_export.quantize.layer import Layer

HALF_A_STEP = 0.56  # and half precision's own rounding: 2^-11 of up to 127 steps
A_STEP = 2 * HALF_A_STEP  # of those that are rounded to the other side, so that a channel's errors cancel

WEIGHTS = {
    "normal": np.random.default_rng(0).normal(size=(6, 5, 3, 3)),
    "a channel of zeros": np.array([[0.0] * 4, [1.0, -2.0, 0.5, 0.25]]),
    "one element": np.array([[-3.5]]),
    "tiny": np.random.default_rng(1).normal(scale=1e-5, size=(4, 30)),
    "the smallest halves": np.array([[2.0**-24, -(2.0**-23), 0.0]]),
    "the largest halves": np.array([[65504.0, -65504.0, 1.0]]),
}


@pytest.mark.parametrize("ios18", [False, True])
@pytest.mark.parametrize("name", WEIGHTS)
def test_every_value_is_within_half_a_step(name, ios18):
    weight = WEIGHTS[name].astype(np.float16)
    layer = Layer("w", weight.shape, ("conv",))
    stored = in_channels(layer, layer.matrix(weight), weight.dtype, ios18=ios18)
    scale = stored.parts["scale"].values.astype(np.float64).reshape(-1, *[1] * (weight.ndim - 1))
    codes = stored.parts["data" if ios18 else "quantized_data"].values
    assert np.array_equal(stored.decoded, (codes * scale).astype(np.float16))
    assert np.abs(codes).max() <= 127
    assert (scale > 0).all()
    errors = stored.decoded - weight.astype(np.float64)
    assert (np.abs(errors) <= scale * A_STEP).all()
    nearest = np.rint(weight / scale).clip(-127, 127)
    turned = codes != nearest
    assert (np.abs(errors) <= scale * HALF_A_STEP)[~turned].all()
    for channel in np.flatnonzero(turned.reshape(len(codes), -1).any(axis=1)):
        assert abs((codes * scale - weight)[channel].sum()) < abs((nearest * scale - weight)[channel].sum())


def test_the_errors_of_each_channel_nearly_cancel():
    weight = np.random.default_rng(2).normal(size=(6, 40, 3, 3))
    layer = Layer("w", weight.shape, ("conv",))
    stored = in_channels(layer, layer.matrix(weight), np.dtype(np.float32), ios18=False)
    scale = stored.parts["scale"].values.astype(np.float64)
    sums = (stored.decoded.astype(np.float64) - weight).sum(axis=(1, 2, 3))
    assert (np.abs(sums) <= 0.51 * scale).all()


def test_measured_inputs_lower_the_error_of_the_output():
    weight = np.random.default_rng(2).normal(size=(6, 40))
    inputs = np.random.default_rng(3).normal(size=(100, 4)) @ np.random.default_rng(4).normal(size=(4, 40))
    layer, half = Layer("w", weight.shape, ("linear",)), np.dtype(np.float16)
    measured, plain = (in_channels(layer, weight, half, one, ios18=True) for one in (inputs.T @ inputs, None))
    errors = [float(((inputs @ (one.decoded - weight).T) ** 2).sum()) for one in (measured, plain)]
    assert errors[0] < 0.2 * errors[1]


def test_a_factor_of_a_matmul_has_scales_along_its_last_axis():
    weight = (np.arange(12.0).reshape(3, 4) * [1, 10, 100, 1000]).astype(np.float16)
    layer = Layer("w", (3, 4), ("matmul",), transposed=True)
    stored = in_channels(layer, layer.matrix(weight), weight.dtype, ios18=False)
    assert int(stored.parts["axis"].values) == 1
    assert stored.parts["scale"].values.shape == (4,)
    scale = stored.parts["scale"].values.astype(np.float64)
    assert (np.abs(stored.decoded - weight.astype(np.float64)) <= scale * A_STEP).all()
