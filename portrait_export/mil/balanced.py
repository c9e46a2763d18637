"""Round weights so that the errors of each output channel nearly cancel.

Where all inputs of a layer are of one sign, as after a ReLU, rounding errors of its weights that do not cancel add up
to an offset. A depthwise convolution with a folded norm takes the difference of large numbers, and the offset is large
against what is left. The first one of `lite0_fpn` made most of the error of its package in half precision.

This is the idea of SQuant (https://arxiv.org/abs/2202.07471), by output channel alone: weights are rounded to nearest,
then some of them to the other side, those first for which that costs least. No photographs are needed.
"""

from __future__ import annotations

import numpy as np

TIE = 0.375  # of a step: a value so far from the nearest one may be rounded to either side, whoever audits it
ENOUGH = 0.01  # of a mean step: a sum of errors that is not worth going on for


def halves(weight: np.ndarray, outputs: int | None) -> np.ndarray | None:
    """Round a weight to half precision with balanced errors.

    Args:
        weight: of a layer.
        outputs: its axis of output channels; None if no layer reads it.
    Returns:
        The same shape, float32, every value a half. None where the weight stays as it is: it is not float32, or its
        values are too large for halves.
    """
    if outputs is None or weight.dtype != np.float32 or not weight.size:
        return None
    if not np.abs(weight).max() <= np.finfo(np.float16).max:
        return None
    rows = np.moveaxis(weight, outputs, 0)
    wide = rows.reshape(len(rows), -1).astype(np.float64)
    nearest = wide.astype(np.float16)
    errors = nearest.astype(np.float64) - wide
    with np.errstate(over="ignore"):  # the largest half has no other one beside it
        other = np.nextafter(nearest, np.where(errors > 0, -np.inf, np.inf).astype(np.float16))
    chosen = np.where(turned(errors, other.astype(np.float64) - nearest), other, nearest).astype(np.float32)
    return np.ascontiguousarray(np.moveaxis(chosen.reshape(rows.shape), 0, outputs))


def turned(errors: np.ndarray, steps: np.ndarray, *, least: float = 0.0) -> np.ndarray:
    """Which weights are rounded to the other side, so that the sum of each row's errors is nearly zero.

    Args:
        errors: (outputs, inputs), of rounding to nearest.
        steps: the same shape: what rounding to the other side adds to the error; 0 or infinite where there is none.
        least: of a step, the smallest error that may be turned.
    Returns:
        The same shape, bool.
    """
    sums, sizes = errors.sum(axis=1, keepdims=True), np.where(np.isfinite(steps), np.abs(steps), 0)
    helps = (errors * sums > 0) & (np.sign(steps) == -np.sign(errors)) & (sizes > 0)
    helps &= np.abs(errors) >= least * sizes
    costs = np.where(helps, sizes - 2 * np.abs(errors), np.inf)  # of the squared error, for each unit of the sum
    order = np.argsort(costs, axis=1, kind="stable")
    found, rows, left = np.zeros(errors.shape, bool), np.arange(len(errors)), np.abs(sums[:, 0])
    enough = ENOUGH * sizes.sum(axis=1) / max(errors.shape[1], 1)
    for column in order.T[: int(helps.sum(axis=1).max(initial=0))]:
        if (left <= enough).all():
            break
        size = sizes[rows, column]
        turn = helps[rows, column] & (np.abs(left - size) < left)
        found[rows, column] = turn
        left = np.where(turn, left - size, left)
    return found
