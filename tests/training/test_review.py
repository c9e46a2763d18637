"""Test that a review finds the masks that disagree with a second opinion and changes none of them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portrait_export.cli import run
from portrait_export.errors import DataError
from portrait_export.training.label import label_folder
from portrait_export.training.review import complete, one_opinion, review_folder

from .test_label import bright


def spoil(path: Path) -> None:
    """Take the lower half of a person away."""
    mask = np.array(Image.open(path))
    mask[len(mask) // 2 :] = 0
    Image.fromarray(mask).save(path)


def test_damaged_masks_come_first_and_nothing_is_changed(painted: Path) -> None:
    spoil(painted / "masks/p2.png")
    spoil(painted / "masks/p5.png")
    before = {path.name: path.read_bytes() for path in (painted / "masks").iterdir()}
    reviews = review_folder(painted, bright)
    assert {one.name for one in reviews[:2]} == {"p2", "p5"}
    assert all(one.iou < 0.6 for one in reviews[:2])
    assert all(one.iou > 0.9 for one in reviews[2:])
    assert all(one.share < one.share_second for one in reviews[:2])
    assert {path.name: path.read_bytes() for path in (painted / "masks").iterdir()} == before
    with (painted / "review.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [one.name for one in reviews]
    assert float(rows[0]["iou"]) == pytest.approx(reviews[0].iou, abs=1e-4)


def test_a_review_by_the_network_that_made_the_masks_is_reported_as_one_opinion(painted: Path) -> None:
    for seed in range(5):
        spoil(painted / f"masks/p{seed}.png")
    assert one_opinion(review_folder(painted, bright)) == ""
    for mask in (painted / "masks").iterdir():
        mask.unlink()
    label_folder(painted, bright)
    spoil(painted / "masks/p2.png")
    warning = one_opinion(review_folder(painted, bright))
    assert warning.startswith("7 of 8 masks are what this network makes itself: both opinions are one")


def test_sheet_shows_both_opinions_side_by_side(painted: Path) -> None:
    spoil(painted / "masks/p2.png")
    review_folder(painted, bright)
    with Image.open(painted / "sheets/review_000.png") as sheet:
        assert sheet.size == (4 * 2 * 160, 14 + 2 * 174)  # the line of headings comes first
        pixels = np.asarray(sheet)
    mine, second = pixels[28 + 100 : 188, :160], pixels[28 + 100 : 188, 160:320]
    background = np.abs(mine.astype(int) - (0, 200, 80)).max(axis=2) <= 2
    assert background.all()  # the lower half is gone there
    assert not (np.abs(second.astype(int) - (0, 200, 80)).max(axis=2) <= 2).all()


def test_sheets_of_an_earlier_review_are_replaced(painted: Path) -> None:
    (painted / "sheets").mkdir()
    for name in ("review_000.png", "review_007.png", "label_000.png"):
        (painted / "sheets" / name).touch()
    review_folder(painted, bright)
    assert sorted(path.name for path in (painted / "sheets").iterdir()) == ["label_000.png", "review_000.png"]


def test_repair_adds_what_the_second_opinion_sees(painted: Path) -> None:
    photo = np.array(Image.open(painted / "images/p2.png"))
    true = np.array(Image.open(painted / "masks/p2.png")) > 127
    half = np.where(np.arange(64)[:, None] < 32, true, False).astype(np.float32)
    repaired = complete(half, photo, bright) >= 0.5
    assert (half[:32] >= 0.5).sum() <= repaired[:32].sum()
    assert (repaired & true).sum() / (repaired | true).sum() > 0.9


def test_files_that_cannot_be_read_are_named_after_the_rest_is_reviewed(painted: Path) -> None:
    (painted / "masks/p3.png").write_bytes(b"broken")
    (painted / "masks/p4.png").unlink()
    with pytest.raises(DataError, match="2 faults; everything else is reviewed") as caught:
        review_folder(painted, bright)
    assert "p3.png" in str(caught.value)
    assert "p4.png: nothing for it in masks" in str(caught.value)
    assert len((painted / "review.csv").read_text().splitlines()) == 7


def test_folder_without_masks_is_refused(painted: Path, capsys) -> None:
    for mask in (painted / "masks").iterdir():
        mask.unlink()
    with pytest.raises(DataError, match="no masks to review"):
        review_folder(painted, bright)
    assert run(["label", str(painted), "--review", "--force"]) == 2
    assert "cannot be used with --hard or --force" in capsys.readouterr().err
