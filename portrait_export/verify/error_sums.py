"""Accumulate the error, range and overflow of one value over many inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .metrics import IDENTICAL_DB, NAN

if TYPE_CHECKING:
    import numpy as np

HALF_MAX = 65504.0  # largest finite IEEE 754 half
CHUNK = 1 << 18  # elements compared at a time, so that double precision copies stay in the processor's cache


@dataclass
class ErrorSums:
    """Sums and extremes of one value's comparison over any number of inputs; no arrays are kept."""

    count: int = 0
    signal: float = 0.0
    noise: float = 0.0
    half_signal: float = 0.0
    half_noise: float = 0.0
    max_abs: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    candidate_low: float = math.inf
    candidate_high: float = -math.inf
    candidate_non_finite: int = 0
    different: int = 0
    overflows: int = 0

    def add(self, reference: np.ndarray, candidate: np.ndarray) -> None:
        """Compare two arrays of one shape, in double precision. NaN and infinities equal themselves."""
        import numpy as np

        one, other = reference.reshape(-1), candidate.reshape(-1)
        for start in range(0, one.size, CHUNK):
            self._add(one[start : start + CHUNK].astype(np.float64), other[start : start + CHUNK].astype(np.float64))

    def _add(self, exact: np.ndarray, found: np.ndarray) -> None:
        import numpy as np

        self.low, self.high = _wider(self.low, self.high, exact)
        self.candidate_low, self.candidate_high = _wider(self.candidate_low, self.candidate_high, found)
        fine, met = np.isfinite(exact), np.isfinite(found)
        if not (fine.all() and met.all()):
            self.candidate_non_finite += int(np.count_nonzero(fine & ~met))
            same = (exact == found) | (np.isnan(exact) & np.isnan(found))
            self.different += int(np.count_nonzero(~(fine & met) & ~same))
            self._add_half(exact[fine])
            exact, found = exact[fine & met], found[fine & met]
        else:
            self._add_half(exact)
        error = found - exact
        self.count += exact.size
        self.signal += float(exact @ exact)
        self.noise += float(error @ error)
        self.max_abs = max(self.max_abs, float(np.abs(error).max(initial=0.0)))

    def _add_half(self, exact: np.ndarray) -> None:
        import numpy as np

        beyond = np.abs(exact) > HALF_MAX
        self.overflows += int(np.count_nonzero(beyond))
        if self.overflows:
            return
        lost = exact.astype(np.float16).astype(np.float64) - exact
        self.half_signal += float(exact @ exact)
        self.half_noise += float(lost @ lost)

    @property
    def snr_db(self) -> float:
        """Signal-to-noise ratio, 10·log₁₀(Σ reference² / Σ (candidate − reference)²), at most IDENTICAL_DB.

        NaN if a value is finite on one side only, or if the reference is all zero and the candidate is not.
        """
        return NAN if self.different else _ratio_db(self.signal, self.noise)

    @property
    def psnr_db(self) -> float:
        """The same with the squared range of the reference as signal."""
        span = self.high - self.low
        return NAN if self.different else _ratio_db(self.count * span * span, self.noise)

    @property
    def half_snr_db(self) -> float:
        """SNR of the reference rounded to half: what its storage alone costs. NaN where it overflows."""
        return NAN if self.overflows else _ratio_db(self.half_signal, self.half_noise)


def _ratio_db(signal: float, noise: float) -> float:
    if noise == 0:
        return IDENTICAL_DB
    return min(IDENTICAL_DB, 10 * math.log10(signal / noise)) if signal > 0 else NAN


def _wider(low: float, high: float, values: np.ndarray) -> tuple[float, float]:
    """A range widened to hold values; infinities count, NaN does not."""
    import numpy as np

    if not values.size or np.isnan(values).all():
        return low, high
    return min(low, float(np.nanmin(values))), max(high, float(np.nanmax(values)))
