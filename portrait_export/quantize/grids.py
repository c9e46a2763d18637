"""Round values to those that a stored weight can take.

A grid rounds one column of a weight's (outputs, inputs) matrix at a time, in any order, so that error-compensated
rounding can change the columns that follow. Its scales and its table are fixed before, and fitted to the codes after:

    table    T = argmin Σ (W - s·T[c])·H·(W - s·T[c])ᵀ     by conjugate gradients, of as many unknowns as entries
    scales   s = (W·H·T[c]ᵀ) / (T[c]·H·T[c]ᵀ)              for each row, or for a row's blocks in turn
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from .kmeans import assign, centroids

LEAST_SCALE = float(np.finfo(np.float16).tiny)  # a normal number: hardware may flush smaller ones to zero
LARGEST = float(np.finfo(np.float16).max)
FEW_STEPS = 7  # of 4 bits
MOST_STEPS = 127  # between 0 and the largest integer of any grid
SOLVER_STEPS = 4  # of conjugate gradients: within 4 % of the least error, from a table that was not chosen at all
FITTED_ENTRIES = 16  # of a table that is fitted to the codes: larger ones lose too little to be worth the time
SHRINKS = np.linspace(1.0, 0.6, 17)  # of the range of a block, tried to find the scale of least error


class Grid(Protocol):
    """Rounds columns and remembers what it chose."""

    def round(self, values: np.ndarray, column: int) -> np.ndarray:
        """Store a column (outputs,), and return it as it will be decoded, in float64."""

    def fit(self, matrix: np.ndarray, hessian: np.ndarray) -> np.ndarray:
        """Change the scales or the table to what suits the codes, and return the decoded matrix in float64."""


class OrderedGrid(Grid, Protocol):
    """A grid whose codes ascend with their values.

    Attributes:
        codes: (outputs, inputs), what was chosen.
    """

    codes: np.ndarray

    def beside(self, above: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The codes next to those chosen, and their values, both (outputs, inputs), the values in float64.

        Args:
            above: (outputs, inputs), whether the next larger one is asked for, or the next smaller one. Where there is
                none it is the chosen one.
        """


@dataclass
class Blocks:
    """Symmetric integers with one half-precision scale per `block` columns of each row.

    Attributes:
        bits: of the integers, in -(2^(bits-1) - 1) … 2^(bits-1) - 1.
        codes: (outputs, inputs) int8.
        scales: (outputs, blocks) float16; float32 where the weight is.
    """

    bits: int
    block: int
    codes: np.ndarray = field(repr=False)
    scales: np.ndarray = field(repr=False)

    @classmethod
    def of(cls, matrix: np.ndarray, bits: int, block: int, importance: np.ndarray) -> Blocks:
        """The scales of least error for a matrix, none smaller than normal. `block` divides its number of inputs.

        A block of 8 bits may have the range of its whole row: a weight that lies on 8-bit steps per output channel, as
        one does that was trained or stored with them, is off the finer steps of its blocks.

        Args:
            importance: (inputs,), the weight of each column's squared error.
        """
        rows, columns = matrix.shape
        grid = cls(bits, block, np.zeros(matrix.shape, np.int8), np.zeros((rows, columns // block), np.float16))
        whole = np.abs(matrix).max(axis=1)
        for first in range(0, columns, block):
            part = slice(first, first + block)
            grid.scales[:, first // block] = best_scales(
                matrix[:, part], importance[part], grid.most, LEAST_SCALE, [whole]
            )
        return grid

    @property
    def most(self) -> int:
        """The largest integer."""
        return (1 << (self.bits - 1)) - 1

    def round(self, values: np.ndarray, column: int) -> np.ndarray:
        scale = self.scales[:, column // self.block].astype(np.float64)
        codes = np.rint(values / np.where(scale > 0, scale, 1)).clip(-self.most, self.most)
        self.codes[:, column] = codes
        return codes * scale

    def beside(self, above: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        codes = (self.codes.astype(np.int16) + np.where(above, 1, -1)).clip(-self.most, self.most).astype(np.int8)
        return codes, codes * np.repeat(self.scales.astype(np.float64), self.block, axis=1)

    def fit(self, matrix: np.ndarray, hessian: np.ndarray) -> np.ndarray:
        codes = self.codes.astype(np.float64)
        error = codes * np.repeat(self.scales.astype(np.float64), self.block, axis=1) - matrix
        for first in range(0, matrix.shape[1], self.block):
            part = slice(first, first + self.block)
            own = codes[:, part]
            before = self.scales[:, first // self.block].astype(np.float64)
            gradient = np.einsum("ij,ij->i", error @ hessian[:, part], own)
            scales = half_scales(before, before - divided(gradient, energy(own, hessian[part, part])))
            self.scales[:, first // self.block] = scales
            error[:, part] += own * (scales.astype(np.float64) - before)[:, None]
        return error + matrix


def half_scales(before: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Scales in half precision; those from before where the new ones are too small, or could overflow a weight."""
    usable = (scales >= LEAST_SCALE) & (scales <= LARGEST / MOST_STEPS)
    return np.where(usable, scales, before).astype(np.float16)


def fitted_scales(scales: np.ndarray, matrix: np.ndarray, integers: np.ndarray) -> np.ndarray:
    """The scale of least squared error for the integers of each row: W·Q / Q·Q.

    Where a row lies on such steps already, that is more precise than its one largest value in half precision. Rows of
    zeros keep the given scale, as do those whose scale would be below the normal range, or overflow.

    Args:
        scales: (outputs,), of the float type that is returned.
        integers: (outputs, inputs), within ±MOST_STEPS.
    """
    squares = (integers**2).sum(axis=1)
    best = divided((matrix * integers).sum(axis=1), squares)
    limits = np.finfo(scales.dtype)
    usable = (best >= limits.tiny) & (best <= float(limits.max) / (MOST_STEPS + 1))
    return np.where(usable, best, scales).astype(scales.dtype)


def energy(rows: np.ndarray, hessian: np.ndarray) -> np.ndarray:
    """x·H·xᵀ of each row."""
    return np.einsum("ij,ij->i", rows @ hessian, rows)


def divided(numbers: np.ndarray, by: np.ndarray) -> np.ndarray:
    """The quotients; 0 where the divisor is not positive."""
    return np.where(by > 0, numbers / np.where(by > 0, by, 1), 0.0)


def best_scales(
    values: np.ndarray, importance: np.ndarray, most: int, smallest: float, wider: Sequence[np.ndarray] = ()
) -> np.ndarray:
    """The half-precision scale of least weighted squared error for each row of (rows, columns); 0 for rows of zeros.

    It is a row's range over `most`, for few bits also a part of it, which clips. From 8 bits on that gains nothing.

    Args:
        importance: (columns,), the weight of each column's squared error.
        smallest: no other scale is below this.
        wider: (rows,) each, further ranges to try from 8 bits on.
    """
    peak = np.abs(values).max(axis=1)
    ranges = [peak * shrink for shrink in SHRINKS] if most <= FEW_STEPS else [peak, *wider]
    with np.errstate(over="ignore"):  # the caller looks for scales that are infinite
        scales = [np.where(peak > 0, np.maximum(one / most, smallest), 0).astype(np.float16) for one in ranges]
    best, error = scales[0], np.full(len(values), np.inf)
    for scale in scales:
        wide = np.where((scale > 0) & np.isfinite(scale), scale, 1).astype(np.float64)[:, None]
        found = ((np.rint(values / wide).clip(-most, most) * wide - values) ** 2) @ importance
        better = np.isfinite(scale) & (found < error)
        best, error = np.where(better, scale, best), np.where(better, found, error)
    return best


@dataclass
class Palette:
    """Indices into one table of half-precision values.

    Attributes:
        table: ascending float16.
        codes: (outputs, inputs) uint8.
        zero: whether one entry is always 0.
    """

    table: np.ndarray
    codes: np.ndarray = field(repr=False)
    zero: bool = False

    @classmethod
    def of(cls, matrix: np.ndarray, importance: np.ndarray, bits: int) -> Palette:
        """The table of least weighted squared error, with an entry 0 if there are rows of zeros, which must stay so.

        Args:
            importance: (outputs, inputs), the weight of each squared error.
        """
        zero = not matrix.any(axis=1).all()
        table = centroids(matrix.ravel(), importance.ravel(), 1 << bits)
        return cls(_half(table, zero=zero), np.zeros(matrix.shape, np.uint8), zero)

    def round(self, values: np.ndarray, column: int) -> np.ndarray:
        table = self.table.astype(np.float64)
        self.codes[:, column] = assign(values, table)
        return table[self.codes[:, column]]

    def beside(self, above: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        codes = next_entries(self.codes, above, len(self.table))
        return codes, self.table.astype(np.float64)[codes]

    def fit(self, matrix: np.ndarray, hessian: np.ndarray) -> np.ndarray:
        table = self.table.astype(np.float64)
        if len(table) <= FITTED_ENTRIES:
            ones = np.ones(len(matrix))
            table, self.codes = ascending(fitted_table(matrix, self.codes, table, ones, hessian), self.codes)
            self.table = _half(table, zero=self.zero)
        return self.table.astype(np.float64)[self.codes]


def next_entries(codes: np.ndarray, above: np.ndarray, count: int) -> np.ndarray:
    """The indices above or below those into an ascending table of `count` entries, none outside it."""
    beside: np.ndarray = (codes.astype(np.int16) + np.where(above, 1, -1)).clip(0, count - 1).astype(np.uint8)
    return beside


def _half(table: np.ndarray, *, zero: bool) -> np.ndarray:
    """A table in half precision; the entry nearest to 0 becomes 0 if asked."""
    half = table.clip(-LARGEST, LARGEST).astype(np.float16)
    if zero:
        half[np.argmin(np.abs(half))] = 0
    return half


def fitted_table(
    matrix: np.ndarray, codes: np.ndarray, table: np.ndarray, scales: np.ndarray, hessian: np.ndarray
) -> np.ndarray:
    """The table of least Σ (W - s·T[c])·H·(W - s·T[c])ᵀ for given codes; an entry that no code uses stays as it is."""

    def reached(error: np.ndarray) -> np.ndarray:
        """The sum over the codes of each entry of s·(error·H)."""
        return np.bincount(codes.ravel(), ((error @ hessian) * scales[:, None]).ravel(), len(table))

    fitted = table.copy()
    residual = reached(matrix - scales[:, None] * table[codes])
    direction, length = residual, float(residual @ residual)
    for _ in range(SOLVER_STEPS):
        image = reached(scales[:, None] * direction[codes])
        curvature = float(direction @ image)
        if curvature <= 0:
            break
        fitted = fitted + length / curvature * direction
        residual = residual - length / curvature * image
        before, length = length, float(residual @ residual)
        direction = residual + length / before * direction
    return fitted


def ascending(table: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A table in ascending order, and the codes for it."""
    order = np.argsort(table, kind="stable")
    return table[order], np.argsort(order).astype(np.uint8)[codes]
