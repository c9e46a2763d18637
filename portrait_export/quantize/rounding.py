"""Round a weight's matrix to a grid: each value to the nearest, or with its error compensated in later columns (GPTQ).

GPTQ (Frantar et al. 2022, arXiv:2210.17323) minimises Σ (W - W')·H·(W - W')ᵀ, with H = E[x xᵀ] over the layer's
inputs x: column by column, it rounds, and takes what was lost from the columns that are still to come, by the Cholesky
factor of H⁻¹.
"""

from __future__ import annotations

import numpy as np

from .grids import Grid

DAMPING = 0.01  # of H's mean diagonal, added to it: inputs that never vary would make it singular
STRIDE = 128  # columns that are updated together


def round_nearest(matrix: np.ndarray, grid: Grid) -> np.ndarray:
    """Round every column on its own. Returns the decoded (outputs, inputs) float64."""
    decoded = np.empty_like(matrix)
    for column in range(matrix.shape[1]):
        decoded[:, column] = grid.round(matrix[:, column], column)
    return decoded


def round_compensated(matrix: np.ndarray, grid: Grid, hessian: np.ndarray) -> np.ndarray:
    """Round with GPTQ. Returns the decoded (outputs, inputs) float64.

    Args:
        hessian: (inputs, inputs), symmetric, of the sum of x xᵀ in any scale.
    """
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


def inverse_factor(hessian: np.ndarray) -> np.ndarray:
    """The upper triangular U with UᵀU = H⁻¹, of the damped H."""
    diagonal = np.diag(hessian)
    scale = float(diagonal.mean()) or 1.0
    damped = hessian / scale
    damped[np.diag_indices_from(damped)] += DAMPING
    return np.linalg.cholesky(np.linalg.inv(damped)).T


def weighted_error(matrix: np.ndarray, decoded: np.ndarray, hessian: np.ndarray) -> float:
    """The share of a layer's output energy that rounding changes: Σ ΔW·H·ΔWᵀ over Σ W·H·Wᵀ; 0 for a zero weight."""
    change = decoded - matrix
    energy = float(np.einsum("ij,ij->", matrix @ hessian, matrix))
    return float(np.einsum("ij,ij->", change @ hessian, change)) / energy if energy > 0 else 0.0
