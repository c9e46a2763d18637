"""Round a weight's matrix to a grid.

Without measurements, each value to the nearest one, but for what cancels the sum of a channel's errors
(mil/balanced.py). With them, so that the layer's output changes least, unless it changes too little already.

The change of the output is Σ (W - W')·H·(W - W')ᵀ, with H = E[x xᵀ] over the layer's inputs x. GPTQ (Frantar et al.
2022, arXiv:2210.17323) rounds column by column, and takes what was lost from the columns that are still to come, by the
Cholesky factor of H⁻¹. That never changes a column again, nor the table or the scales, so both follow, in turns: the
grid's values of least change for the codes, and for one column after the other the codes of least change for all
others,

    W'_j = round(W'_j + (W - W')·H_j / H_jj)
"""

from __future__ import annotations

import numpy as np

from ..mil.balanced import TIE, turned
from .grids import Grid, OrderedGrid

DAMPING = 0.01  # of H's mean diagonal
STRIDE = 128  # columns that are updated together
# Of a layer's output energy: what rounding its weights to halves may change, by half a step each. A weight that lies on
# the grid's steps, as one does that was trained with them, loses about a fifth of that, and keeps its integers.
TOO_LITTLE = 2.0**-22
REFINEMENTS = 3  # of the values of the grid and the codes, in turns; the first gains most


def round_nearest(matrix: np.ndarray, grid: Grid) -> np.ndarray:
    """Round every column on its own. Returns the decoded (outputs, inputs) float64."""
    decoded = np.empty_like(matrix)
    for column in range(matrix.shape[1]):
        decoded[:, column] = grid.round(matrix[:, column], column)
    return decoded


def round_balanced(matrix: np.ndarray, grid: OrderedGrid) -> np.ndarray:
    """Round to nearest, but some to the other side, so that each output channel's errors nearly cancel.

    Returns the decoded (outputs, inputs) float64.
    """
    nearest = round_nearest(matrix, grid)
    codes, values = grid.beside(nearest < matrix)
    turn = turned(nearest - matrix, values - nearest, least=TIE)
    grid.codes = np.where(turn, codes, grid.codes)
    return np.where(turn, values, nearest)


def round_measured(matrix: np.ndarray, grid: OrderedGrid, hessian: np.ndarray | None) -> np.ndarray:
    """Round with balanced errors, or with compensated ones where measurements say that it matters.

    Returns the decoded (outputs, inputs) float64.

    Args:
        hessian: as for `round_compensated`; None if nothing was measured.
    """
    balanced = round_balanced(matrix, grid)
    if hessian is None or weighted_error(matrix, balanced, hessian) <= TOO_LITTLE:
        return balanced
    return round_compensated(matrix, grid, hessian)


def round_compensated(matrix: np.ndarray, grid: Grid, hessian: np.ndarray) -> np.ndarray:
    """Round with GPTQ, and refine. Returns the decoded (outputs, inputs) float64.

    Args:
        hessian: (inputs, inputs), symmetric, of the sum of x xᵀ in any scale.
    """
    damped = damp(hessian)
    decoded = _compensate(matrix, grid, damped)
    for _ in range(REFINEMENTS):
        decoded = grid.fit(matrix, damped)
        _descend(matrix, decoded, grid, damped)
    return decoded


def _compensate(matrix: np.ndarray, grid: Grid, hessian: np.ndarray) -> np.ndarray:
    """Round column by column, with each error taken from the later columns."""
    order = np.argsort(-np.diag(hessian), kind="stable")  # the inputs that matter most first: nothing corrects the last
    factor = inverse_factor(hessian[np.ix_(order, order)])
    work, decoded = matrix[:, order], np.empty_like(matrix)
    columns = matrix.shape[1]
    for first in range(0, columns, STRIDE):
        last = min(first + STRIDE, columns)
        errors = np.empty((matrix.shape[0], last - first))
        for column in range(first, last):
            decoded[:, column] = grid.round(work[:, column], int(order[column]))
            error = (work[:, column] - decoded[:, column]) / factor[column, column]
            work[:, column + 1 : last] -= np.outer(error, factor[column, column + 1 : last])
            errors[:, column - first] = error
        work[:, last:] -= errors @ factor[first:last, last:]
    return decoded[:, np.argsort(order)]


def _descend(matrix: np.ndarray, decoded: np.ndarray, grid: Grid, hessian: np.ndarray) -> None:
    """Round each column of `decoded` again, to what is best for the present values of all others."""
    gradient = (decoded - matrix) @ hessian
    for column, own in enumerate(np.diag(hessian)):
        values = grid.round(decoded[:, column] - gradient[:, column] / own, column)
        change = values - decoded[:, column]
        moved = np.flatnonzero(change)
        gradient[moved] += np.outer(change[moved], hessian[column])
        decoded[:, column] = values


def damp(hessian: np.ndarray) -> np.ndarray:
    """H with a mean diagonal of 1, and a little added to that: inputs that never vary would make it singular."""
    scale = float(np.diag(hessian).mean()) or 1.0
    damped: np.ndarray = hessian / scale
    damped[np.diag_indices_from(damped)] += DAMPING
    return damped


def inverse_factor(hessian: np.ndarray) -> np.ndarray:
    """The upper triangular U with UᵀU = H⁻¹."""
    return np.linalg.cholesky(np.linalg.inv(hessian)).T


def weighted_error(matrix: np.ndarray, decoded: np.ndarray, hessian: np.ndarray) -> float:
    """The share of a layer's output energy that rounding changes: Σ ΔW·H·ΔWᵀ over Σ W·H·Wᵀ; 0 for a zero weight."""
    change = decoded - matrix
    energy = float(np.einsum("ij,ij->", matrix @ hessian, matrix))
    return float(np.einsum("ij,ij->", change @ hessian, change)) / energy if energy > 0 else 0.0
