"""Grids of activations: against coremltools' arithmetic, brute force, and values at the edge of what can be."""

from __future__ import annotations

import numpy as np
import pytest

from portrait_export.mil.encoded import ActivationGrid
from portrait_export.quantize.activations import (
    LEAST_SCALE,
    METHODS,
    MOST_ASYMMETRIC,
    MOST_SYMMETRIC,
    Histogram,
    choose,
    grid_of,
    ranges_of,
    usable,
)

SIDES = pytest.mark.parametrize("asymmetric", [False, True], ids=["symmetric", "asymmetric"])


def histogram(values: object) -> Histogram:
    numbers, counts = np.unique(np.asarray(values, np.float16).astype(np.float32), return_counts=True)
    return Histogram(numbers, counts)


def normal(count: int = 20_000, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(0).normal(scale=scale, size=count)


EDGES = {
    "zeros": [0.0],
    "one number": [3.25],
    "one negative number": [-7.0],
    "negative only": -np.abs(normal()) - 0.5,
    "positive only": np.abs(normal()) + 0.5,
    "tiny": normal(scale=1e-6),
    "the largest halves": [-65504.0, 65504.0, 1.0],
    "one far outlier": [*normal(), 30_000.0],
    "a negative outlier": [*np.abs(normal()), -400.0],
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("edge", EDGES)
@SIDES
def test_every_grid_is_of_normal_halves(edge, method, asymmetric):
    low, high = choose(histogram(EDGES[edge]), method, asymmetric=asymmetric)
    grid = grid_of(low, high, asymmetric=asymmetric)
    assert LEAST_SCALE <= grid.scale < 65504
    assert np.float16(grid.scale) == grid.scale
    assert -128 <= grid.zero_point <= 127
    assert np.isfinite(grid.rounded(np.float32([low, high]))).all()


@pytest.mark.parametrize("edge", EDGES)
@SIDES
def test_a_grid_is_what_coremltools_computes_for_its_range(edge, asymmetric):
    """Its own function, with which the passes get their scales and zero points."""
    from portrait_export.mil import coreml

    coreml.coremltools()
    from coremltools.converters.mil.mil import types
    from coremltools.optimize import _utils

    low, high = choose(histogram(EDGES[edge]), "minmax", asymmetric=asymmetric)
    ends = _utils.get_min_and_max_values({"x": {"rmin": low, "rmax": high}}, "x")
    mode = "LINEAR" if asymmetric else "LINEAR_SYMMETRIC"
    _, scale, zero = _utils.quantize_weight_by_dtype(ends, 0, types.int8, mode)
    assert grid_of(low, high, asymmetric=asymmetric) == ActivationGrid(float(scale), int(zero or 0))


@SIDES
def test_the_largest_usable_range_has_a_grid_and_a_larger_one_overflows_in_coremltools(asymmetric):
    most = MOST_ASYMMETRIC if asymmetric else MOST_SYMMETRIC
    assert usable(-1e9, 1e9, asymmetric=asymmetric) == (-most, most)
    beyond = np.nextafter(np.float16(most), np.float16(np.inf))
    with np.errstate(over="ignore"):
        assert np.isinf(np.float16(128) * np.float16(512)) if asymmetric else np.isinf(beyond + beyond)


def test_least_error_is_that_of_a_brute_force_search():
    values = histogram([*normal(200_000), *[8.0] * 3, -9.0])
    found = values.error(grid_of(*choose(values, "mse", asymmetric=False), asymmetric=False))
    searched = min(values.error(grid_of(-peak, peak, asymmetric=False)) for peak in np.linspace(0.5, 11, 400))
    assert found <= 1.1 * searched
    assert found < 0.8 * values.error(grid_of(*choose(values, "minmax", asymmetric=False), asymmetric=False))


def test_asymmetric_grids_are_better_for_values_of_one_side():
    from math import erf

    gelu = [x * 0.5 * (1 + erf(x / 2**0.5)) for x in normal()]
    values = histogram(gelu)
    decibels = [
        values.snr_db(grid_of(*choose(values, "mse", asymmetric=side), asymmetric=side)) for side in (False, True)
    ]
    assert decibels[1] > decibels[0] + 4


@SIDES
def test_percentiles_leave_out_outliers_and_least_error_weighs_them(asymmetric):
    """One element in 20,000 at 60 standard deviations: its own error is larger than that of all others."""
    values = histogram([*normal(), 60.0])
    assert choose(values, "percentile", asymmetric=asymmetric)[1] < 5
    assert choose(values, "mse", asymmetric=asymmetric)[1] <= 60


@pytest.mark.parametrize("values", [[0.0], [0.0] * 5 + [2.0]], ids=["zeros", "zero and one number"])
@SIDES
def test_constants_are_kept_exactly_or_nearly(values, asymmetric):
    found = histogram(values)
    for method in METHODS:
        assert found.snr_db(grid_of(*choose(found, method, asymmetric=asymmetric), asymmetric=asymmetric)) > 55


def test_values_too_small_for_the_least_scale_have_a_low_ratio():
    """So their layer is left in half precision instead of being rounded to zeros."""
    tiny = histogram(normal(scale=2e-6))
    assert tiny.snr_db(grid_of(*choose(tiny, "mse", asymmetric=False), asymmetric=False)) < 1


def test_the_ratio_notices_that_a_range_with_an_outlier_loses_everything_else():
    values = histogram([*normal(), 30_000.0])
    assert values.snr_db(grid_of(*choose(values, "minmax", asymmetric=False), asymmetric=False)) < 1
    assert values.bulk().numbers[-1] < 5
    assert values.bulk().counts.sum() >= 0.999 * 20_001


@pytest.mark.parametrize("method", METHODS)
def test_what_is_never_negative_has_all_integers(method):
    relu = histogram(np.maximum(normal(), 0))
    ranges = ranges_of(relu, method, asymmetric=False)
    grids = {zeros: grid_of(*ends, asymmetric=zeros) for zeros, ends in ranges.items()}
    assert (grids[False].zero_point, grids[True].zero_point) == (0, -128)
    assert relu.snr_db(grids[True]) > relu.snr_db(grids[False]) + 4


@pytest.mark.parametrize("peak", np.geomspace(0.02, 500, 60))
def test_other_values_keep_the_symmetric_grid_beside_those(peak):
    ranges = ranges_of(histogram([-peak, 0.3 * peak]), "minmax", asymmetric=False)
    symmetric, beside = (grid_of(*ranges[zeros], asymmetric=zeros) for zeros in (False, True))
    assert beside.zero_point == 0
    assert beside.scale == pytest.approx(symmetric.scale, rel=2e-3)


@pytest.mark.parametrize("values", [[0.0, 600.0], [-600.0, 1.0]], ids=["positive", "signed"])
def test_values_too_large_for_zero_points_have_symmetric_grids_alone(values):
    assert ranges_of(histogram(values), "minmax", asymmetric=False).keys() == {False}
