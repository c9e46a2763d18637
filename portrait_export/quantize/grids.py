"""The values that a stored weight can take, and the nearest of them: integers with scales, or a table.

A grid rounds one column of a weight's (outputs, inputs) matrix at a time, in any order, so that error-compensated
rounding can change the columns that follow. Its scales and its table are fixed before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from .kmeans import assign

SHRINKS = np.linspace(1.0, 0.6, 17)  # of the range of a block, tried to find the scale of least error


class Grid(Protocol):
    """Rounds columns and remembers what it chose."""

    def round(self, values: np.ndarray, column: int) -> np.ndarray:
        """Store a column (outputs,), and return it as it will be decoded, in float64."""


@dataclass
class Blocks:
    """Symmetric integers with one half-precision scale per `block` columns of each row.

    Attributes:
        bits: of the integers, in -(2^(bits-1) - 1) … 2^(bits-1) - 1.
        codes: (outputs, inputs) int8.
        scales: (outputs, blocks) float16.
    """

    bits: int
    block: int
    codes: np.ndarray = field(repr=False)
    scales: np.ndarray = field(repr=False)

    @classmethod
    def of(cls, matrix: np.ndarray, bits: int, block: int, importance: np.ndarray) -> Blocks:
        """The scales of least error for a matrix. `block` divides its number of inputs.

        Args:
            importance: (inputs,), the weight of each column's squared error.
        """
        rows, columns = matrix.shape
        grid = cls(bits, block, np.zeros(matrix.shape, np.int8), np.zeros((rows, columns // block), np.float16))
        for first in range(0, columns, block):
            part = slice(first, first + block)
            grid.scales[:, first // block] = best_scales(matrix[:, part], importance[part], grid._most)
        return grid

    @property
    def _most(self) -> int:
        return (1 << (self.bits - 1)) - 1

    def round(self, values: np.ndarray, column: int) -> np.ndarray:
        scale = self.scales[:, column // self.block].astype(np.float64)
        codes = np.rint(values / np.where(scale > 0, scale, 1)).clip(-self._most, self._most)
        self.codes[:, column] = codes
        return codes * scale


def best_scales(values: np.ndarray, importance: np.ndarray, most: int) -> np.ndarray:
    """The half-precision scale of least weighted squared error for each row of (rows, columns); 0 for rows of zeros.

    From 8 bits on clipping gains nothing, and the range is kept.
    """
    peak = np.abs(values).max(axis=1)
    smallest = float(np.finfo(np.float16).smallest_subnormal)
    with np.errstate(over="ignore"):  # the caller looks for scales that are infinite
        best = np.where(peak > 0, np.maximum(peak / most, smallest), 0).astype(np.float16)
    if most > 7:
        return best
    error = np.full(len(values), np.inf)
    for shrink in SHRINKS:
        scale = np.where(peak > 0, np.maximum(peak * shrink / most, smallest), 0).astype(np.float16)
        wide = np.where(scale > 0, scale, 1).astype(np.float64)[:, None]
        found = ((np.rint(values / wide).clip(-most, most) * wide - values) ** 2) @ importance
        better = found < error
        best, error = np.where(better, scale, best), np.where(better, found, error)
    return best


@dataclass
class Palette:
    """Indices into one table of half-precision values.

    Attributes:
        table: ascending float16.
        codes: (outputs, inputs) uint8.
    """

    table: np.ndarray
    codes: np.ndarray = field(repr=False)

    def round(self, values: np.ndarray, column: int) -> np.ndarray:
        table = self.table.astype(np.float64)
        self.codes[:, column] = assign(values, table)
        return table[self.codes[:, column]]
