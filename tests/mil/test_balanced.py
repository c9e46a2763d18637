"""Weights in half precision whose errors cancel over each output channel, alone and in compiled programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from portrait_export.artifacts import ArrayFeature, Lowered
from portrait_export.mil import coreml
from portrait_export.mil.balanced import halves, turned
from portrait_export.mil.compile import compile_program

from .programs import weights

LARGEST = float(np.finfo(np.float16).max)
ROWS = arrays(np.float32, (3, 5), elements=st.floats(-60000, 60000, width=32))


@given(ROWS)
def test_every_value_is_one_of_the_two_halves_around_it(rows):
    found = halves(rows, 0)
    assert found.dtype == np.float32
    assert np.array_equal(found, found.astype(np.float16))
    nearest = rows.astype(np.float16)
    assert ((np.nextafter(nearest, np.float16(-np.inf)) <= found) & (found <= np.nextafter(nearest, np.inf))).all()
    error = found.astype(np.float64) - rows
    step = np.spacing(np.maximum(np.abs(nearest), np.abs(found).astype(np.float16))).astype(np.float64)
    assert (np.abs(error) <= step).all()


@given(ROWS)
def test_no_channel_has_a_larger_sum_of_errors_than_rounding_to_nearest(rows):
    def sums(rounded: np.ndarray) -> np.ndarray:
        return np.abs((rounded.astype(np.float64) - rows).sum(axis=1))

    assert (sums(halves(rows, 0)) <= sums(rows.astype(np.float16)) * (1 + 1e-9)).all()


def test_sums_of_errors_nearly_vanish_and_squares_hardly_grow():
    weight = weights(0, 64, 32, 3, 3)
    errors = {
        name: (rounded.astype(np.float64) - weight).reshape(64, -1)
        for name, rounded in {"nearest": weight.astype(np.float16), "balanced": halves(weight, 0)}.items()
    }
    sums, squares = (
        {name: float(np.sqrt((found**2).mean())) for name, found in of.items()}
        for of in ({name: error.sum(axis=1) for name, error in errors.items()}, errors)
    )
    assert sums["balanced"] < 0.1 * sums["nearest"]
    assert squares["balanced"] < 1.01 * squares["nearest"]


def test_those_are_turned_first_that_cost_least():
    errors, steps = np.array([[0.4, 0.1, 0.3]]), np.array([[-1.0, -1.0, -1.0]])
    assert turned(errors, steps).tolist() == [[True, False, False]]


def test_an_error_that_is_already_balanced_or_has_no_other_side_stays():
    assert not turned(np.array([[0.4, -0.4]]), np.array([[-1.0, 1.0]])).any()
    assert not turned(np.array([[0.4, 0.4]]), np.array([[0.0, -np.inf]])).any()
    assert not turned(np.zeros((0, 3)), np.zeros((0, 3))).any()


EDGES = {
    "halves": np.float32([[1, 0.5, -2], [0, 0, 0]]),
    "the largest half": np.float32([[LARGEST, 1.0001, -LARGEST]]),
    "below the normal range": np.float32([[1e-7, 2e-8, -3e-6]]),
    "one value": np.float32([[0.1]]),
}


@pytest.mark.parametrize("case", EDGES)
def test_the_edges_of_half_precision(case):
    weight = EDGES[case]
    found = halves(weight, 0)
    assert np.isfinite(found).all()
    assert np.abs(found - weight).max() <= 2.0**-10 * np.abs(weight).max() + 2.0**-24
    if case == "halves":
        assert np.array_equal(found, weight)


UNTOUCHED = {
    "no layer reads it": (np.float32([[0.1]]), None),
    "too large": (np.float32([[1e6, 0.1]]), 0),
    "not a number": (np.float32([[np.nan, 0.1]]), 0),
    "doubles": (np.array([[0.1]]), 0),
    "empty": (np.zeros((0, 3), np.float32), 0),
}


@pytest.mark.parametrize("case", UNTOUCHED)
def test_what_stays_as_it_is(case):
    assert halves(*UNTOUCHED[case]) is None


SIDE = 8
Build = Callable[..., object]


def program(build: Build) -> Lowered:
    mb, ct = coreml.builder(), coreml.coremltools()

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 16, SIDE, SIDE))], opset_version=ct.target.iOS17)
    def net(x):
        return build(mb, x)

    feature = ArrayFeature("x", (1, 16, SIDE, SIDE))
    return Lowered(net, (feature,), (ArrayFeature("y", (1, 4)),), "iOS17")


def dense(mb, x, weight):
    """linear and both orders of matmul need a matrix of one row per pixel."""
    return mb.reshape(x=x, shape=(SIDE * SIDE, 16)), mb.const(val=weight, name="w")


LAYERS: dict[str, tuple[tuple[int, ...], int, Build]] = {
    "conv": ((32, 16, 3, 3), 0, lambda mb, x, w: mb.conv(x=x, weight=mb.const(val=w, name="w"), name="y")),
    "depthwise": (
        (16, 1, 5, 5),
        0,
        lambda mb, x, w: mb.conv(x=x, weight=mb.const(val=w, name="w"), groups=16, name="y"),
    ),
    "linear": ((32, 16), 0, lambda mb, x, w: (lambda a, b: mb.linear(x=a, weight=b, name="y"))(*dense(mb, x, w))),
    "matmul": ((16, 32), 1, lambda mb, x, w: (lambda a, b: mb.matmul(x=a, y=b, name="y"))(*dense(mb, x, w))),
    "transposed": (
        (32, 16),
        0,
        lambda mb, x, w: (lambda a, b: mb.matmul(x=a, y=b, transpose_y=True, name="y"))(*dense(mb, x, w)),
    ),
}


def stored(layer: str, **options: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The weight, and what the compiled program holds."""
    shape, _, build = LAYERS[layer]
    weight = weights(3, *shape)
    compiled = compile_program(program(lambda mb, x: build(mb, x, weight)), **options)
    return weight, next(value for value in compiled.originals.values() if value.shape == shape)


@pytest.mark.parametrize("layer", LAYERS)
def test_layers_are_compiled_with_balanced_weights(layer):
    weight, found = stored(layer)
    assert found.dtype == np.float16
    assert np.array_equal(found, halves(weight, LAYERS[layer][1]))
    assert not np.array_equal(found, weight.astype(np.float16))


def test_layers_in_float32_keep_their_weights():
    weight, found = stored("conv", keep_fp32=["conv"])
    assert found.dtype == np.float32
    assert np.array_equal(found, weight)
    weight, found = stored("conv", precision="fp32")
    assert np.array_equal(found, weight)


def test_a_weight_that_several_operations_read_is_one_constant_still():
    weight = weights(4, 16, 16, 3, 3)

    def both(mb, x):
        shared = mb.const(val=weight, name="w")
        hidden = mb.conv(x=x, weight=shared, pad_type="same", name="a")
        return mb.conv(x=mb.relu(x=hidden), weight=shared, pad_type="same", name="y")

    compiled = compile_program(program(both))
    (found,) = (value for value in compiled.originals.values() if value.shape == weight.shape)
    assert np.array_equal(found, halves(weight, 0))


def test_a_constant_that_is_no_weight_is_rounded_to_nearest():
    shift = weights(5, 1, 16, SIDE, SIDE)
    compiled = compile_program(program(lambda mb, x: mb.add(x=x, y=shift, name="y")))
    (found,) = (value for value in compiled.originals.values() if value.shape == shift.shape)
    assert np.array_equal(found, shift.astype(np.float16))


def test_the_audit_compares_weights_that_half_precision_cannot_hold_with_what_they_were():
    weight = 1e-7 * weights(7, 32, 16, 3, 3)
    compiled = compile_program(program(lambda mb, x: mb.conv(x=x, weight=mb.const(val=weight, name="w"), name="y")))
    (found,) = (value for value in compiled.originals.values() if value.shape == weight.shape)
    assert np.array_equal(found, weight)


def test_a_difference_of_large_numbers_keeps_its_mean(tmp_path):
    """A depthwise convolution with a folded norm, on inputs of one sign: what the first one of lite0_fpn does."""
    from portrait_export.mil.package import save_package
    from portrait_export.mil.program import Metadata
    from portrait_export.runtime import load

    generator = np.random.default_rng(6)
    weight = 30 * generator.standard_normal((16, 1, 3, 3)).astype(np.float32)
    lowered = program(lambda mb, x: mb.conv(x=x, weight=mb.const(val=weight, name="w"), groups=16, name="y"))
    save_package(compile_program(lowered), lowered, tmp_path / "net.mlpackage", metadata=Metadata())
    pixels = (3 + 0.1 * generator.standard_normal((1, 16, SIDE, SIDE))).astype(np.float16).astype(np.float32)
    found = load(tmp_path / "net.mlpackage").predict({"x": pixels})["y"].astype(np.float64)

    def mean(values: np.ndarray) -> np.ndarray:
        windows = np.lib.stride_tricks.sliding_window_view(pixels[0], (3, 3), axis=(1, 2))
        return np.einsum("chwij,cij->chw", windows.astype(np.float64), values[:, 0].astype(np.float64)).mean((1, 2))

    exact = mean(weight)
    error = np.abs(found[0].mean((1, 2)) - exact).mean()
    assert error < 0.5 * np.abs(mean(weight.astype(np.float16)) - exact).mean()


def test_the_audit_takes_the_next_half_for_no_fault_and_the_one_after_it_for_one():
    from portrait_export.mil.audit.compare import compare
    from portrait_export.mil.audit.grids import Layout

    weight = weights(8, 64, 64, 3, 3)
    nearest, found = weight.astype(np.float16), halves(weight, 0).astype(np.float16)
    few = found.copy()
    few.ravel()[100:] = nearest.ravel()[100:]  # too few to be a way of rounding
    layout = Layout(np.zeros(weight.size, np.intp))

    def fault() -> str:
        rows = (array.reshape(-1, 1) for array in (few, nearest, weight))
        return compare(*rows, layout=layout, bits=16, plain=True).fault

    assert not fault()
    few.ravel()[0] = nearest.ravel()[0] + np.float16(3) * np.spacing(np.abs(nearest.ravel()[0]))
    assert "1 of 36864 values that are not the nearest" in fault()
