"""Rounding against plain definitions: brute force, the objective of GPTQ, and weights at the edge of what can be."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from portrait_export.quantize import grids, rounding
from portrait_export.quantize.grids import Blocks, Palette, fitted_table
from portrait_export.quantize.kmeans import assign, centroids
from portrait_export.quantize.rounding import (
    damp,
    inverse_factor,
    round_balanced,
    round_compensated,
    round_measured,
    round_nearest,
    weighted_error,
)
from portrait_export.quantize.scaled import ScaledPalette


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def correlated(inputs: int, seed: int = 1) -> np.ndarray:
    """The Hessian of inputs that vary together, as neighbouring pixels do."""
    x = random(4 * inputs, 3, seed=seed) @ random(3, inputs, seed=seed + 1) + 0.3 * random(4 * inputs, inputs)
    return x.T @ x


def palette(matrix: np.ndarray, bits: int) -> Palette:
    table = centroids(matrix.ravel(), np.ones(matrix.size), 1 << bits).astype(np.float16)
    return Palette(table, np.zeros(matrix.shape, np.uint8))


def blocks(matrix: np.ndarray, bits: int, block: int) -> Blocks:
    return Blocks.of(matrix, bits, block, np.ones(matrix.shape[1]))


GRIDS = {
    "palette": lambda matrix: palette(matrix, 4),
    "blocks": lambda matrix: blocks(matrix, 4, 8),
    "scaled palette": lambda matrix: ScaledPalette.of(matrix, 4, np.ones(matrix.shape[1])),
}


@pytest.mark.parametrize("bits", [4, 8])
def test_measurements_compensate_the_errors_of_a_weight_between_the_steps(bits):
    matrix, hessian = random(12, 64), correlated(64)
    measured, balanced = (round_measured(matrix, blocks(matrix, bits, 64), one) for one in (hessian, None))
    assert weighted_error(matrix, measured, hessian) < 0.5 * weighted_error(matrix, balanced, hessian)


@pytest.mark.parametrize("bits", [4, 8])
def test_a_weight_on_the_steps_keeps_its_integers_whatever_was_measured(bits):
    most = (1 << (bits - 1)) - 1
    codes = np.random.default_rng(3).integers(-most, most + 1, (12, 64))
    codes[:, 0] = most
    matrix = codes * np.float16(0.003).astype(float)
    grid = blocks(matrix, bits, 64)
    round_measured(matrix, grid, correlated(64))
    assert np.array_equal(grid.codes, codes)


@pytest.mark.parametrize("name", GRIDS)
def test_balanced_rounding_cancels_the_errors_of_each_channel(name):
    matrix = random(12, 64)
    grid, plain = GRIDS[name](matrix), GRIDS[name](matrix)
    found, nearest = round_balanced(matrix, grid), round_nearest(matrix, plain)
    sums = [np.abs((one - matrix).sum(axis=1)) for one in (found, nearest)]
    assert (sums[0] <= sums[1]).all()
    assert sums[0].mean() < 0.2 * sums[1].mean()
    assert ((found - matrix) ** 2).sum() < 1.3 * ((nearest - matrix) ** 2).sum()
    assert np.abs(grid.codes.astype(int) - plain.codes).max() == 1


@pytest.mark.parametrize("name", GRIDS)
def test_balanced_rounding_returns_what_the_codes_decode_to_and_keeps_zeros(name):
    matrix = random(6, 32, seed=3)
    matrix[2] = 0
    grid = GRIDS[name](matrix)
    found = round_balanced(matrix, grid)
    again = np.stack([grid.beside(np.ones(matrix.shape, bool))[1], grid.beside(np.zeros(matrix.shape, bool))[1]])
    assert ((again[1] <= found) & (found <= again[0])).all()
    if name != "palette":  # whose table here has no entry that is exactly 0
        assert not found[2].any()
    before = grid.codes.copy()
    assert np.array_equal(round_nearest(found, grid), found)
    assert grid.codes.dtype == before.dtype


@pytest.mark.parametrize("count", [1, 2, 3])
def test_k_means_of_few_values_is_the_best_split(count):
    values = np.sort(random(9, seed=count))
    groups = [np.split(values, cuts) for cuts in itertools.combinations(range(1, 9), count - 1)]
    best = min(sum(((g - g.mean()) ** 2).sum() for g in split) for split in groups)
    table = centroids(values, np.ones(9), count)
    assert ((table[assign(values, table)] - values) ** 2).sum() <= 1.35 * best + 1e-12  # Lloyd finds a local optimum


def test_k_means_returns_values_exactly_if_there_are_no_more_than_entries():
    table = centroids(np.array([3.0, -1.0, 3.0, 0.5]), np.ones(4), 8)
    assert sorted(set(table)) == [-1.0, 0.5, 3.0]
    assert len(table) == 8


def test_k_means_follows_the_weights():
    values, weights = np.array([0.0, 1.0, 10.0]), np.array([1000.0, 1000.0, 1e-6])
    assert np.allclose(centroids(values, weights, 2)[0], 0.0, atol=0.01)


def test_k_means_of_many_values_is_near_the_best_quantiser_of_a_normal_distribution():
    values = random(200_000)
    table = centroids(values, np.ones(values.size), 16)
    error = ((table[assign(values, table)] - values) ** 2).mean()
    assert error < 0.0106  # Lloyd-Max for 16 levels: 0.00955 (Max 1960, table I)


@pytest.mark.parametrize("make", [lambda m: palette(m, 4), lambda m: blocks(m, 4, 32)], ids=["palette", "blocks"])
def test_compensation_lowers_the_error_of_the_layers_output(make):
    matrix, hessian = random(24, 64), correlated(64)
    nearest = weighted_error(matrix, round_nearest(matrix, make(matrix)), hessian)
    compensated = weighted_error(matrix, round_compensated(matrix, make(matrix), hessian), hessian)
    assert compensated < nearest / 3


def test_compensation_without_correlation_is_rounding_to_nearest():
    matrix = random(8, 16)
    assert np.array_equal(
        round_compensated(matrix, palette(matrix, 3), np.eye(16)), round_nearest(matrix, palette(matrix, 3))
    )


def test_the_stored_codes_are_the_decoded_values():
    matrix, hessian = random(10, 64), correlated(64)
    grid = palette(matrix, 4)
    assert np.array_equal(round_compensated(matrix, grid, hessian), grid.table.astype(float)[grid.codes])
    coarse = blocks(matrix, 4, 16)
    decoded = round_compensated(matrix, coarse, hessian)
    assert np.array_equal(decoded, coarse.codes * np.repeat(coarse.scales.astype(float), 16, axis=1))
    assert np.abs(coarse.codes).max() <= 7


def test_the_factor_is_that_of_the_inverse():
    hessian = correlated(12)
    upper = inverse_factor(damp(hessian))
    damped = damp(hessian)
    assert np.allclose(upper.T @ upper @ damped, np.eye(12), atol=1e-8)
    assert np.array_equal(upper, np.triu(upper))


@pytest.mark.parametrize("dead", ["inputs", "all"])
def test_inputs_that_are_always_zero_can_be_compensated(dead):
    hessian = correlated(16)
    if dead == "all":
        hessian[:] = 0
    else:
        hessian[3] = hessian[:, 3] = 0
    matrix = random(4, 16)
    assert np.isfinite(round_compensated(matrix, palette(matrix, 4), hessian)).all()


def test_rows_of_zeros_stay_zero():
    matrix = random(4, 32)
    matrix[2] = 0
    grid = blocks(matrix, 8, 32)
    assert not round_nearest(matrix, grid)[2].any()
    assert grid.scales[2] == 0


def test_eight_bits_in_blocks_are_within_half_a_step():
    matrix = random(6, 64)
    grid = blocks(matrix, 8, 32)
    step = np.repeat(grid.scales.astype(float), 32, axis=1)
    assert (np.abs(round_nearest(matrix, grid) - matrix) <= 0.505 * step).all()


def test_weights_on_steps_per_channel_are_stored_exactly_in_blocks_of_8_bits():
    """As those of networks that were trained with int8 weights, or stored as them."""
    scales = np.geomspace(1e-3, 1, 24).astype(np.float16).astype(np.float64)[:, None]
    codes = np.rint(random(24, 64) * 40).clip(-127, 127)
    codes[:, 5] = 127
    matrix = scales * codes
    assert np.array_equal(round_nearest(matrix, blocks(matrix, 8, 32)), matrix)


GRIDS = {
    "palette": lambda matrix: palette(matrix, 3),
    "scaled palette": lambda matrix: ScaledPalette.of(matrix, 3, np.ones(matrix.shape[1])),
    "blocks": lambda matrix: blocks(matrix, 3, 16),
}


@pytest.mark.parametrize("name", GRIDS)
def test_refining_lowers_what_one_pass_of_compensation_leaves(name, monkeypatch):
    matrix, hessian = random(24, 64), correlated(64)
    refined = weighted_error(matrix, round_compensated(matrix, GRIDS[name](matrix), hessian), hessian)
    monkeypatch.setattr(rounding, "REFINEMENTS", 0)
    once = weighted_error(matrix, round_compensated(matrix, GRIDS[name](matrix), hessian), hessian)
    assert refined < 0.97 * once


@pytest.mark.parametrize("name", GRIDS)
def test_what_is_fitted_is_what_is_stored(name):
    matrix, hessian = random(24, 64), correlated(64)
    grid = GRIDS[name](matrix)
    round_nearest(matrix, grid)
    decoded = grid.fit(matrix, hessian)
    again = np.stack([grid.round(decoded[:, column], column) for column in range(64)], axis=1)
    assert np.array_equal(again, decoded)
    if name != "blocks":
        assert (np.diff(grid.table) >= 0).all()


def test_a_fitted_table_is_the_best_for_its_codes(monkeypatch):
    matrix, hessian = random(24, 64), correlated(64)
    codes = np.random.default_rng(4).integers(0, 7, matrix.shape)  # the last entry is not used
    scales = 1 + np.arange(24.0) / 24

    def error(entries: np.ndarray) -> float:
        return weighted_error(matrix, entries[codes] * scales[:, None], hessian)

    near = fitted_table(matrix, codes, np.arange(8.0), scales, hessian)
    monkeypatch.setattr(grids, "SOLVER_STEPS", 8)
    table = fitted_table(matrix, codes, np.arange(8.0), scales, hessian)
    assert table[7] == near[7] == 7
    assert all(error(table) <= error(table + step * np.eye(8)[i]) for i in range(7) for step in (-1e-3, 1e-3))
    assert error(near) < 1.05 * error(table)
