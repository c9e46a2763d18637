"""Gate a comparison against an earlier one: no worse than before by more than a tolerance."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..artifacts import BASELINE_TOLERANCE, EMPTY
from ..errors import DataError
from ..utils.lfs import refuse_pointer
from .gates import Gate

if TYPE_CHECKING:
    from .parity import ParityReport

MAX_BYTES = 64 * 2**20
ONE_IMAGE = 10  # a single image may lose so many times the tolerance
LISTED = 5


@dataclass(frozen=True)
class Baseline:
    """An earlier parity.json.

    Attributes:
        name: of the file.
        ious: mask IoU of each image with people, by the image's name.
    """

    name: str
    ious: Mapping[str, float]


def read_baseline(file: Path) -> Baseline:
    """Read a parity.json. Raises DataError if it cannot be read or is something else."""
    try:
        if file.stat().st_size > MAX_BYTES:
            raise DataError(f"{file} has more than {MAX_BYTES / 2**20:.0f} MiB, which no parity.json has.")
        refuse_pointer(file, DataError)
        data = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} is not JSON: {error}.") from error
    images = data.get("images") if isinstance(data, dict) else None
    ious = _ious(images) if isinstance(images, list) else {}
    if not ious:
        raise DataError(
            f"{file} has no mask IoU of any photograph.", hint="pass a parity.json that `portrait-export parity` wrote."
        )
    return Baseline(file.name, ious)


def _ious(images: list[Any]) -> dict[str, float]:
    found = {}
    for image in images:
        if not isinstance(image, dict) or image.get("kind") == EMPTY:
            continue
        name, iou = image.get("name"), image.get("iou")
        if isinstance(name, str) and isinstance(iou, (int, float)) and 0 <= iou <= 1:
            found[name] = float(iou)
    return found


def baseline_gates(report: ParityReport, baseline: Baseline, tolerance: float | None) -> tuple[Gate, ...]:
    """Two gates: how much the mean mask IoU fell, and how much that of any one image fell.

    Args:
        tolerance: by how much the mean may fall; None: by `BASELINE_TOLERANCE`.
    Raises:
        DataError: the two comparisons are of different photographs.
    """
    tolerance = BASELINE_TOLERANCE if tolerance is None else tolerance
    now = {score.name: score.iou for score in report.images if score.kind != EMPTY}
    differing = sorted(now.keys() ^ baseline.ious.keys())
    if differing:
        more = [f"and {len(differing) - LISTED} more"] if len(differing) > LISTED else []
        raise DataError(
            f"{baseline.name} is of other photographs: {len(differing)} are in one of the two comparisons only.",
            context=[*differing[:LISTED], *more],
            hint="compare on the same `data=` and sizes, or write a new baseline.",
        )
    drops = {name: baseline.ious[name] - iou for name, iou in now.items()}
    worst = max(drops, key=lambda name: math.inf if math.isnan(drops[name]) else drops[name])
    before = math.fsum(baseline.ious.values()) / len(now)
    mean = before - math.fsum(now.values()) / len(now)
    return (
        _gate("mean_iou_drop", "loss of mean mask IoU", mean, tolerance, f"against {baseline.name}", before),
        _gate(
            "image_iou_drop",
            "largest loss of one mask's IoU",
            drops[worst],
            ONE_IMAGE * tolerance,
            worst,
            baseline.ious[worst],
        ),
    )


def _gate(name: str, title: str, value: float, bar: float, where: str, before: float) -> Gate:
    return Gate(name, title, value, bar, "at_most", value <= bar, where, f"it was {before:.5f}")
