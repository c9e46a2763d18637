"""Choose the 8-bit grid of an activation from its histogram.

    q = clip(round(x / s) + z, -128, 127);  x' = s·(q - z)
    symmetric:   s = 2·max(|low|, |high|) / 254;  z = 0, or s = high / 255;  z = -128 for what is never negative
    asymmetric:  s = (high - low) / 255;  z = round((-128·high - 127·low) / (high - low)), with low ≤ 0 ≤ high

The passes of coremltools that write `quantize` and `dequantize` compute s and z in half precision, where 128·high
overflows from 512 on, and a range of zeros gives 0 / 0. So `grid_of` does the same arithmetic, and `usable` widens or
narrows a range to where it is safe.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..mil.encoded import ActivationGrid

Chooser = Callable[["Histogram", bool], tuple[float, float]]

LEAST_SCALE = 2.0**-14  # the smallest normal half-precision number: hardware may flush smaller ones to zero
MOST_SYMMETRIC = 32_752.0  # 2·high is computed in half precision, which ends at 65,504
MOST_ASYMMETRIC = 511.0  # so is 128·high
MOST_SIGNED = MOST_ASYMMETRIC * 127 / 128  # the end of a range with a zero point of 0
_LEAST_SPAN = 256 * LEAST_SCALE
PERCENTILE = 99.99  # of the elements that lie within a range chosen by percentile
BULK = 99.9  # percent of the elements, without far outliers
_SHRINKS = 2.0 ** (-np.arange(97) / 8)  # of the range, tried for the least error: down to a 4096th, for far outliers
_ROUNDS = 2  # of a search that changes one end of an asymmetric range, then the other


@dataclass(frozen=True)
class Histogram:
    """The numbers that a value took over some photographs.

    Attributes:
        numbers: ascending float32, finite.
        counts: how often it took each, at least once.
    """

    numbers: np.ndarray
    counts: np.ndarray

    @property
    def energy(self) -> float:
        """The sum of squares."""
        return float(self.counts @ self.numbers.astype(np.float64) ** 2)

    def error(self, grid: ActivationGrid) -> float:
        """The sum of squared errors that a grid makes."""
        return float(self.counts @ np.square(grid.rounded(self.numbers) - self.numbers, dtype=np.float64))

    def snr_db(self, grid: ActivationGrid) -> float:
        """Energy over error in decibels, infinite without error: of all elements or of the bulk, whichever is lower.

        A few far outliers have nearly all of the energy, so the ratio over all elements does not notice that a range
        that includes them rounds everything else to zero.
        """
        return min(_decibels(histogram, grid) for histogram in (self, self.bulk()))

    def clamped(self, low: float, high: float) -> Histogram:
        """The histogram after a `clip`."""
        return Histogram(np.clip(self.numbers, np.float32(low), np.float32(high)), self.counts)

    def bulk(self) -> Histogram:
        """The elements of smallest magnitude: `BULK` percent of all."""
        order = np.argsort(np.abs(self.numbers), kind="stable")
        below = np.cumsum(self.counts[order])
        kept = np.sort(order[: int(np.searchsorted(below, below[-1] * BULK / 100)) + 1])
        return Histogram(self.numbers[kept], self.counts[kept])


def _decibels(histogram: Histogram, grid: ActivationGrid) -> float:
    error, energy = histogram.error(grid), histogram.energy
    if not error:
        return math.inf
    return 10 * math.log10(energy / error)


def minmax(histogram: Histogram, asymmetric: bool) -> tuple[float, float]:
    """The smallest and the largest number."""
    return float(histogram.numbers[0]), float(histogram.numbers[-1])


def percentile(histogram: Histogram, asymmetric: bool) -> tuple[float, float]:
    """The range without the outermost elements at both ends: `100 - PERCENTILE` percent, half of them at each end."""
    below = np.cumsum(histogram.counts)
    left_out = below[-1] * (100 - PERCENTILE) / 200
    low = histogram.numbers[np.searchsorted(below, left_out, side="right")]
    high = histogram.numbers[min(np.searchsorted(below, below[-1] - left_out), len(below) - 1)]
    return float(low), float(high)


def least_error(histogram: Histogram, asymmetric: bool) -> tuple[float, float]:
    """The range whose grid has the least squared error."""
    low, high = minmax(histogram, asymmetric)
    if not asymmetric:
        peak = max(abs(low), abs(high))
        return _best(histogram, [(-peak * shrink, peak * shrink) for shrink in _SHRINKS], asymmetric)
    low, high = min(low, 0.0), max(high, 0.0)
    first = (low, high)
    best = first
    for _ in range(_ROUNDS):
        best = _best(histogram, [best, *((best[0], first[1] * shrink) for shrink in _SHRINKS)], asymmetric)
        best = _best(histogram, [best, *((first[0] * shrink, best[1]) for shrink in _SHRINKS)], asymmetric)
    return best


def _best(histogram: Histogram, ranges: list[tuple[float, float]], asymmetric: bool) -> tuple[float, float]:
    """The first of the ranges with the least error."""
    errors = [histogram.error(grid_of(*range_, asymmetric=asymmetric)) for range_ in ranges]
    return ranges[int(np.argmin(errors))]


METHODS: dict[str, Chooser] = {"minmax": minmax, "percentile": percentile, "mse": least_error}


def ranges_of(histogram: Histogram, method: str, *, asymmetric: bool) -> dict[bool, tuple[float, float]]:
    """The ranges of an activation, by whether all grids of its program have zero points, without one it cannot have.

    A symmetric grid spends half of its integers on nothing where a value is never negative, as after a ReLU. With zero
    points such a value has all of them (in a package uint8 from 0 on), and others the range whose zero point is 0.
    """
    if asymmetric:
        return {True: choose(histogram, method, asymmetric=True)}
    symmetric = choose(histogram, method, asymmetric=False)
    found = {False: symmetric}
    if histogram.numbers[0] >= 0 and histogram.numbers[-1] <= MOST_ASYMMETRIC:
        found[True] = choose(histogram, method, asymmetric=True)
    elif histogram.numbers[0] < 0 and symmetric[1] <= MOST_SIGNED:
        found[True] = _signed(symmetric[1])
    return found


def _signed(high: float) -> tuple[float, float]:
    """The range of -128 … 127 with the zero point 0 that ends at `high`."""
    return usable(-high * 128 / 127, high, asymmetric=True)


def choose(histogram: Histogram, method: str, *, asymmetric: bool) -> tuple[float, float]:
    """The range of an activation, as the passes take it: half-precision numbers that `grid_of` can use."""
    return usable(*METHODS[method](histogram, asymmetric), asymmetric=asymmetric)


def usable(low: float, high: float, *, asymmetric: bool) -> tuple[float, float]:
    """The nearest range whose scale and zero point are normal numbers in half precision."""
    if asymmetric:
        low, high = max(min(low, 0.0), -MOST_ASYMMETRIC), min(max(high, 0.0), MOST_ASYMMETRIC)
        if high - low < _LEAST_SPAN:
            low, high = (high - _LEAST_SPAN, high) if high < -low else (low, low + _LEAST_SPAN)
        return float(np.float16(low)), float(np.float16(high))
    peak = min(max(abs(low), abs(high), _LEAST_SPAN / 2), MOST_SYMMETRIC)
    return -float(np.float16(peak)), float(np.float16(peak))


def grid_of(low: float, high: float, *, asymmetric: bool) -> ActivationGrid:
    """The grid of a range, in the half-precision arithmetic of coremltools' `quantize_weight_by_dtype`."""
    bottom, top = (np.float16(end) for end in usable(low, high, asymmetric=asymmetric))
    if not asymmetric:
        return ActivationGrid(float((top - -top) / np.float16(254)), 0)
    scale = (top - bottom) / np.float16(255)
    zero = np.round((np.float16(-128) * top - np.float16(127) * bottom) / (top - bottom))
    return ActivationGrid(float(scale), int(np.clip(zero, -128, 127)))
