"""Score a runner's masks against drawn masks: per photograph, per kind and per tag."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..artifacts import DRAWN, EMPTY, LabelledFrame, Prediction, Runner
from ..errors import DataError, ExecutionError

if TYPE_CHECKING:
    import numpy as np

# Compares a predicted with a drawn mask, both (H, W) P(person), the drawn one 0 or 1.
Metric = Callable[["np.ndarray", "np.ndarray"], float]
HAZE = (0.1, 0.9)  # P(person) strictly between these is neither background nor person
FALSE_PERSON_SHARE = 0.01  # a mask of more than this share of an empty picture's pixels counts as a person found there


@dataclass(frozen=True)
class Score:
    """One photograph.

    Attributes:
        kind: `portrait`, `everyday`, `empty` (nobody in it), or an empty string.
        tags: what it shows.
        iou, boundary_f: 0..1. Two empty masks agree: 1. An empty and another one do not: 0.
        intersection, union: of the two masks, in pixels.
        person_share: share of the pixels that are predicted to be person.
        haze: share of the pixels whose P(person) lies within HAZE.
    """

    name: str
    split: str
    kind: str
    tags: tuple[str, ...]
    iou: float
    boundary_f: float
    intersection: int
    union: int
    person_share: float
    haze: float


@dataclass(frozen=True, eq=False)
class WorstCase:
    """One photograph, for a picture: image (H, W, 3) uint8, the drawn and the predicted mask (H, W) in 0..1."""

    score: Score
    image: np.ndarray
    drawn: np.ndarray
    predicted: np.ndarray


@dataclass(frozen=True)
class Group:
    """Photographs that are counted together.

    On a picture with nobody in it IoU is 0 or 1 by a single pixel. IoU and boundary F are therefore taken over the
    photographs with people and are None without any; on the others it counts whether a person was found.

    Attributes:
        scores: in the order of the frames.
    """

    scores: tuple[Score, ...]

    @property
    def people(self) -> tuple[Score, ...]:
        """The photographs with people."""
        return tuple(score for score in self.scores if score.kind != EMPTY)

    @property
    def empty(self) -> tuple[Score, ...]:
        """The pictures with nobody in them."""
        return tuple(score for score in self.scores if score.kind == EMPTY)

    @property
    def iou_mean(self) -> float | None:
        return statistics.fmean(score.iou for score in self.people) if self.people else None

    @property
    def iou_median(self) -> float | None:
        return statistics.median(score.iou for score in self.people) if self.people else None

    @property
    def iou_worst(self) -> float | None:
        return min((score.iou for score in self.people), default=None)

    @property
    def iou_set(self) -> float | None:
        """All pixels of all photographs counted together, those of empty pictures too."""
        union = sum(score.union for score in self.scores)
        if not self.people:
            return None
        return sum(score.intersection for score in self.scores) / union if union else 1.0

    @property
    def boundary_f_mean(self) -> float | None:
        return statistics.fmean(score.boundary_f for score in self.people) if self.people else None

    @property
    def empty_with_person(self) -> int:
        """On how many empty pictures more than FALSE_PERSON_SHARE of the pixels are predicted to be person."""
        return sum(score.person_share > FALSE_PERSON_SHARE for score in self.empty)

    @property
    def empty_with_person_share(self) -> float | None:
        return self.empty_with_person / len(self.empty) if self.empty else None

    @property
    def haze(self) -> float:
        """Mean over all photographs."""
        return statistics.fmean(score.haze for score in self.scores)

    def numbers(self) -> dict[str, Any]:
        """Plain values for JSON."""
        ious = ("iou_mean", "iou_median", "iou_worst", "iou_set", "boundary_f_mean")
        return {
            "images": len(self.scores),
            **{name: getattr(self, name) for name in ious},
            "empty": len(self.empty),
            "empty_with_person": self.empty_with_person,
            "empty_with_person_share": self.empty_with_person_share,
            "haze": self.haze,
        }


@dataclass(frozen=True)
class Evaluation(Group):
    """A whole set of photographs.

    Attributes:
        runner: what segmented them.
    """

    runner: str

    @property
    def kinds(self) -> dict[str, Group]:
        """The photographs of each kind, in the order in which the kinds first appear."""
        return _grouped((score.kind, score) for score in self.scores)

    @property
    def named_kinds(self) -> dict[str, Group]:
        """`kinds`, if any of them has a name to show."""
        return self.kinds if any(self.kinds) else {}

    @property
    def tags(self) -> dict[str, Group]:
        """The photographs of each tag, the most frequent tag first. A photograph may have several."""
        tags = _grouped((tag, score) for score in self.scores for tag in score.tags)
        return dict(sorted(tags.items(), key=lambda item: (-len(item[1].scores), item[0])))

    def worst(self, count: int) -> list[Score]:
        """The worst photographs, worst first: by IoU, and empty pictures by the share predicted to be background."""
        return sorted(self.scores, key=_badness)[:count]

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON. Photographs without a kind are listed as `other` where some have one."""
        return {
            "runner": self.runner,
            **self.numbers(),
            "kinds": {kind or "other": group.numbers() for kind, group in self.named_kinds.items()},
            "tags": {tag: group.numbers() for tag, group in self.tags.items()},
        }

    def to_csv(self) -> str:
        """One row per photograph."""
        file = io.StringIO()
        writer = csv.DictWriter(file, list(asdict(self.scores[0])), lineterminator="\n")
        writer.writeheader()
        writer.writerows({**asdict(score), "tags": "; ".join(score.tags)} for score in self.scores)
        return file.getvalue()


def _grouped(named: Iterable[tuple[str, Score]]) -> dict[str, Group]:
    found: dict[str, list[Score]] = {}
    for name, score in named:
        found.setdefault(name, []).append(score)
    return {name: Group(tuple(scores)) for name, scores in found.items()}


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
        frames: may be opened one by one, as only the score of a frame is kept.
        iou, boundary_f: the metrics.
        threshold: P(person) from which a predicted pixel is person.
        on_image: called after each frame.
    Raises:
        DataError: there are no frames, or some have no mask (all of them are named).
        ExecutionError: a prediction is not finite.
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
    return Evaluation(scores=tuple(scores), runner=runner.name)


def score_one(
    labelled: LabelledFrame, prediction: Prediction, *, iou: Metric, boundary_f: Metric, threshold: float
) -> Score:
    """Cut both masks to 0 and 1, each at its own threshold, and compare them."""
    import numpy as np

    assert labelled.mask is not None
    probability = prediction.probability
    if not np.isfinite(probability).all():
        raise ExecutionError(f"The mask of {labelled.frame.name!r} holds NaN or infinite values.", code="not-finite")
    predicted, drawn = probability >= threshold, labelled.mask >= DRAWN
    a, b = predicted.astype(np.float32), drawn.astype(np.float32)
    low, high = HAZE
    return Score(
        name=labelled.frame.name,
        split=labelled.split,
        kind=labelled.group,
        tags=labelled.tags,
        iou=iou(a, b),
        boundary_f=boundary_f(a, b),
        intersection=int((predicted & drawn).sum()),
        union=int((predicted | drawn).sum()),
        person_share=float(predicted.mean()),
        haze=float(((probability > low) & (probability < high)).mean()),
    )


class Worst:
    """Keeps the worst photographs, worst first; pass it to `evaluate` as `on_image`."""

    def __init__(self, count: int):
        self._count = count
        self.cases: list[WorstCase] = []

    def __call__(self, labelled: LabelledFrame, prediction: Prediction, score: Score) -> None:
        assert labelled.mask is not None
        self.cases.append(WorstCase(score, labelled.frame.image, labelled.mask, prediction.probability))
        self.cases.sort(key=lambda case: _badness(case.score))
        del self.cases[self._count :]


def _badness(score: Score) -> tuple[float, str, str]:
    agreement = 1 - score.person_share if score.kind == EMPTY else score.iou
    return agreement, score.split, score.name


def worst_sheet(worst: Sequence[WorstCase]) -> bytes:
    """A PNG with a row per photograph: the photograph, the person by the drawn mask, the person by the prediction."""
    import numpy as np

    from .pictures import captioned_sheet, cut_out

    shown = []
    for case in worst:
        photo = case.image.astype(np.float32) / 255
        cells = [cut_out(photo, mask) for mask in (np.ones_like(case.drawn), case.drawn, case.predicted)]
        shown.append((_caption(case.score), cells))
    return captioned_sheet(shown, across=1, heads=("photograph", "drawn mask", "prediction"))


def _caption(score: Score) -> str:
    if score.kind == EMPTY:
        return f"nobody in it, {score.person_share:.1%} predicted to be person  {score.name}"
    return f"IoU {score.iou:.4f}  boundary F {score.boundary_f:.3f}  {score.name}"
