"""Find the pixels of a machine-made mask that should not be trained on."""

from __future__ import annotations

import numpy as np

GRAY = 0.06  # P(person) between this and 1 − this is gray
EDGE = 0.025  # of the picture's longer side: gray this close to both person and background is an edge


def trusted(mask: np.ndarray) -> np.ndarray:
    """Where a soft mask can be believed: (H, W) float32 in 0..1 → (H, W) bool.

    Gray is hair or blur only where firm person and firm background are both near. Other gray is a network's doubt (a
    jacket at 40 %), and training on it teaches haze.
    """
    gray = (mask > GRAY) & (mask < 1 - GRAY)
    if not gray.any():
        return np.ones(mask.shape, bool)
    radius = max(2, round(EDGE * max(mask.shape)))
    edge = _near(mask >= 1 - GRAY, radius) & _near(mask <= GRAY, radius)
    return ~gray | edge


def _near(where: np.ndarray, radius: int) -> np.ndarray:
    """Dilation by a square of side 2·radius + 1, at a cost that does not grow with it."""
    for _ in range(2):  # columns, then, of the transposed picture, rows
        count = np.pad(where, [(radius + 1, radius), (0, 0)]).cumsum(0, dtype=np.int32)
        where = (count[2 * radius + 1 :] > count[: -(2 * radius + 1)]).T
    return where
