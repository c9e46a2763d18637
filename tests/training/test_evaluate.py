"""Test scores against drawn masks for runners with known masks."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from portrait_export.artifacts import Frame, LabelledFrame, Prediction
from portrait_export.errors import DataError, ExecutionError
from portrait_export.training.evaluate import Evaluation, Worst, evaluate, worst_sheet
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


def labelled(
    name: str, mask: np.ndarray | None, split: str = "", kind: str = "", tags: tuple[str, ...] = ()
) -> LabelledFrame:
    return LabelledFrame(Frame(np.full((20, 20, 3), 255, np.uint8), name=name), mask, split, kind, tags)


def scored(frames: list[LabelledFrame], masks: dict[str, np.ndarray], **options) -> Evaluation:
    return evaluate(Answers(masks), frames, iou=mask_iou, boundary_f=boundary_f, **options)


def test_numbers_per_photograph_and_over_the_set() -> None:
    frames = [labelled("right", half(10)), labelled("half", half(10)), labelled("nobody", half(0))]
    result = scored(frames, {"right": half(10) * 0.6, "half": half(5), "nobody": half(0)})
    assert [score.iou for score in result.scores] == [1, 0.5, 1]
    assert result.iou_mean == pytest.approx(1.5 / 2)  # over the photographs with people
    assert result.iou_median == pytest.approx(0.75)
    assert result.iou_worst == 0.5
    assert result.iou_set == pytest.approx(300 / 400)
    assert result.worst(1)[0].name == "half"
    rows = list(csv.DictReader(io.StringIO(result.to_csv())))
    assert [row["name"] for row in rows] == ["right", "half", "nobody"]
    assert rows[1]["intersection"] == "100"
    assert [row["kind"] for row in rows] == ["", "", "empty"]


def test_empty_pictures_count_those_with_a_person_in_over_a_hundredth_of_the_pixels() -> None:
    spots = {f"{count}": half(0) for count in (0, 4, 5, 40)}  # of 400 pixels; 4 are one hundredth
    for name, mask in spots.items():
        mask.flat[: int(name)] = 1
    result = scored([labelled(name, half(0)) for name in spots], spots)
    assert [score.iou for score in result.scores] == [1, 0, 0, 0]
    assert [score.person_share for score in result.scores] == [0, 0.01, 0.0125, 0.1]
    assert (result.empty_with_person, result.empty_with_person_share) == (2, 0.5)
    assert (result.iou_mean, result.iou_median, result.iou_worst, result.iou_set) == (None, None, None, None)
    assert result.boundary_f_mean is None
    assert [score.name for score in result.worst(2)] == ["40", "5"]


def test_haze_is_the_share_of_pixels_between_a_tenth_and_nine_tenths() -> None:
    soft = np.array([[0.0, 0.1, 0.11, 0.5, 0.89, 0.9, 0.91, 1.0]], np.float32)
    sure = np.array([[0, 0, 0, 0, 1, 1, 1, 1]], np.float32)
    result = scored([labelled("soft", sure), labelled("sure", sure)], {"soft": soft, "sure": sure})
    assert [score.haze for score in result.scores] == [3 / 8, 0]
    assert result.haze == 3 / 16


def test_kinds_and_tags_are_reported_separately() -> None:
    frames = [
        labelled("a", half(10), kind="portrait", tags=("dark",)),
        labelled("b", half(10), kind="everyday", tags=("dark", "group")),
        labelled("c", half(10), kind="everyday", tags=("group",)),
        labelled("d", half(0), kind="empty", tags=("group", "statue")),
    ]
    result = scored(frames, {"a": half(10), "b": half(5), "c": half(8), "d": half(1)})
    assert {kind: group.iou_mean for kind, group in result.kinds.items()} == {
        "portrait": 1,
        "everyday": pytest.approx(0.65),
        "empty": None,
    }
    assert [(tag, len(group.scores), group.iou_worst) for tag, group in result.tags.items()] == [
        ("group", 3, 0.5),
        ("dark", 2, 0.5),
        ("statue", 1, None),
    ]
    assert result.iou_mean == pytest.approx(2.3 / 3)
    summary = result.summary()
    assert list(summary["kinds"]) == ["portrait", "everyday", "empty"]
    assert summary["kinds"]["empty"]["empty_with_person_share"] == 1
    assert summary["tags"]["group"]["images"] == 3
    assert summary["empty"] == 1
    assert list(csv.DictReader(io.StringIO(result.to_csv())))[1]["tags"] == "dark; group"


def test_photographs_without_kinds_are_one_group() -> None:
    result = scored([labelled("a", half(10))], {"a": half(10)})
    assert list(result.kinds) == [""]
    assert result.named_kinds == {}
    assert result.summary()["kinds"] == {}
    mixed = scored([labelled("a", half(10)), labelled("n", half(0))], {"a": half(10), "n": half(0)})
    assert list(mixed.summary()["kinds"]) == ["other", "empty"]


def test_threshold_is_the_predictions_not_the_labels() -> None:
    runner = Answers({"a": half(10) * 0.4})
    at = {t: evaluate(runner, [labelled("a", half(10) * 0.6)], iou=mask_iou, boundary_f=boundary_f, threshold=t)
          for t in (0.3, 0.5)}  # fmt: skip
    assert (at[0.3].iou_mean, at[0.5].iou_mean) == (1, 0)


@pytest.mark.parametrize("frames", [[], [labelled("a", None)]], ids=["nothing", "no_mask"])
def test_nothing_to_compare_with_is_refused(frames: list[LabelledFrame]) -> None:
    with pytest.raises(DataError, match="nothing to compare with"):
        evaluate(Answers({}), frames, iou=mask_iou, boundary_f=boundary_f)


def test_a_mask_that_is_not_a_number_is_refused() -> None:
    runner = Answers({"a": np.full((20, 20), np.nan, np.float32)})
    with pytest.raises(ExecutionError, match="The mask of 'a' holds NaN or infinite values"):
        evaluate(runner, [labelled("a", half(10))], iou=mask_iou, boundary_f=boundary_f)


def test_frames_are_read_one_by_one_and_only_the_worst_are_kept() -> None:
    masks = {str(width): half(width) for width in (10, 3, 8, 1, 9)}
    worst = Worst(2)
    frames = (labelled(name, half(10)) for name in masks)
    evaluate(Answers(masks), frames, iou=mask_iou, boundary_f=boundary_f, on_image=worst)
    assert [case.score.name for case in worst.cases] == ["1", "3"]


def test_photographs_of_one_name_in_two_splits_stay_apart() -> None:
    frames = [labelled("a", half(10), "train"), labelled("a", half(5), "val")]
    worst = Worst(2)
    result = evaluate(Answers({"a": half(10)}), frames, iou=mask_iou, boundary_f=boundary_f, on_image=worst)
    assert [(score.split, score.iou) for score in result.worst(2)] == [("val", 0.5), ("train", 1)]
    assert [float(case.drawn.mean()) for case in worst.cases] == [0.25, 0.5]
    assert [row["split"] for row in csv.DictReader(io.StringIO(result.to_csv()))] == ["train", "val"]


def test_an_empty_picture_with_a_person_is_worse_than_one_with_a_few_pixels() -> None:
    masks = {"good": half(9), "stray": half(0), "ghost": half(12)}
    masks["stray"][0, 0] = 1
    worst = Worst(3)
    frames = [labelled("good", half(10)), labelled("stray", half(0)), labelled("ghost", half(0))]
    result = scored(frames, masks, on_image=worst)
    assert [score.name for score in result.worst(3)] == ["ghost", "good", "stray"]
    assert [case.score.name for case in worst.cases] == ["ghost", "good", "stray"]


def test_sheet_shows_the_worst_first() -> None:
    masks = {"good": half(10), "bad": half(3)}
    worst, frames = Worst(1), [labelled(name, half(10)) for name in masks]
    evaluate(Answers(masks), frames, iou=mask_iou, boundary_f=boundary_f, on_image=worst)
    with Image.open(io.BytesIO(worst_sheet(worst.cases))) as sheet:
        assert sheet.size == (480, 14 + 174)  # the line of headings comes first
        pixels = np.asarray(sheet)
    assert [bool((pixels[:14, x : x + 160] < 128).any()) for x in (0, 160, 320)] == [True] * 3
    white = (pixels[28:] == 255).all(2)
    shares = [float(white[:, x : x + 160].mean()) for x in (0, 160, 320)]
    assert shares == pytest.approx([1, 0.5, 0.15], abs=0.06)
