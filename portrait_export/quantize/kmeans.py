"""Weighted k-means of numbers, exact in its steps and the same in every run."""

from __future__ import annotations

import numpy as np

ROUNDS = 60
BINS = 1 << 14  # of the histogram that k-means runs on: finer than half precision near the median


def centroids(values: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    """Return `count` ascending float64 values that represent the given ones with the least weighted squared error.

    Lloyd's algorithm from two starts, on distinct values: of a small array the values themselves, else bin means. In
    float64 throughout: sorting half-precision arrays with repeated negatives goes wrong on some processors (numpy).

    Args:
        values: finite, at least one.
        weights: of the same length, not negative.
    """
    points, mass = _distinct(values.astype(np.float64), weights.astype(np.float64))
    if len(points) <= count:
        return np.concatenate([points, np.full(count - len(points), points[-1])])
    sums = tuple(np.concatenate([[0.0], np.cumsum(mass * points**power)]) for power in range(3))
    starts = (_quantiles(points, mass, count), _splits(points, sums, count))
    return min((_lloyd(points, sums, start) for start in starts), key=lambda found: _error(points, mass, found))


def _quantiles(points: np.ndarray, mass: np.ndarray, count: int) -> np.ndarray:
    """A start with the same mass in each group."""
    share = np.cumsum(mass) - mass / 2
    return np.interp((np.arange(count) + 0.5) / count * share[-1], share, points)


def _splits(points: np.ndarray, sums: tuple[np.ndarray, ...], count: int) -> np.ndarray:
    """A start that splits the group of the largest error at its mean, until there are enough."""
    groups = [(0, len(points))]
    while len(groups) < count:
        errors = [_spread(sums, first, last) if last - first > 1 else -1.0 for first, last in groups]
        first, last = groups.pop(int(np.argmax(errors)))
        cut = first + int(np.searchsorted(points[first:last], _mean(sums, first, last)))
        cut = min(max(cut, first + 1), last - 1)
        groups += [(first, cut), (cut, last)]
    return np.sort([_mean(sums, first, last) for first, last in groups])


def _mean(sums: tuple[np.ndarray, ...], first: int, last: int) -> float:
    return float((sums[1][last] - sums[1][first]) / (sums[0][last] - sums[0][first]))


def _spread(sums: tuple[np.ndarray, ...], first: int, last: int) -> float:
    """Σ m (x - mean)² of a group."""
    mass, linear, square = (float(total[last] - total[first]) for total in sums)
    return max(square - linear * linear / mass, 0.0)


def _lloyd(points: np.ndarray, sums: tuple[np.ndarray, ...], found: np.ndarray) -> np.ndarray:
    for _ in range(ROUNDS):
        cuts = np.searchsorted(points, (found[1:] + found[:-1]) / 2)
        edges = np.concatenate([[0], cuts, [len(points)]])
        held, total = np.diff(sums[0][edges]), np.diff(sums[1][edges])
        moved = np.where(held > 0, total / np.where(held > 0, held, 1), found)
        if np.array_equal(moved, found):
            break
        found = np.maximum.accumulate(moved)
    return found


def _error(points: np.ndarray, mass: np.ndarray, table: np.ndarray) -> float:
    return float(mass @ (table[assign(points, table)] - points) ** 2)


def _distinct(values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct ascending points with their summed weights."""
    weights = weights + max(float(weights.mean()), 1e-300) * 1e-3  # a value that nothing reads still counts a little
    points, where = np.unique(values, return_inverse=True)
    if len(points) > BINS:
        low, high = points[0], points[-1]
        where = np.minimum(((values - low) / (high - low) * BINS).astype(np.int64), BINS - 1)
        mass = np.bincount(where, weights, BINS)
        total = np.bincount(where, weights * values, BINS)
        kept = mass > 0
        return total[kept] / mass[kept], mass[kept]
    return points, np.bincount(where.ravel(), weights, len(points))


def assign(values: np.ndarray, table: np.ndarray) -> np.ndarray:
    """The index of the nearest entry of an ascending table, for each value."""
    return np.searchsorted((table[1:] + table[:-1]) / 2, values).astype(np.uint8)
