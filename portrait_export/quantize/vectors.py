"""Store a weight as indices into a table of pairs.

An index stands for values of two neighbouring output channels.

A table of 256 pairs costs 4 bits per element, like 16 single values, but follows the pairs that occur together.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..mil.encoded import MIL_TYPES, EncodedWeight, Part
from .kmeans import centroids
from .layer import Layer
from .rounding import round_compensated, round_nearest

INDEX_BITS = 8
ROUNDS = 12  # of k-means
MOST_POINTS = 1 << 15  # that k-means runs on, evenly spread: more do not change the table visibly
CHUNK = 1 << 13  # points whose distances are in memory at a time


@dataclass
class VectorPalette:
    """Indices into a table of vectors along the output channels.

    Attributes:
        table: (entries, width) float64.
        codes: (outputs / width, inputs) uint8.
    """

    table: np.ndarray
    codes: np.ndarray = field(repr=False)

    @classmethod
    def of(cls, matrix: np.ndarray, width: int, importance: np.ndarray) -> VectorPalette:
        """Fit the table of least weighted squared error, from the grid of the best single values.

        Args:
            matrix: (outputs, inputs); `width` divides the outputs and the bits of an index.
            importance: (inputs,), the weight of each column's squared error.
        """
        rows, columns = matrix.shape
        points = matrix.reshape(rows // width, width, columns).transpose(0, 2, 1).reshape(-1, width)
        weights = np.broadcast_to(importance, (rows // width, columns)).ravel()
        single = centroids(matrix.ravel(), np.broadcast_to(importance, matrix.shape).ravel(), 1 << INDEX_BITS // width)
        table = np.stack(np.meshgrid(*[single] * width, indexing="ij"), axis=-1).reshape(-1, width)
        step = -(-len(points) // MOST_POINTS)
        table = _lloyd(points[::step], weights[::step], table)
        return cls(table.astype(np.float16).astype(np.float64), np.zeros((rows // width, columns), np.uint8))

    def round(self, values: np.ndarray, column: int) -> np.ndarray:
        codes = nearest_vectors(values.reshape(-1, self.table.shape[1]), self.table)
        self.codes[:, column] = codes
        return self.table[codes].ravel()

    def fit(self, matrix: np.ndarray, hessian: np.ndarray) -> np.ndarray:
        """Leaves the table as it is: it has too many entries to be fitted in seconds."""
        return self.table[self.codes].transpose(0, 2, 1).reshape(matrix.shape)


def _lloyd(points: np.ndarray, weights: np.ndarray, table: np.ndarray) -> np.ndarray:
    for _ in range(ROUNDS):
        codes = nearest_vectors(points, table)
        mass = np.bincount(codes, weights, len(table))
        sums = np.stack([np.bincount(codes, weights * side, len(table)) for side in points.T], axis=1)
        held = mass[:, None] > 0
        moved = np.where(held, sums / np.where(held, mass[:, None], 1), table)
        if np.array_equal(moved, table):
            break
        table = moved
    return table


def nearest_vectors(points: np.ndarray, table: np.ndarray) -> np.ndarray:
    """The index of the nearest entry of a table, for each of (points, width)."""
    half = (table**2).sum(axis=1) / 2
    chunks = [points[first : first + CHUNK] @ table.T - half for first in range(0, len(points), CHUNK)]
    return np.concatenate([chunk.argmax(axis=1) for chunk in chunks])


def in_vectors(
    layer: Layer, matrix: np.ndarray, dtype: np.dtype, width: int, hessian: np.ndarray | None
) -> EncodedWeight | None:
    """Indices into a table of vectors (iOS18); None for output channels that `width` does not divide, or of zeros.

    A channel of zeros would not stay so beside another in a vector.
    """
    if matrix.shape[0] % width or not matrix.any(axis=1).all():
        return None
    grid = VectorPalette.of(matrix, width, np.ones(matrix.shape[1]) if hessian is None else np.diag(hessian))
    decoded = round_nearest(matrix, grid) if hessian is None else round_compensated(matrix, grid, hessian)
    rank = len(layer.shape)
    axis = rank - 1 if layer.transposed else 0
    shape = tuple(side // width if i == axis else side for i, side in enumerate(layer.shape))
    codes = Layer(layer.name, shape, layer.operators, transposed=layer.transposed).restore(grid.codes)
    parts = {
        "indices": Part(f"uint{INDEX_BITS}", codes),
        "lut": Part(MIL_TYPES[dtype], grid.table.reshape(*[1] * rank, *grid.table.shape).astype(dtype)),
        "vector_axis": Part("int32", np.array(axis, np.int32)),
    }
    return EncodedWeight("constexpr_lut_to_dense", parts, f"uint{INDEX_BITS}", layer.restore(decoded).astype(dtype))
