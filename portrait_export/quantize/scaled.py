"""Store a weight as indices into a table, with a scale per output channel.

Folded norms leave channels that differ in range.

Rows r of a weight's matrix, one per output channel:

    W'_r = s_r · T[i_r]       T one table of 8-bit integers, i an index of few bits

It is two operators from iOS18 on: a table lookup, and a scale of its 8-bit result. A scale of a half-precision
result would be smaller by one constant, but does not load on the Neural Engine (apple/coremltools#2688).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from ..mil.encoded import MIL_TYPES, EncodedWeight, Part
from .grids import (
    FITTED_ENTRIES,
    LARGEST,
    ascending,
    best_scales,
    divided,
    energy,
    fitted_scales,
    fitted_table,
    half_scales,
    next_entries,
)
from .kmeans import assign, centroids
from .layer import Layer
from .rounding import round_measured, round_nearest

MOST = 127  # the largest entry of a table, so that every channel's range is used


@dataclass
class ScaledPalette:
    """Indices into one table of integers, with one half-precision scale per row.

    Attributes:
        table: ascending integers within ±127, in float64.
        scales: (outputs,) float16, 0 for rows of zeros.
        codes: (outputs, inputs) uint8.
        zero: whether one entry is always 0: rows of zeros have it, and not another entry times a scale of 0.
    """

    table: np.ndarray
    scales: np.ndarray
    codes: np.ndarray = field(repr=False)
    zero: bool = False

    @classmethod
    def of(cls, matrix: np.ndarray, bits: int, importance: np.ndarray) -> ScaledPalette:
        """Fit the table to the rows, each divided by its range: a relative error counts the same in every row.

        A table of 8 bits has room for all integers.

        Args:
            importance: (inputs,), the weight of each column's squared error.
        """
        peak = np.abs(matrix).max(axis=1, keepdims=True)
        unit = matrix / np.where(peak > 0, peak, 1)
        zero = not matrix.any(axis=1).all()
        if 1 << bits > 2 * MOST:
            entries = np.arange(-MOST, MOST + 1, dtype=np.float64)
        else:
            table = centroids(unit.ravel(), np.broadcast_to(importance, matrix.shape).ravel(), 1 << bits)
            entries = np.unique(_integers(table * MOST, zero=zero))
        table = np.concatenate([entries, np.full((1 << bits) - len(entries), entries[-1])])
        smallest = float(np.finfo(np.float16).smallest_subnormal)
        return cls(table, best_scales(matrix, importance, MOST, smallest), np.zeros(matrix.shape, np.uint8), zero)

    def round(self, values: np.ndarray, column: int) -> np.ndarray:
        scale = self.scales.astype(np.float64)
        self.codes[:, column] = assign(values / np.where(scale > 0, scale, 1), self.table)
        return self.table[self.codes[:, column]] * scale

    def beside(self, above: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        codes = next_entries(self.codes, above, len(self.table))
        return codes, self.table[codes] * self.scales.astype(np.float64)[:, None]

    def fit(self, matrix: np.ndarray, hessian: np.ndarray) -> np.ndarray:
        values = self.table[self.codes]
        before = self.scales.astype(np.float64)
        best = divided(np.einsum("ij,ij->i", matrix @ hessian, values), energy(values, hessian))
        self.scales = half_scales(before, best)
        scales = self.scales.astype(np.float64)
        if len(self.table) <= FITTED_ENTRIES:
            table = fitted_table(matrix, self.codes, self.table, scales, hessian)
            self.table, self.codes = ascending(_integers(table, zero=self.zero), self.codes)
        return self.table[self.codes] * scales[:, None]


def _integers(table: np.ndarray, *, zero: bool) -> np.ndarray:
    """A table rounded to integers; the entry nearest to 0 becomes 0 if asked."""
    rounded = np.rint(table).clip(-MOST, MOST)
    if zero:
        rounded[np.argmin(np.abs(rounded))] = 0
    return rounded


def in_scaled_palette(
    layer: Layer, matrix: np.ndarray, dtype: np.dtype, bits: int, hessian: np.ndarray | None
) -> EncodedWeight | None:
    """Indices into a table of integers, one scale per output channel (iOS18); None if a value may not be finite."""
    grid = ScaledPalette.of(matrix, bits, np.ones(matrix.shape[1]) if hessian is None else np.diag(hessian))
    if float(grid.scales.max()) * MOST > LARGEST:
        return None
    round_nearest(matrix, grid)
    grid.scales = fitted_scales(grid.scales, matrix, grid.table[grid.codes])
    round_measured(matrix, grid, hessian)
    return scaled_palette(layer, layer.restore(grid.codes), grid.table, grid.scales, dtype, bits)


def scaled_palette(
    layer: Layer, codes: np.ndarray, table: np.ndarray, scales: np.ndarray, dtype: np.dtype, bits: int
) -> EncodedWeight:
    """The stored form of indices in the weight's shape, integers and scales."""
    integers = table.astype(np.int8)
    lut = integers.reshape(*[1] * len(layer.shape), -1, 1)
    indices = {"indices": Part(f"uint{bits}", codes), "lut": Part("int8", lut)}
    looked_up = EncodedWeight("constexpr_lut_to_dense", indices, f"uint{bits}", integers[codes])
    return scaled(layer, looked_up, looked_up.decoded, scales, dtype, f"uint{bits}")


def scaled(
    layer: Layer, data: Part | EncodedWeight, integers: np.ndarray, scales: np.ndarray, dtype: np.dtype, stored: str
) -> EncodedWeight:
    """Integers times one scale per output channel (iOS18)."""
    parts = {"data": data, "scale": Part(MIL_TYPES[dtype], layer.along_outputs(scales).astype(dtype))}
    return EncodedWeight("constexpr_blockwise_shift_scale", parts, stored, _product(layer, integers, scales, dtype))


def _product(layer: Layer, integers: np.ndarray, scales: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Exact in single precision, and rounded once."""
    return (integers.astype(np.float32) * layer.along_outputs(scales).astype(np.float32)).astype(dtype)


def cheapest(forms: list[EncodedWeight], layer: Layer, matrix: np.ndarray, hessian: np.ndarray | None) -> EncodedWeight:
    """The form of least error for its size.

    A bit more per element cuts the squared error to a quarter; so a form with more bytes must cut it by as much as
    those bytes would as bits. Scales cost 16 bits per channel: they pay where channels differ in range.
    """
    elements = matrix.size

    def price(form: EncodedWeight) -> tuple[float, int]:
        error = relative_error(matrix, layer.matrix(form.decoded), hessian)
        bits = 8 * form.size_bytes / elements  # of a weight with few elements thousands
        return (math.log(error) + bits * math.log(4) if error > 0 else -math.inf), form.size_bytes

    return min(forms, key=price)


def relative_error(matrix: np.ndarray, decoded: np.ndarray, hessian: np.ndarray | None) -> float:
    """The mean over output channels of the share of the channel's energy that rounding changes.

    Not the share of the whole layer's: what follows a layer usually brings its channels to one range again.
    """
    metric = np.eye(matrix.shape[1]) if hessian is None else hessian
    whole, change = energy(matrix, metric), energy(decoded - matrix, metric)
    return float(np.mean(change[whole > 0] / whole[whole > 0])) if (whole > 0).any() else 0.0
