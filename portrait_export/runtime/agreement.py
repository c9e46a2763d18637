"""Compare the outputs of two engines that ran the same package on the same inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

# Share of the largest magnitude by which results may differ, per precision of the program. Measured against torch:
# at most 3e-6 and 4e-3 over the rows of tests/runtime/test_torch_conversions.py. Not measured against Core ML.
TOLERANCES = {"fp32": 2e-5, "fp16": 1e-2}

EQUAL, CLOSE, DIFFERS = "equal", "close", "differs"  # verdicts, the best first


@dataclass(frozen=True)
class Difference:
    """How far apart two results are.

    Attributes:
        verdict: `equal` bit for bit; `close` within the tolerance; `differs`.
        largest: the largest difference of two elements; None if they cannot be subtracted.
        of_scale: `largest` as a share of the largest magnitude, at least 1.
        reason: what differs other than numbers by a distance; else empty.
    """

    verdict: str
    largest: float | None = None
    of_scale: float | None = None
    reason: str = ""


def compare(ours: Mapping[str, Any], theirs: Mapping[str, Any], *, tolerance: float) -> Difference:
    """The largest difference over all outputs.

    Args:
        ours, theirs: arrays, images or numbers by name.
        tolerance: share of the largest magnitude up to which floats are close. Integers must be equal.
    """
    if set(ours) != set(theirs):
        return Difference(DIFFERS, reason=f"outputs {sorted(ours)} and {sorted(theirs)}")
    found = [_compare(name, np.asarray(ours[name]), np.asarray(theirs[name]), tolerance) for name in sorted(ours)]
    return max(found, key=_badness)


def _badness(one: Difference) -> tuple[int, bool, float]:
    return (EQUAL, CLOSE, DIFFERS).index(one.verdict), one.largest is None, one.of_scale or 0.0


def _compare(name: str, ours: np.ndarray, theirs: np.ndarray, tolerance: float) -> Difference:
    if ours.shape != theirs.shape:
        return Difference(DIFFERS, reason=f"{name}: shapes {list(ours.shape)} and {list(theirs.shape)}")
    if ours.dtype.kind not in "fiub" or theirs.dtype.kind not in "fiub":
        same = bool((ours == theirs).all())
        return Difference(EQUAL if same else DIFFERS, reason="" if same else f"{name}: other values")
    if (ours.dtype.kind == "f") != (theirs.dtype.kind == "f"):
        return Difference(DIFFERS, reason=f"{name}: types {ours.dtype} and {theirs.dtype}")
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    finite = np.isfinite(a) & np.isfinite(b)
    unlike = ~finite & ~((np.isnan(a) & np.isnan(b)) | (a == b))
    if unlike.any():
        place = int(np.flatnonzero(unlike)[0])
        pair = f"{a.flat[place]:.6g} and {b.flat[place]:.6g}"
        return Difference(DIFFERS, reason=f"{name}: {pair} at element {place}, {int(unlike.sum())} such")
    distance = np.abs(a[finite] - b[finite])
    largest = float(distance.max()) if distance.size else 0.0
    of_scale = largest / max(1.0, float(np.abs(b[finite]).max())) if distance.size else 0.0
    if largest == 0.0:
        return Difference(EQUAL, 0.0, 0.0)
    close = ours.dtype.kind == "f" and of_scale <= tolerance
    return Difference(CLOSE if close else DIFFERS, largest, of_scale)
