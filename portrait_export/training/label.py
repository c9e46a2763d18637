"""Make masks for a folder of photographs, with a confidence for each, as labels to correct."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..calibration.dataset import Item, load_item, pictures_by_stem, resize_photo
from ..errors import DataError, PhotoError, UsageError
from ..imaging.encode import png_bytes
from ..imaging.guided import refine
from ..imaging.photo import open_photo
from ..imaging.resize import resize_bilinear
from ..utils.extras import install
from ..utils.files import write_bytes
from ..utils.lfs import refuse_pointer
from ..utils.quiet import quiet
from .pictures import CELL, captioned_sheet, cut_out

# Segments one photograph: (H, W, 3) uint8 → (h, w) float32, P(person), of any size.
Segmenter = Callable[[np.ndarray], np.ndarray]

# MediaPipe's selfie segmentation (Google, Apache-2.0), general model: 256x256 RGB in 0..1 → P(person).
WHEEL = "mediapipe==0.10.21"  # every platform's wheel holds the same file; this one is asked for by name
WHEEL_TAGS = ("--platform", "manylinux_2_28_x86_64", "--python-version", "311", "--implementation", "cp")
MEMBER = "mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite"
MODEL_SHA256 = "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c"
# Test-time views: the photograph with a border of so many times its size around it, each also mirrored.
BORDERS = (0.0, 0.15, 0.3)
PER_SHEET = 40
COLUMNS = ("name", "confidence", "share")  # of label.csv


@dataclass(frozen=True)
class Label:
    """The result for one photograph.

    Attributes:
        item: the photograph.
        confidence: how much the test-time views agree: their mean IoU with the final mask before refinement, 0..1.
        share: of the photograph that is person.
    """

    item: Item
    confidence: float
    share: float


def label_folder(
    folder: Path,
    segment: Segmenter,
    *,
    hard: bool = False,
    force: bool = False,
    on_image: Callable[[int, int], None] = lambda done, total: None,
) -> list[Label]:
    """Write a mask for every photograph below FOLDER/images that has none.

    Masks go where the loader looks for them: FOLDER/masks as gray, or FOLDER/annotations as class ids 0 and 1.
    label.csv lists them and those of earlier runs, and sheets/ shows the new ones, both from the least to the most
    confident; if the run is interrupted, both are written for the masks made so far.

    Args:
        hard: class ids in annotations/ instead of soft masks.
        force: replace masks that exist; sheets and reviews of the replaced ones are removed.
    Returns:
        The labels made, least confident first.
    Raises:
        DataError: the folder has another layout; or, once all others are labelled, some photographs cannot be read.
    """
    items, target = unlabelled(folder, hard=hard, force=force)
    labels: list[Label] = []
    faults: list[str] = []
    try:
        for done, item in enumerate(items):
            try:
                labels.append(_label_one(item, segment, target, hard=hard))
            except PhotoError as error:
                faults.append(error.message)
            on_image(done + 1, len(items))
    finally:
        labels.sort(key=lambda label: label.confidence)
        if force and labels:
            _remove_overviews(folder)
        _write_overview(folder, labels, target, hard=hard)
    if faults:
        raise DataError(
            f"{len(faults)} of {len(items)} photographs cannot be read; the others are labelled.", context=faults
        )
    return labels


def unlabelled(folder: Path, *, hard: bool, force: bool) -> tuple[list[Item], Path]:
    """The photographs to label, and the folder for their masks. Raises DataError as `label_folder`."""
    if not (folder / "images").is_dir():
        raise DataError(f"{folder} has no folder images/.", hint="put the photographs into FOLDER/images first.")
    target = folder / ("annotations" if hard else "masks")
    other = folder / ("masks" if hard else "annotations")
    if other.is_dir():
        raise DataError(f"{folder} has {other.name}/ already; a folder holds gray masks or class ids, not both.")
    photos, faults = pictures_by_stem(folder / "images", folder)
    if not photos:
        raise DataError(f"There is no photograph in {folder / 'images'}.")
    if faults:
        raise DataError(f"{folder / 'images'} has photographs of the same name.", context=faults)
    items = [Item(stem, path) for stem, path in sorted(photos.items())]
    return [item for item in items if force or not _mask_path(target, item).exists()], target


def _mask_path(target: Path, item: Item) -> Path:
    return target / f"{item.name}.png"


def _label_one(item: Item, segment: Segmenter, target: Path, *, hard: bool) -> Label:
    photo = open_photo(item.image).pixels
    coarse, confidence = vote(photo, segment)
    mask = refine(coarse, photo)
    write_mask(_mask_path(target, item), mask, hard=hard)
    return Label(item, confidence, float((mask >= 0.5).mean()))


def write_mask(path: Path, mask: np.ndarray, *, hard: bool = False) -> None:
    """Store P(person), (H, W) in 0..1, as gray with white for 1, or with `hard` as class ids 0 and 1."""
    stored = (mask >= 0.5).astype(np.uint8) if hard else (mask * 255 + 0.5).astype(np.uint8)
    write_bytes(path, png_bytes(Image.fromarray(stored)), force=True)


def vote(photo: np.ndarray, segment: Segmenter) -> tuple[np.ndarray, float]:
    """The mean of a segmenter's masks over test-time views, and how much the views agree.

    Args:
        photo: (H, W, 3) uint8.
    Returns:
        (h, w) float32 in 0..1, and the mean IoU of the views' masks with it; 1 if none of them sees anyone.
    """
    views = []
    for border in BORDERS:
        for mirrored in (False, True):
            seen = _with_border(photo[:, ::-1] if mirrored else photo, border)
            inside = _without_border(segment(np.ascontiguousarray(seen)), border)
            views.append(inside[:, ::-1] if mirrored else inside)
    size = views[0].shape
    views = [resize_bilinear(np.ascontiguousarray(view, np.float32), size) for view in views]
    mean: np.ndarray = np.stack(views).mean(axis=0)
    return mean, float(np.mean([iou(view >= 0.5, mean >= 0.5) for view in views]))


def _with_border(photo: np.ndarray, border: float) -> np.ndarray:
    rows, columns = round(photo.shape[0] * border), round(photo.shape[1] * border)
    return np.pad(photo, ((rows, 0), (columns, columns), (0, 0)), mode="edge")


def _without_border(mask: np.ndarray, border: float) -> np.ndarray:
    """Cut off what `_with_border` added, at the mask's own resolution."""
    top = round(mask.shape[0] * border / (1 + border))
    side = round(mask.shape[1] * border / (1 + 2 * border))
    return mask[top:, side : mask.shape[1] - side]


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boolean masks; 1 where both are empty."""
    either = int((a | b).sum())
    return int((a & b).sum()) / either if either else 1.0


def remove_sheets(folder: Path, kind: str) -> None:
    """Remove the sheets of earlier runs: of kind `label` or `review`."""
    for sheet in (folder / "sheets").glob(f"{kind}_*.png"):
        sheet.unlink()


def _remove_overviews(folder: Path) -> None:
    """Remove what shows masks that were replaced."""
    remove_sheets(folder, "label")
    remove_sheets(folder, "review")
    (folder / "review.csv").unlink(missing_ok=True)


def _write_overview(folder: Path, labels: Sequence[Label], target: Path, *, hard: bool) -> None:
    """Rewrite label.csv with the rows of earlier runs added, and write sheets numbered after the earlier ones."""
    if not labels:
        return
    rows = {label.item.name: (label.confidence, label.share) for label in labels}
    rows = {**_earlier_rows(folder / "label.csv"), **rows}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name, (confidence, share) in sorted(rows.items(), key=lambda row: (row[1][0], row[0])):
        writer.writerow([name, f"{confidence:.4f}", f"{share:.4f}"])
    write_bytes(folder / "label.csv", text.getvalue().encode(), force=True)
    number = len(list((folder / "sheets").glob("label_*.png")))
    for start in range(0, len(labels), PER_SHEET):
        sheet = contact_sheet(labels[start : start + PER_SHEET], target, hard=hard)
        write_bytes(folder / "sheets" / f"label_{number + start // PER_SHEET:03d}.png", sheet, force=True)


def _earlier_rows(path: Path) -> dict[str, tuple[float, float]]:
    """Read the rows of an earlier label.csv; skip rows that were edited and can no longer be parsed."""
    rows: dict[str, tuple[float, float]] = {}
    if path.is_file():
        for row in csv.reader(path.read_text(encoding="utf-8", errors="replace").splitlines()):
            with contextlib.suppress(ValueError):
                name, confidence, share = row
                rows[name] = float(confidence), float(share)
    return rows


def contact_sheet(labels: Sequence[Label], target: Path, *, hard: bool = False, columns: int = 8) -> bytes:
    """A PNG of cut-outs with their names and confidences, from the photographs and masks on disk."""
    shown = []
    for label in labels:
        item = replace(label.item, mask=_mask_path(target, label.item), classes=hard)
        seen = load_item(item, size=(CELL, CELL))
        assert seen.mask is not None
        cell = cut_out(seen.frame.image.astype(np.float32) / 255, seen.mask)
        shown.append((f"{label.confidence:.3f} {label.item.name}"[:26], [cell]))
    return captioned_sheet(shown, across=columns)


# ---- MediaPipe's model ------------------------------------------------------------------------------------------


def selfie_segmenter(model: bytes) -> Segmenter:
    """MediaPipe's selfie segmentation as a Segmenter. Raises UsageError if `ai-edge-litert` is not installed."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise UsageError(
            "Labelling needs ai-edge-litert, which is not installed.",
            code="missing-extra",
            hint=f"{install('train')}; or label with `model=serseg_b0`.",
        ) from error
    with quiet(native=True):
        interpreter = Interpreter(model_content=model)
        interpreter.allocate_tensors()
    (given,), (taken,) = interpreter.get_input_details(), interpreter.get_output_details()
    side = tuple(int(n) for n in given["shape"][1:3])

    def segment(photo: np.ndarray) -> np.ndarray:
        pixels = resize_photo(photo, (side[0], side[1])).astype(np.float32)[None] / np.float32(255)
        interpreter.set_tensor(given["index"], pixels)
        interpreter.invoke()
        mask: np.ndarray = interpreter.get_tensor(taken["index"])[0, ..., 0].copy()
        return mask

    return segment


def read_selfie_model(path: Path) -> bytes:
    """The model's bytes, from the .tflite file or a MediaPipe wheel. Raises DataError unless it is the known one."""
    refuse_pointer(path, DataError)
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as wheel:
                data = wheel.read(MEMBER)
        else:
            data = path.read_bytes()
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is neither a MediaPipe wheel nor its model: {error}.") from error
    found = hashlib.sha256(data).hexdigest()
    if found != MODEL_SHA256:
        raise DataError(f"{path} holds another model: sha256 {found[:12]}…, wanted {MODEL_SHA256[:12]}…, of {WHEEL}.")
    return data


def download_selfie_model(cache: Path, run: Callable[..., Any] = subprocess.run) -> bytes:
    """The model from the wheel, which pip fetches once. MediaPipe itself is not installed: it needs NumPy 1."""
    wheels = sorted(cache.glob("mediapipe-*.whl"))
    if not wheels:
        cache.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        done = run([*command, *WHEEL_TAGS, "--dest", str(cache), WHEEL], capture_output=True, text=True, check=False)
        wheels = sorted(cache.glob("mediapipe-*.whl"))
        if done.returncode or not wheels:
            raise DataError(
                f"pip could not fetch {WHEEL}, whose segmentation model does the labelling.",
                context=done.stderr.strip().splitlines()[-3:],
                hint="fetch that wheel elsewhere and pass it as `labeller=WHEEL`, or label with `model=serseg_b0`.",
            )
    return read_selfie_model(wheels[-1])
