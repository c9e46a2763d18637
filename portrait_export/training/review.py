"""Compare the masks of photographs with a second opinion, and repair them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..calibration.dataset import find_items, load_item
from ..errors import DataError, PhotoError
from ..imaging.guided import refine
from ..utils.files import write_bytes, write_text
from .label import Segmenter, iou, remove_sheets, vote
from .pictures import captioned_sheet, cut_out

COLUMNS = ("name", "iou", "confidence", "share", "share_second")  # of review.csv
OWN = 0.999  # IoU with the mask of the network that made it: 1 but for rounding; two networks differ at the outline
PER_SHEET, ACROSS = 40, 4  # photographs; each takes two cells


@dataclass(frozen=True)
class Review:
    """The comparison of one mask with a second opinion.

    Attributes:
        name: the photograph's, with its split.
        iou: of the mask with the second opinion, both cut at one half; 1 where both are empty.
        confidence: the second opinion's confidence, 0..1 (see `label.vote`).
        share, share_second: of the photograph that is person by the mask, and by the second opinion.
        cells: the cut-out by the mask and by the second opinion, (CELL, CELL, 3) uint8 each.
    """

    name: str
    iou: float
    confidence: float
    share: float
    share_second: float
    cells: tuple[np.ndarray, np.ndarray]


def review_folder(
    folder: Path, segment: Segmenter, *, on_image: Callable[[int, int], None] = lambda done, total: None
) -> list[Review]:
    """Compare every mask of a folder with a second opinion; the folder's masks stay as they are.

    Writes FOLDER/review.csv and FOLDER/sheets/review_000.png …, both from the lowest agreement to the highest. Low
    agreement means that one of the two is wrong, but not which: look at the sheets.

    Args:
        folder: photographs and masks in a layout of `calibration.dataset.find_items`.
    Returns:
        The reviews, lowest agreement first.
    Raises:
        DataError: there are no masks; or, once all others are reviewed, some files cannot be read.
    """
    items, faults = find_items(folder)
    masked = [item for item in items if item.mask is not None]
    if not masked:
        raise DataError(f"{folder} has no masks to review.", context=faults, hint="`portrait-export label` makes some.")
    reviews = []
    for done, item in enumerate(masked):
        try:
            labelled = load_item(item, size=None)
        except (PhotoError, DataError) as error:
            faults.append(error.message)
        else:
            assert labelled.mask is not None
            name = f"{item.split}/{item.name}" if item.split else item.name
            reviews.append(review(name, labelled.frame.image, labelled.mask, segment))
        on_image(done + 1, len(masked))
    reviews.sort(key=lambda one: (one.iou, one.name))
    _write(folder, reviews)
    if faults:
        raise DataError(f"{folder} has {len(faults)} faults; everything else is reviewed.", context=faults)
    return reviews


def review(name: str, photo: np.ndarray, mask: np.ndarray, segment: Segmenter) -> Review:
    """Compare one mask, (H, W) float32 in 0..1, with a second opinion on its photograph, (H, W, 3) uint8."""
    second, confidence = second_opinion(photo, segment)
    a, b = mask >= 0.5, second >= 0.5
    shown = photo.astype(np.float32) / 255
    cells = (cut_out(shown, mask), cut_out(shown, second))
    return Review(name, iou(a, b), confidence, float(a.mean()), float(b.mean()), cells)


def one_opinion(reviews: Sequence[Review]) -> str:
    """A warning if most masks were made by the network that reviews them; else an empty string."""
    seen = [one for one in reviews if one.share or one.share_second]
    own = sum(one.iou >= OWN for one in seen)
    if 2 * own <= len(seen):
        return ""
    return (
        f"{own} of {len(seen)} masks are what this network makes itself: both opinions are one, and their agreement"
        " says nothing. Review with another network, `model=` or `checkpoint=`."
    )


def second_opinion(photo: np.ndarray, segment: Segmenter) -> tuple[np.ndarray, float]:
    """A segmenter's mask at the photograph's size, (H, W) float32 in 0..1, and its confidence."""
    coarse, confidence = vote(photo, segment)
    return refine(coarse, photo), confidence


def complete(mask: np.ndarray, photo: np.ndarray, segment: Segmenter) -> np.ndarray:
    """A mask with holes, or without the clothes, and what the second opinion adds to it: their maximum."""
    filled: np.ndarray = np.maximum(mask, second_opinion(photo, segment)[0])
    return filled


def _write(folder: Path, reviews: Sequence[Review]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in reviews:
        writer.writerow([one.name, *(f"{v:.4f}" for v in (one.iou, one.confidence, one.share, one.share_second))])
    write_text(folder / "review.csv", text.getvalue())
    remove_sheets(folder, "review")
    for start in range(0, len(reviews), PER_SHEET):
        path = folder / "sheets" / f"review_{start // PER_SHEET:03d}.png"
        write_bytes(path, review_sheet(reviews[start : start + PER_SHEET]), force=True)


def review_sheet(reviews: Sequence[Review]) -> bytes:
    """A PNG: for each photograph the cut-out by its mask, and next to it the one by the second opinion."""
    return captioned_sheet(
        [(f"{one.iou:.3f} {one.name}"[:50], one.cells) for one in reviews],
        across=ACROSS,
        heads=("mask", "second opinion"),
    )
