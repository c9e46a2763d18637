"""Compare packages of one network by size and masks: which of them no other one beats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..artifacts import EMPTY
from .parity import ParityReport

UNNAMED = "photographs"  # the kind of photographs that have none


@dataclass(frozen=True)
class KindScore:
    """A package's masks against the network's on the photographs of one kind.

    Attributes:
        kind: `portrait`, `everyday`, `empty` (nobody in them), or `photographs`.
        images: how many.
        mask_iou, worst_iou: mean and worst over them; None on pictures with nobody in them.
        label_iou: mean IoU of the package's masks with the drawn ones; None without any.
        flipped_share: mean share of the pixels on which the masks disagree.
    """

    kind: str
    images: int
    mask_iou: float | None
    worst_iou: float | None
    label_iou: float | None
    flipped_share: float


@dataclass(frozen=True)
class Point:
    """A package of a sweep.

    Attributes:
        name: of the point, such as `palette4` or `mixed-1.7MB`.
        recipe: how its weights are stored.
        command: makes the package, with all reports about it.
        package: the path of the package; in sweep.json, within the sweep's folder.
        sha256, size_bytes: of the package.
        mask_iou: the lowest mean mask IoU of a kind of photographs with people; None without any.
        worst_iou: the lowest of any photograph with people.
        label_iou, reference_label_iou: mean IoU with the drawn masks of its masks and of the network's; None without
            any.
        kinds: the scores by kind of photograph.
        passed: whether its audit and every gate did.
        failed: what of them did not.
        beaten_by: the name of a point that is no larger and has masks as good, and is better in one of the two; empty
            if there is none: then the point is on the frontier.
    """

    name: str
    recipe: str
    command: str
    package: str
    sha256: str
    size_bytes: int
    mask_iou: float | None
    worst_iou: float | None
    label_iou: float | None
    reference_label_iou: float | None
    kinds: tuple[KindScore, ...]
    passed: bool
    failed: tuple[str, ...] = ()
    beaten_by: str = ""

    @classmethod
    def from_json(cls, data: Any) -> Point:
        """Read `asdict` of a point again. Raises ValueError, TypeError or KeyError if it is none."""
        kinds = tuple(KindScore(**{str(key): value for key, value in kind.items()}) for kind in data["kinds"])
        point = cls(**{**data, "kinds": kinds, "failed": tuple(data["failed"])})
        texts = (point.name, point.recipe, point.command, point.package, point.sha256, *point.failed)
        numbers = (point.mask_iou, point.worst_iou, point.label_iou, point.reference_label_iou)
        if not all(isinstance(text, str) for text in texts) or not isinstance(point.size_bytes, int):
            raise TypeError("not a point")
        if not all(number is None or isinstance(number, float) for number in (*numbers, *_numbers(kinds))):
            raise TypeError("not a score")
        return point


def _numbers(kinds: Sequence[KindScore]) -> list[float | None]:
    return [number for k in kinds for number in (k.mask_iou, k.worst_iou, k.label_iou, k.flipped_share)]


def scores_of(report: ParityReport) -> tuple[KindScore, ...]:
    """The scores of a package by kind of photograph. What is not finite is None, and a gate failed because of it."""
    return tuple(
        KindScore(
            kind or UNNAMED,
            score.images,
            _finite(score.iou_mean),
            _finite(score.iou_worst),
            _finite(score.label_miou_candidate),
            score.flipped_share,
        )
        for kind, score in report.kinds
    )


def lowest(values: Sequence[float | None]) -> float | None:
    """The lowest number; None if there is none."""
    return min((value for value in values if value is not None), default=None)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def marked(points: Sequence[Point]) -> tuple[Point, ...]:
    """The points by size, each with the name of the point that beats it by most, if one does."""
    ordered = sorted(points, key=lambda point: (point.size_bytes, -(point.mask_iou or 0.0), point.name))
    return tuple(replace(point, beaten_by=_better(point, ordered)) for point in ordered)


def _better(point: Point, points: Sequence[Point]) -> str:
    if point.mask_iou is None:
        return ""
    better = [
        other
        for other in points
        if other.mask_iou is not None
        and other.size_bytes <= point.size_bytes
        and other.mask_iou >= point.mask_iou
        and (other.size_bytes < point.size_bytes or other.mask_iou > point.mask_iou)
    ]
    return max(better, key=lambda other: (other.mask_iou or 0.0, -other.size_bytes)).name if better else ""


def named_kinds(points: Sequence[Point]) -> list[str]:
    """The kinds of photographs of all points, those with nobody in them last."""
    found = dict.fromkeys(kind.kind for point in points for kind in point.kinds)
    return sorted(found, key=lambda kind: kind == EMPTY)
