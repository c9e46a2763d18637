"""Test that the bundled set matches its manifest, and that folders load completely or fail with every fault listed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from portrait_export import training
from portrait_export.calibration.dataset import ROOT, find_items, load_calibration, load_folder, read_manifest
from portrait_export.errors import DataError, UsageError


def photo(path: Path, size=(20, 10), value=90) -> None:
    """A (width, height) picture of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, 20, 200)).save(path)


def mask(path: Path, size=(20, 10), left=255, right=0) -> None:
    """A gray picture whose left and right halves hold two values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((size[1], size[0]), right, np.uint8)
    pixels[:, : size[0] // 2] = left
    Image.fromarray(pixels).save(path)


# ---- the bundled set --------------------------------------------------------------------------------------------


def test_bundled_set_has_half_of_each_kind_to_calibrate_and_half_to_evaluate() -> None:
    frames = load_calibration(size=(64, 96))
    assert len({frame.frame.name for frame in frames}) == 64
    for kind, half in {"portrait": 16, "everyday": 13, "empty": 3}.items():
        splits = [frame.split for frame in frames if frame.kind == kind]
        assert sorted(splits) == ["calibrate"] * half + ["evaluate"] * half
    for labelled in frames:
        assert labelled.frame.image.shape == (64, 96, 3)
        assert labelled.frame.image.dtype == np.uint8
        assert labelled.mask is not None
        assert labelled.mask.shape == (64, 96)
        assert labelled.mask.dtype == np.float32
        assert labelled.mask.min() >= 0
        assert labelled.mask.max() <= 1


def test_no_photograph_is_in_both_splits() -> None:
    sources = {split: set() for split in ("calibrate", "evaluate")}
    for entry in read_manifest():
        sources[entry["split"]] |= set(entry["source_sha256"])
    assert not sources["calibrate"] & sources["evaluate"]


def test_every_photograph_names_its_source_and_a_free_licence_of_its_own() -> None:
    for entry in read_manifest():
        assert entry["source"]
        assert entry["licence"].startswith(("CC0-1.0", "Public domain", "CC BY 2.0 (stated for this picture"))
        assert "whole" not in entry["licence"]
        assert entry.get("author") or entry["licence"].startswith("CC0-1.0")


def test_people_cover_from_a_few_hundredths_to_over_two_thirds_of_a_picture() -> None:
    frames = [frame for frame in load_calibration(size=(128, 128)) if frame.kind != "empty"]
    shares = {frame.frame.name: float((frame.mask > 0.5).mean()) for frame in frames}
    assert shares["everyday_401d553fd552"] < 0.04
    assert shares["cc0_051_small"] < 0.1
    assert shares["cc0_069_large"] > 0.66
    assert min(shares.values()) > 0.01


def test_masks_are_zero_exactly_in_the_pictures_of_kind_empty() -> None:
    for frame in load_calibration(size=None):
        assert frame.mask.any() == (frame.kind != "empty"), frame.frame.name


def test_insides_of_everyday_masks_are_firm() -> None:
    for frame in load_calibration(size=None):
        if frame.kind == "everyday":
            soft = (frame.mask > 0.1) & (frame.mask < 0.9)
            assert soft.mean() < 0.06, frame.frame.name


def test_kinds_and_tags_come_with_the_frames() -> None:
    group = next(frame for frame in load_calibration(size=(32, 32)) if frame.frame.name == "everyday_5271b7134be5")
    assert (group.kind, group.split) == ("everyday", "calibrate")
    assert {"group", "back", "child"} <= set(group.tags)


def test_no_everyday_photograph_is_trained_on() -> None:
    rejected = json.loads((Path(training.__file__).parent / "rejected.json").read_text())
    names = {entry["name"].partition("_")[2] for entry in read_manifest() if entry["kind"] != "portrait"}
    assert names == set(rejected["everyday"]["calibration"])


def test_an_unknown_kind_lists_the_known_ones(bundle: Path) -> None:
    data = json.loads((bundle / "manifest.json").read_text())
    data["images"][0]["kind"] = "selfie"
    (bundle / "manifest.json").write_text(json.dumps(data))
    with pytest.raises(DataError) as caught:
        load_calibration(root=bundle)
    assert "unknown kind 'selfie'; it is one of portrait, everyday, empty" in str(caught.value)


def test_stored_size_comes_through_unchanged() -> None:
    first = load_calibration("evaluate", size=None)[0]
    stored = np.asarray(Image.open(ROOT / "images" / f"{first.frame.name}.jpg").convert("RGB"))
    assert np.array_equal(first.frame.image, stored)


def test_unknown_split_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="no split `evalute`") as caught:
        load_calibration("evalute")
    assert "`evaluate`" in caught.value.hint


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A small copy of the bundled set, to damage."""
    entries = read_manifest()[:3]
    for entry in entries:
        for key in ("image", "mask"):
            (tmp_path / entry[key]).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / entry[key], tmp_path / entry[key])
    (tmp_path / "manifest.json").write_text(json.dumps({"images": entries}))
    return tmp_path


def test_changed_missing_and_escaping_files_are_all_named_in_one_error(bundle: Path) -> None:
    data = json.loads((bundle / "manifest.json").read_text())
    first, second, third = data["images"]
    (bundle / "circle.jpg").symlink_to("circle.jpg")
    second["image"] = "circle.jpg"
    (bundle / first["image"]).write_bytes(b"not what it was")
    (bundle / second["mask"]).unlink()
    third["image"] = "../elsewhere.jpg"
    (bundle / "manifest.json").write_text(json.dumps(data))
    with pytest.raises(DataError, match="4 faults") as caught:
        load_calibration(root=bundle)
    text = str(caught.value)
    assert f"{first['name']}: image '{first['image']}' has sha256" in text
    assert f"{second['name']}: image 'circle.jpg' cannot be read: its links lead in a circle" in text
    assert f"{second['name']}: mask '{second['mask']}' is missing" in text
    assert f"{third['name']}: image '../elsewhere.jpg' is outside the folder" in text


@pytest.mark.parametrize("text", ["", "[]", '{"images": [{"name": "a"}]}', '{"images": 3}', '{"images": [1]}'])
def test_manifest_of_another_kind_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=r"manifest\.json"):
        load_calibration(root=tmp_path)


# ---- folders ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("photo_size", "mask_size"),
    [((20, 10), (40, 20)), ((40, 20), (20, 10)), ((4032, 3024), (683, 512)), ((101, 67), (50, 34))],
)
def test_masks_of_another_resolution_are_scaled(tmp_path: Path, photo_size, mask_size) -> None:
    photo(tmp_path / "images" / "a.png", photo_size)
    mask(tmp_path / "masks" / "a.png", mask_size)
    for size in (None, (16, 32)):
        [frame] = load_folder(tmp_path, size=size)
        assert frame.mask is not None
        assert frame.mask.shape == frame.frame.image.shape[:2]
        half = frame.mask.shape[1] // 2
        assert (frame.mask[:, : half - half // 4] == 1).all()
        assert (frame.mask[:, half + half // 4 :] == 0).all()


@pytest.mark.parametrize("mask_size", [(20, 11), (40, 22), (10, 20), (19, 10)])
def test_masks_of_another_aspect_ratio_are_refused(tmp_path: Path, mask_size) -> None:
    photo(tmp_path / "images" / "a.png", (20, 10))
    mask(tmp_path / "masks" / "a.png", mask_size)
    with pytest.raises(DataError) as caught:
        load_folder(tmp_path)
    assert "A mask needs its photograph's aspect ratio." in str(caught.value)


def test_photographs_of_one_name_and_without_masks_keep_their_suffixes(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "b.png"):
        photo(tmp_path / name)
    items, faults = find_items(tmp_path)
    assert ([item.name for item in items], faults) == (["a.jpg", "a.png", "b"], [])


def test_photographs_in_subfolders_alone_are_found(tmp_path: Path) -> None:
    for name in ("one/a.png", "two/a.png", "masks/a.png"):
        photo(tmp_path / name)
    items, faults = find_items(tmp_path)
    assert ([item.name for item in items], faults) == (["one/a", "two/a"], [])
    photo(tmp_path / "top.png")
    assert [item.name for item in find_items(tmp_path)[0]] == ["top"]


def test_plain_folder_of_photographs_has_no_masks(tmp_path: Path) -> None:
    photo(tmp_path / "b.png")
    photo(tmp_path / "a.JPG")
    (tmp_path / "notes.txt").write_text("ours")
    (tmp_path / ".hidden.png").write_text("not a picture")
    frames = load_folder(tmp_path, size=(8, 8))
    assert [(f.frame.name, f.mask, f.split) for f in frames] == [("a", None, ""), ("b", None, "")]


def test_soft_masks_keep_their_gray_and_follow_the_photographs_size(tmp_path: Path) -> None:
    photo(tmp_path / "images/x.png")
    mask(tmp_path / "masks/x.png", left=204)
    (frame,) = load_folder(tmp_path, size=(5, 10))
    assert frame.frame.image.shape == (5, 10, 3)
    assert frame.mask is not None
    assert frame.mask[:, 0] == pytest.approx(0.8, abs=1e-6)
    assert frame.mask[:, -1].max() == 0


def test_easyportrait_tree_turns_every_class_but_the_background_into_person(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for name, value in (("a", 1), ("b", 8)):
            photo(tmp_path / f"images/{split}/{name}.jpg")
            mask(tmp_path / f"annotations/{split}/{name}.png", left=value)
    frames = load_folder(tmp_path, size=None)
    assert [(f.split, f.frame.name) for f in frames] == [("train", "a"), ("train", "b"), ("val", "a"), ("val", "b")]
    for frame in frames:
        assert frame.mask is not None
        assert frame.mask[:, :10].min() == 1
        assert frame.mask[:, 10:].max() == 0
    assert len(load_folder(tmp_path, split="val")) == 2


def test_palette_annotation_is_read_by_its_ids_not_its_colours(tmp_path: Path) -> None:
    photo(tmp_path / "images/train/a.jpg")
    annotation = Image.new("P", (20, 10), 2)
    annotation.putpalette([255, 255, 255, 9, 9, 9, 0, 0, 0])
    (tmp_path / "annotations/train").mkdir(parents=True)
    annotation.save(tmp_path / "annotations/train/a.png")
    (frame,) = load_folder(tmp_path, size=None)
    assert frame.mask is not None
    assert frame.mask.min() == 1


def test_depth_maps_are_read_at_16_bits(tmp_path: Path) -> None:
    photo(tmp_path / "images/a.png")
    mask(tmp_path / "masks/a.png")
    (tmp_path / "depth").mkdir()
    Image.fromarray(np.full((10, 20), 0x8001, np.uint16)).save(tmp_path / "depth/a.png")
    (frame,) = load_folder(tmp_path, size=None)
    assert frame.frame.depth is not None
    assert frame.frame.depth[0, 0] == pytest.approx(0x8001 / 65535, abs=1e-7)


def test_all_faults_of_a_folder_come_in_one_error(tmp_path: Path) -> None:
    for name in ("good", "corrupt", "other_size", "ids", "no_mask"):
        photo(tmp_path / f"images/train/{name}.png")
    for name, size, value in (("good", (20, 10), 1), ("corrupt", (20, 10), 1), ("other_size", (20, 11), 1)):
        mask(tmp_path / f"annotations/train/{name}.png", size=size, left=value)
    mask(tmp_path / "annotations/train/ids.png", left=200, right=9)
    mask(tmp_path / "annotations/train/no_photo.png")
    (tmp_path / "images/train/corrupt.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    with pytest.raises(DataError, match="5 faults") as caught:
        load_folder(tmp_path)
    text = str(caught.value)
    assert "corrupt.png is damaged or truncated" in text or "corrupt.png is not a picture" in text
    assert "other_size.png is 20x11 pixels, its photograph other_size.png is 20x10" in text
    assert "ids.png holds class ids 9, 200; the known ones are 0 to 8" in text
    assert "images/train/no_mask.png: nothing for it in annotations/train" in text
    assert "annotations/train/no_photo.png: there is no such photograph" in text
    assert "good" not in text


def test_class_ids_saved_as_a_gray_mask_are_not_taken_for_black(tmp_path: Path) -> None:
    photo(tmp_path / "images/a.png")
    mask(tmp_path / "masks/a.png", left=1)
    with pytest.raises(DataError) as caught:
        load_folder(tmp_path)
    assert "it seems to hold class ids, not gray" in str(caught.value)


def test_black_mask_means_nobody_is_there(tmp_path: Path) -> None:
    photo(tmp_path / "images/a.png")
    mask(tmp_path / "masks/a.png", left=0)
    (frame,) = load_folder(tmp_path)
    assert frame.mask is not None
    assert frame.mask.max() == 0


def test_two_photographs_of_one_name_are_a_fault(tmp_path: Path) -> None:
    photo(tmp_path / "images/a.png")
    photo(tmp_path / "images/a.jpg")
    _, faults = find_items(tmp_path)
    assert faults == ["images/a.png: another file has this name, images/a.jpg"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "There is no photograph in"),
        (lambda root: (root / "images").mkdir(), "There is no photograph in"),
        (lambda root: root.rmdir(), "is not a folder"),
    ],
    ids=["empty", "empty_images", "missing"],
)
def test_folder_with_nothing_in_it_is_refused(tmp_path: Path, make, message: str) -> None:
    root = tmp_path / "data"
    root.mkdir()
    make(root)
    with pytest.raises(DataError, match=message):
        load_folder(root)


def test_missing_split_is_refused(tmp_path: Path) -> None:
    photo(tmp_path / "images/train/a.jpg")
    with pytest.raises(DataError, match="no split `val`"):
        load_folder(tmp_path, split="val")
