"""Test labels: votes over views, refined edges, output folders and confidences."""

from __future__ import annotations

import csv
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portrait_export.calibration.dataset import load_folder
from portrait_export.errors import DataError
from portrait_export.imaging.guided import box_mean, refine
from portrait_export.training import label as labelling
from portrait_export.training.label import download_selfie_model, label_folder, read_selfie_model, vote


def bright(photo: np.ndarray) -> np.ndarray:
    """A segmenter of painted people, at a quarter of the size."""
    return (photo.mean(2) > 128).astype(np.float32)[::4, ::4]


def test_masks_are_written_where_the_loader_reads_them(painted: Path) -> None:
    for mask in (painted / "masks").iterdir():
        mask.rename(painted / f"true_{mask.name}")
    labels = label_folder(painted, bright)
    assert len(labels) == 8
    for labelled in load_folder(painted, size=None):
        true = np.asarray(Image.open(painted / f"true_{labelled.frame.name}.png")) > 127
        made = labelled.mask >= 0.5
        assert (true & made).sum() / (true | made).sum() > 0.9
    with (painted / "label.csv").open() as file:
        rows = list(csv.DictReader(file))
    confidences = [float(row["confidence"]) for row in rows]
    assert confidences == sorted(confidences)
    assert min(confidences) > 0.8
    with Image.open(painted / "sheets/label_000.png") as sheet:
        assert sheet.size == (8 * 160, 174)


def test_masks_that_exist_are_kept_unless_forced(painted: Path) -> None:
    before = (painted / "masks/p0.png").read_bytes()
    (painted / "masks/p1.png").unlink()
    assert [made.item.name for made in label_folder(painted, bright)] == ["p1"]
    assert (painted / "masks/p0.png").read_bytes() == before
    assert len(label_folder(painted, bright, force=True)) == 8


def test_overview_keeps_what_earlier_runs_made(painted: Path) -> None:
    (painted / "images/p0.png").rename(painted / "images/p,0.png")
    (painted / "masks/p0.png").unlink()
    (painted / "masks/p1.png").unlink()
    label_folder(painted, bright)
    (painted / "masks/p2.png").unlink()
    label_folder(painted, bright)
    with (painted / "label.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["name"] for row in rows} == {"p,0", "p1", "p2"}
    assert [row["confidence"] for row in rows] == sorted(row["confidence"] for row in rows)
    assert sorted(path.name for path in (painted / "sheets").iterdir()) == ["label_000.png", "label_001.png"]
    assert label_folder(painted, bright) == []
    assert len(list((painted / "sheets").iterdir())) == 2


def test_what_shows_replaced_masks_is_removed(painted: Path) -> None:
    (painted / "sheets").mkdir()
    left = ("sheets/label_000.png", "sheets/label_005.png", "sheets/review_000.png", "review.csv")
    for name in left:
        (painted / name).touch()
    (painted / "masks/p1.png").unlink()
    label_folder(painted, bright)
    assert all((painted / name).exists() for name in left)  # the other masks are what they show
    label_folder(painted, bright, force=True)
    assert [path.name for path in (painted / "sheets").iterdir()] == ["label_000.png"]
    assert not (painted / "review.csv").exists()


def test_overview_is_written_for_what_was_done_before_an_interruption(painted: Path) -> None:
    def interrupted(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        label_folder(painted, bright, force=True, on_image=interrupted)
    with (painted / "label.csv").open() as file:
        names = [row["name"] for row in csv.DictReader(file)]
    assert sorted(names) == ["p0", "p1", "p2"]
    with Image.open(painted / "sheets/label_000.png") as sheet:
        cells = np.asarray(sheet)[14:].reshape(160, 8, 160, 3).swapaxes(0, 1)
    assert [bool((cell != 255).any()) for cell in cells] == [True] * 3 + [False] * 5
    for name, cell in zip(names, cells, strict=False):
        mask = np.asarray(Image.open(painted / f"masks/{name}.png").resize((160, 160), Image.Resampling.BILINEAR))
        assert (mask == 0).any()
        assert np.abs(cell[mask == 0].astype(int) - (0, 200, 80)).max() <= 2  # the plain colour where nobody is


def test_hard_labels_of_a_tree_are_class_ids(painted: Path) -> None:
    for mask in (painted / "masks").iterdir():
        mask.unlink()
    (painted / "masks").rmdir()
    for split, names in (("train", "0123"), ("val", "4567")):
        (painted / "images" / split).mkdir()
        for n in names:
            (painted / f"images/p{n}.png").rename(painted / f"images/{split}/p{n}.png")
    label_folder(painted, bright, hard=True)
    frames = load_folder(painted, size=None)
    assert [f.split for f in frames] == ["train"] * 4 + ["val"] * 4
    assert set(np.unique(np.asarray(Image.open(painted / "annotations/val/p4.png")))) == {0, 1}
    with pytest.raises(DataError, match="has annotations/ already"):
        label_folder(painted, bright)


def test_unreadable_photographs_are_named_after_the_others_are_labelled(painted: Path) -> None:
    (painted / "images/p3.png").write_bytes(b"broken")
    with pytest.raises(DataError, match="1 of 8 photographs cannot be read; the others are labelled") as caught:
        label_folder(painted, bright, force=True)
    assert "p3.png" in str(caught.value)


@pytest.mark.parametrize("make", [False, True], ids=["no_images_folder", "nothing_in_it"])
def test_folder_without_photographs_is_refused(tmp_path: Path, make: bool) -> None:
    if make:
        (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match="images"):
        label_folder(tmp_path, bright)


def test_views_are_brought_back_to_the_photograph() -> None:
    y, x = np.mgrid[0:96, 0:64]
    person = (((x - 40) / 12) ** 2 + ((y - 60) / 24) ** 2 < 1) | ((y > 80) & (x > 20))
    photo = np.where(person[..., None], 220, 30).astype(np.uint8).repeat(3, 2)
    mean, confidence = vote(photo, lambda view: (view.mean(2) > 128).astype(np.float32))
    assert mean.shape == (96, 64)
    assert float(((mean >= 0.5) == person).mean()) > 0.97
    assert confidence > 0.9


def test_views_that_disagree_are_not_confident() -> None:
    random = np.random.default_rng(0)
    _, confidence = vote(np.zeros((32, 32, 3), np.uint8), lambda view: random.random((16, 16)).astype(np.float32))
    assert confidence < 0.7
    _, nobody = vote(np.zeros((32, 32, 3), np.uint8), lambda view: np.zeros((16, 16), np.float32))
    assert nobody == 1


def test_box_mean_equals_the_window_by_window_mean() -> None:
    values = np.random.default_rng(1).random((7, 5)).astype(np.float32)
    got = box_mean(values, 2)
    for y in range(7):
        for x in range(5):
            window = values[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3]
            assert got[y, x] == pytest.approx(window.mean(), abs=1e-6)


def test_refinement_moves_a_coarse_edge_onto_the_photographs_edge() -> None:
    photo = np.full((128, 128, 3), 30, np.uint8)
    photo[:, 62:] = 220
    coarse = np.zeros((16, 16), np.float32)
    coarse[:, 8:] = 1  # half a coarse pixel off, and blurred by its size
    true = photo[..., 0] > 128
    plain = np.asarray(Image.fromarray(coarse).resize((128, 128), Image.Resampling.BILINEAR))
    refined = refine(coarse, photo)
    assert refined.shape == (128, 128)
    assert ((plain >= 0.5) != true).mean() > 0.01
    assert ((refined >= 0.5) != true).mean() == 0


def test_wheel_with_another_model_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "mediapipe-0.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr(labelling.MEMBER, b"something else")
    with pytest.raises(DataError, match="holds another model: sha256"):
        read_selfie_model(wheel)
    (tmp_path / "bare.tflite").write_bytes(b"also else")
    with pytest.raises(DataError, match="holds another model: sha256"):
        read_selfie_model(tmp_path / "bare.tflite")
    with pytest.raises(DataError, match="neither a MediaPipe wheel nor its model"):
        read_selfie_model(tmp_path / "missing.whl")


def test_failed_download_suggests_alternatives(tmp_path: Path) -> None:
    def no_network(command, **_):
        assert "mediapipe==0.10.21" in command
        assert "--no-deps" in command
        return subprocess.CompletedProcess(command, 1, "", "ERROR: no network")

    with pytest.raises(DataError, match="pip could not fetch") as caught:
        download_selfie_model(tmp_path, run=no_network)
    assert "`labeller=WHEEL`" in caught.value.hint
