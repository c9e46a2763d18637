"""Palettes of pairs lose less than single values of the same size, and are stored as they were rounded."""

from __future__ import annotations

import numpy as np
import pytest

from portrait_export.mil.encoded import Part
from portrait_export.quantize.grids import Palette
from portrait_export.quantize.kmeans import centroids
from portrait_export.quantize.layer import Layer
from portrait_export.quantize.rounding import round_nearest, weighted_error
from portrait_export.quantize.tunable import tunable
from portrait_export.quantize.vectors import VectorPalette, in_vectors, nearest_vectors

HALF = np.dtype(np.float16)
MATRIX = np.random.default_rng(0).standard_normal((64, 96))


def test_the_nearest_entry_is_that_of_the_least_distance():
    points, table = MATRIX.reshape(-1, 2)[:500], MATRIX.reshape(-1, 2)[600:640]
    distances = ((points[:, None] - table) ** 2).sum(axis=2)
    assert np.array_equal(nearest_vectors(points, table), distances.argmin(axis=1))


def test_pairs_lose_less_than_single_values_of_the_same_bits():
    single = centroids(MATRIX.ravel(), np.ones(MATRIX.size), 16)
    grid = Palette(single, np.zeros(MATRIX.shape, np.uint8))
    pairs = VectorPalette.of(MATRIX, 2, np.ones(96))
    errors = [((round_nearest(MATRIX, each) - MATRIX) ** 2).mean() for each in (pairs, grid)]
    assert errors[0] < 0.9 * errors[1]


def test_errors_are_compensated():
    x = np.random.default_rng(1).standard_normal((400, 4)) @ np.random.default_rng(2).standard_normal((4, 96))
    hessian = x.T @ x + 5 * np.eye(96)
    layer = Layer("w", (64, 96), ("linear",))
    forms = [in_vectors(layer, MATRIX, HALF, 2, metric) for metric in (None, hessian)]
    errors = [weighted_error(MATRIX, form.decoded.astype(float), hessian) for form in forms if form is not None]
    assert errors[1] < errors[0] / 3


@pytest.mark.parametrize(
    ("layer", "indices", "axis"),
    [
        (Layer("w", (64, 96), ("linear",)), (32, 96), 0),
        (Layer("w", (64, 24, 2, 2), ("conv",)), (32, 24, 2, 2), 0),
        (Layer("w", (96, 64), ("matmul",), transposed=True), (96, 32), 1),
    ],
    ids=["linear", "conv", "matmul"],
)
def test_vectors_stand_along_the_output_channels(layer, indices, axis):
    form = in_vectors(layer, MATRIX, HALF, 2, None)
    assert form is not None
    stored = form.parts["indices"]
    assert isinstance(stored, Part)
    assert stored.values.shape == indices
    place = form.parts["vector_axis"]
    assert isinstance(place, Part)
    assert int(place.values) == axis
    tuned = tunable(form)
    assert tuned is not None
    assert np.array_equal(tuned.encoded().decoded, form.decoded)
    assert ((layer.matrix(form.decoded) - MATRIX) ** 2).mean() < 0.02


def test_an_odd_number_of_output_channels_has_no_such_form():
    assert in_vectors(Layer("w", (63, 96), ("linear",)), MATRIX[:63], HALF, 2, None) is None
