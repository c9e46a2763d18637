"""Scores against drawn masks are what they must be for runners whose answers are known."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from portrait_export.artifacts import Frame, LabelledFrame, Prediction
from portrait_export.errors import DataError, ExecutionError
from portrait_export.training.evaluate import Worst, evaluate, worst_sheet
from portrait_export.verify.metrics import boundary_f, mask_iou


class Answers:
    """Gives the masks it was made with."""

    name = "answers"

    def __init__(self, masks: dict[str, np.ndarray]):
        self.masks = masks

    def run(self, frames: Sequence[Frame]) -> list[Prediction]:
        return [Prediction(self.masks[frame.name]) for frame in frames]


def half(width: int) -> np.ndarray:
    mask = np.zeros((20, 20), np.float32)
    mask[:, :width] = 1
    return mask


def labelled(name: str, mask: np.ndarray | None, split: str = "") -> LabelledFrame:
    return LabelledFrame(Frame(np.full((20, 20, 3), 255, np.uint8), name=name), mask, split)


def test_numbers_per_photograph_and_over_the_set() -> None:
    frames = [labelled("right", half(10)), labelled("half", half(10)), labelled("nobody", half(0))]
    runner = Answers({"right": half(10) * 0.6, "half": half(5), "nobody": half(0)})
    result = evaluate(runner, frames, iou=mask_iou, boundary_f=boundary_f)
    assert [score.iou for score in result.scores] == [1, 0.5, 1]
    assert result.iou_mean == pytest.approx(2.5 / 3)
    assert result.iou_median == 1
    assert result.iou_worst == 0.5
    assert result.iou_set == pytest.approx(300 / 400)
    assert result.worst(1)[0].name == "half"
    rows = list(csv.DictReader(io.StringIO(result.to_csv())))
    assert [row["name"] for row in rows] == ["right", "half", "nobody"]
    assert rows[1]["intersection"] == "100"


def test_threshold_is_the_predictions_not_the_labels() -> None:
    runner = Answers({"a": half(10) * 0.4})
    at = {t: evaluate(runner, [labelled("a", half(10) * 0.6)], iou=mask_iou, boundary_f=boundary_f, threshold=t)
          for t in (0.3, 0.5)}  # fmt: skip
    assert (at[0.3].iou_mean, at[0.5].iou_mean) == (1, 0)


@pytest.mark.parametrize("frames", [[], [labelled("a", None)]], ids=["nothing", "no_mask"])
def test_nothing_to_compare_with_is_refused(frames: list[LabelledFrame]) -> None:
    with pytest.raises(DataError, match="nothing to compare with"):
        evaluate(Answers({}), frames, iou=mask_iou, boundary_f=boundary_f)


def test_a_mask_that_is_no_number_is_refused() -> None:
    runner = Answers({"a": np.full((20, 20), np.nan, np.float32)})
    with pytest.raises(ExecutionError, match="The mask of 'a' holds NaN or infinite values"):
        evaluate(runner, [labelled("a", half(10))], iou=mask_iou, boundary_f=boundary_f)


def test_frames_are_taken_one_by_one_and_none_is_kept_but_the_worst() -> None:
    masks = {str(width): half(width) for width in (10, 3, 8, 1, 9)}
    worst = Worst(2)
    frames = (labelled(name, half(10)) for name in masks)
    evaluate(Answers(masks), frames, iou=mask_iou, boundary_f=boundary_f, on_image=worst)
    assert [one.score.name for one in worst.seen] == ["1", "3"]


def test_photographs_of_one_name_in_two_splits_stay_apart() -> None:
    frames = [labelled("a", half(10), "train"), labelled("a", half(5), "val")]
    worst = Worst(2)
    result = evaluate(Answers({"a": half(10)}), frames, iou=mask_iou, boundary_f=boundary_f, on_image=worst)
    assert [(score.split, score.iou) for score in result.worst(2)] == [("val", 0.5), ("train", 1)]
    assert [float(one.drawn.mean()) for one in worst.seen] == [0.25, 0.5]
    assert [row["split"] for row in csv.DictReader(io.StringIO(result.to_csv()))] == ["train", "val"]


def test_sheet_shows_the_worst_first() -> None:
    masks = {"good": half(10), "bad": half(3)}
    worst, frames = Worst(1), [labelled(name, half(10)) for name in masks]
    evaluate(Answers(masks), frames, iou=mask_iou, boundary_f=boundary_f, on_image=worst)
    with Image.open(io.BytesIO(worst_sheet(worst.seen))) as sheet:
        assert sheet.size == (480, 174)
        pixels = np.asarray(sheet)
    white = (pixels[14:] == 255).all(2)
    shares = [float(white[:, x : x + 160].mean()) for x in (0, 160, 320)]
    assert shares == pytest.approx([1, 0.5, 0.15], abs=0.06)
