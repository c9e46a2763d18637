"""A Runner and labelled frames in, scores against the drawn masks out: per image, over the set, and the worst shown."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ..artifacts import LabelledFrame, Prediction, Runner
from ..errors import DataError, ExecutionError

if TYPE_CHECKING:
    import numpy as np

# Compares a predicted with a drawn mask, both (H, W) P(person), the drawn one 0 or 1.
Metric = Callable[["np.ndarray", "np.ndarray"], float]
DRAWN = 0.5  # a soft drawn mask is person from here on


@dataclass(frozen=True)
class Score:
    """One photograph. `iou` and `boundary_f` are 0..1; `intersection` and `union` are pixels."""

    name: str
    split: str
    iou: float
    boundary_f: float
    intersection: int
    union: int


@dataclass(frozen=True, eq=False)
class Seen:
    """One photograph, for a picture: image (H, W, 3) uint8, the drawn and the predicted mask (H, W) in 0..1."""

    score: Score
    image: np.ndarray
    drawn: np.ndarray
    predicted: np.ndarray


@dataclass(frozen=True)
class Evaluation:
    """A set of photographs.

    Attributes:
        scores: in the order of the frames.
        iou_mean, iou_median, iou_worst: over photographs.
        iou_set: all pixels counted together.
        boundary_f_mean: over photographs.
    """

    runner: str
    scores: tuple[Score, ...]

    @property
    def iou_mean(self) -> float:
        return statistics.fmean(score.iou for score in self.scores)

    @property
    def iou_median(self) -> float:
        return statistics.median(score.iou for score in self.scores)

    @property
    def iou_worst(self) -> float:
        return min(score.iou for score in self.scores)

    @property
    def iou_set(self) -> float:
        union = sum(score.union for score in self.scores)
        return sum(score.intersection for score in self.scores) / union if union else 1.0

    @property
    def boundary_f_mean(self) -> float:
        return statistics.fmean(score.boundary_f for score in self.scores)

    def worst(self, count: int) -> list[Score]:
        """The photographs with the lowest IoU, worst first."""
        return sorted(self.scores, key=_badness)[:count]

    def summary(self) -> dict[str, float | int | str]:
        """Plain values for JSON and tables."""
        names = ("iou_mean", "iou_median", "iou_worst", "iou_set", "boundary_f_mean")
        return {"runner": self.runner, "images": len(self.scores), **{name: getattr(self, name) for name in names}}

    def to_csv(self) -> str:
        """One row per photograph."""
        file = io.StringIO()
        writer = csv.DictWriter(file, list(asdict(self.scores[0])), lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(score) for score in self.scores)
        return file.getvalue()


def evaluate(
    runner: Runner,
    frames: Iterable[LabelledFrame],
    *,
    iou: Metric,
    boundary_f: Metric,
    threshold: float = 0.5,
    on_image: Callable[[LabelledFrame, Prediction, Score], None] = lambda frame, prediction, score: None,
) -> Evaluation:
    """Segment every frame and compare with its drawn mask.

    Args:
        frames: may be opened one by one; nothing of a frame is kept but its score.
        iou, boundary_f: the metrics, handed in by whoever has them.
        threshold: P(person) from which a predicted pixel is person.
        on_image: called after each.
    Raises:
        DataError: there is no frame, or frames without a mask, all of them named.
        ExecutionError: a prediction that is no number.
    """
    scores: list[Score] = []
    without: list[str] = []
    for labelled in frames:
        if labelled.mask is None:
            without.append(labelled.frame.name)
            continue
        (prediction,) = runner.run([labelled.frame])
        score = score_one(labelled, prediction, iou=iou, boundary_f=boundary_f, threshold=threshold)
        scores.append(score)
        on_image(labelled, prediction, score)
    if without or not scores:
        raise DataError(
            f"There is nothing to compare with: {len(without)} of {len(scores) + len(without)} photographs have no"
            " mask.",
            context=without[:100],
            hint="give a folder with images/ and masks/, or images/ and annotations/.",
        )
    return Evaluation(runner.name, tuple(scores))


def score_one(
    labelled: LabelledFrame, prediction: Prediction, *, iou: Metric, boundary_f: Metric, threshold: float
) -> Score:
    """Both masks cut to 0 and 1, each at its own threshold, and compared."""
    import numpy as np

    assert labelled.mask is not None
    if not np.isfinite(prediction.probability).all():
        raise ExecutionError(f"The mask of {labelled.frame.name!r} holds NaN or infinite values.", code="not-finite")
    predicted, drawn = prediction.probability >= threshold, labelled.mask >= DRAWN
    a, b = predicted.astype(np.float32), drawn.astype(np.float32)
    shared, either = int((predicted & drawn).sum()), int((predicted | drawn).sum())
    return Score(labelled.frame.name, labelled.split, iou(a, b), boundary_f(a, b), shared, either)


class Worst:
    """Keeps the photographs with the lowest IoU, worst first; pass it to `evaluate` as `on_image`."""

    def __init__(self, count: int):
        self._count = count
        self.seen: list[Seen] = []

    def __call__(self, labelled: LabelledFrame, prediction: Prediction, score: Score) -> None:
        assert labelled.mask is not None
        self.seen.append(Seen(score, labelled.frame.image, labelled.mask, prediction.probability))
        self.seen.sort(key=lambda one: _badness(one.score))
        del self.seen[self._count :]


def _badness(score: Score) -> tuple[float, str, str]:
    return score.iou, score.split, score.name


def worst_sheet(worst: Sequence[Seen]) -> bytes:
    """A PNG with a row per photograph: itself, the person by the drawn mask, the person by the prediction."""
    import numpy as np

    from .pictures import captioned_sheet, cut_out

    shown = []
    for one in worst:
        photo, score = one.image.astype(np.float32) / 255, one.score
        cells = [cut_out(photo, mask) for mask in (np.ones_like(one.drawn), one.drawn, one.predicted)]
        shown.append((f"IoU {score.iou:.4f}  boundary F {score.boundary_f:.3f}  {score.name}", cells))
    return captioned_sheet(shown, across=1)
