"""Recognise values that are the reference's times a factor plus an offset, where what reads them is right.

A pass of a compiler may multiply a value by a factor under its old name and divide by it in the operations after.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from .error_sums import CHUNK

if TYPE_CHECKING:
    import numpy as np

    from .blame import BlameReport, ValuePair

FIT_DB = 40.0  # of a fit to be taken for a rescaling: 0.01 % of the value's variance
_PER_CHANNEL = 64  # elements that a channel must have to get a factor of its own; fewer fit too easily


class AffineFit:
    """The least-squares a·reference + b of a value, per channel where channels are large, over any number of inputs."""

    def __init__(self) -> None:
        import numpy as np

        self.groups = 1
        self._sums = np.zeros((6, 1))

    def add(self, reference: np.ndarray, candidate: np.ndarray) -> None:
        """Add two arrays of one shape. Values that are not finite make the fit fail."""
        import numpy as np

        x, y = self._grouped(reference), self._grouped(candidate)
        if x.shape[0] != self.groups:
            self.groups, self._sums = x.shape[0], np.zeros((6, x.shape[0]))
        step = max(1, CHUNK // self.groups)
        for start in range(0, x.shape[1], step):
            p, q = (v[:, start : start + step].astype(np.float64) for v in (x, y))
            parts = (np.ones_like(p), p, q, p * p, p * q, q * q)
            self._sums += np.stack([part.sum(axis=1) for part in parts])

    def _grouped(self, value: np.ndarray) -> np.ndarray:
        channels = value.shape[1] if value.ndim >= 3 else 1
        if value.shape[:1] != (1,) or channels * _PER_CHANNEL > value.size:
            channels = 1
        return value.reshape(channels, -1)

    @property
    def coefficients(self) -> tuple[np.ndarray, np.ndarray]:
        """The factor and the offset of each channel."""
        import numpy as np

        n, x, y, xx, xy, _ = self._sums
        spread = n * xx - x * x
        with np.errstate(all="ignore"):
            factor = np.where(spread > 0, (n * xy - x * y) / spread, 0.0)
            return factor, (y - factor * x) / n

    @property
    def snr_db(self) -> float:
        """The candidate's variance over what the fit leaves of it, in decibels; NaN if it has none."""
        n, x, y, xx, xy, yy = self._sums
        factor, offset = self.coefficients
        left = yy - 2 * factor * xy - 2 * offset * y + factor**2 * xx + 2 * factor * offset * x + n * offset**2
        variance, rest = float((yy - y * y / n).sum()), max(float(left.sum()), 1e-12 * float(yy.sum()))
        return 10 * math.log10(variance / rest) if variance > 0 and rest > 0 else math.nan

    @property
    def explains(self) -> bool:
        """Whether the value is the reference's, rescaled."""
        return self.snr_db >= FIT_DB and bool((self.coefficients[0] != 0).any())

    def apply(self, reference: np.ndarray) -> np.ndarray:
        """The value that the candidate should have."""
        factor, offset = self.coefficients
        found = factor[:, None] * self._grouped(reference) + offset[:, None]
        return found.reshape(reference.shape).astype(reference.dtype)

    def __str__(self) -> str:
        factor, offset = self.coefficients
        if self.groups > 1:
            return f"per channel × {factor.min():.4g} … {factor.max():.4g}"
        return f"× {factor[0]:.4g}" + (f" {offset[0]:+.4g}" if abs(offset[0]) > 1e-3 * abs(factor[0]) else "")


def excused(ops: Sequence[ValuePair], fits: Collection[str], report: BlameReport) -> set[str]:
    """The rescaled values whose readers are right: each reader is not bad, and is not rescaled or is excused itself.

    A fault that multiplies a value leaves a reader wrong, or reaches an output, which has no readers and is never
    excused.

    Args:
        ops: the compared values, in order.
        fits: those that a fit explains.
        report: of a comparison that expects the rescaled values.
    """
    bad = {op.candidate for op in (report.bad if report.isolated else report.below_bar)}
    readers: Mapping[str, set[str]] = {op.name: set() for op in ops}
    for op in ops:
        for name in op.before or ():
            readers[name].add(op.name)
    found: set[str] = set()
    for op in reversed(ops):
        after = readers[op.name]
        right = all(name not in bad and (name not in fits or name in found) for name in after)
        if op.name in fits and op.name not in bad and after and right:
            found.add(op.name)
    return found
