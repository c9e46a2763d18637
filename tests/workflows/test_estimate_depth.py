"""Test depth maps: the input of MiDaS, the conversion of its output, and the output paths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from portrait_export.capture.depth_estimator import input_size, normalised, resized
from portrait_export.errors import DataError, ExecutionError, UsageError
from portrait_export.imaging.encode import png_bytes
from portrait_export.imaging.photo import open_depth
from portrait_export.workflows.estimate_depth import DepthRequest, output_paths, to_gray

# ---- gray -----------------------------------------------------------------------------------------------------------


def test_numbers_up_to_white_keep_16_bits(tmp_path: Path) -> None:
    depth = np.linspace(0, 1000, 4096, dtype=np.float32).reshape(64, 64)
    gray, notes = to_gray(depth, 1000.0)
    assert gray.dtype == np.uint16
    assert notes == ()
    (tmp_path / "d.png").write_bytes(png_bytes(Image.fromarray(gray)))
    with Image.open(tmp_path / "d.png") as image:
        assert (image.mode, image.size) == ("I;16", (64, 64))
    read = open_depth(tmp_path / "d.png")
    assert np.array_equal(read, gray / np.float32(65535))
    assert np.abs(read - depth / 1000).max() <= 0.5 / 65535 + 1e-6


def test_values_beyond_white_are_clipped_and_reported() -> None:
    depth = np.full((10, 10), 500, np.float32)
    depth[:2] = 2500
    gray, (note,) = to_gray(depth, 1000.0)
    assert set(gray[:2].ravel()) == {65535}
    assert set(gray[2:].ravel()) == {32768}
    assert note == "20 % of it is nearer than `white=1000` and becomes plain white; the nearest value is 2500."


def test_a_photographs_own_range_goes_from_black_to_white() -> None:
    depth = np.array([[20, 30], [25, 20]], np.float32)
    assert to_gray(depth, None)[0].tolist() == [[0, 65535], [32768, 0]]
    # Inverse depth is known up to scale and shift: neither changes the map.
    assert np.array_equal(to_gray(3 * depth + 100, None)[0], to_gray(depth, None)[0])


@pytest.mark.parametrize("white", [1000.0, None])
def test_a_constant_map_is_black_and_reported(white: float | None) -> None:
    gray, (note,) = to_gray(np.zeros((4, 4), np.float32), white)
    assert not gray.any()
    assert "the map is black" in note


def test_numbers_below_0_are_far() -> None:
    assert to_gray(np.array([[-5, 500]], np.float32), 1000.0)[0].tolist() == [[0, 32768]]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_are_refused(bad: float) -> None:
    with pytest.raises(ExecutionError, match=r"The depth of a\.jpg holds NaN or infinite values"):
        to_gray(np.array([[1, bad]], np.float32), 1000.0, name="a.jpg")


# ---- what the network sees ------------------------------------------------------------------------------------------

# (height, width) of a photograph → of MiDaS' input, by the rule it was published with: the longer side 256, the other
# by the same factor, both to the nearest multiple of 32.
SIZES = {(256, 256): (256, 256), (1080, 1920): (128, 256), (1920, 1080): (256, 128), (600, 400): (256, 160),
         (64, 48): (256, 192), (3000, 100): (256, 32), (1, 1): (256, 256)}  # fmt: skip


@pytest.mark.parametrize(("photo", "expected"), SIZES.items())
def test_input_size_keeps_the_aspect_ratio_in_steps_of_32(photo, expected) -> None:
    assert input_size(*photo) == expected


def cubic(x: float) -> float:
    """Keys' kernel with a = −0.75, as in OpenCV."""
    a, x = -0.75, abs(x)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def test_photos_are_resized_as_by_opencv() -> None:
    """One row, three times smaller: pixel i of the result lies at (i + ½)·3 − ½ and reads four neighbours."""
    row = np.random.default_rng(0).integers(0, 256, 24, dtype=np.uint8)
    photo = np.broadcast_to(row[None, :, None], (8, 24, 3)).copy()
    found = resized(photo, (8, 8))[0, 0, 3].numpy()
    for i in range(8):
        at = (i + 0.5) * 3 - 0.5
        taps = range(int(np.floor(at)) - 1, int(np.floor(at)) + 3)
        expected = sum(cubic(at - tap) * row[min(max(tap, 0), 23)] / 255 for tap in taps)
        assert found[i] == pytest.approx(expected, abs=1e-5)


def test_pixels_are_normalised_by_imagenet_in_rgb_order() -> None:
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 255
    seen = normalised(resized(red, (32, 32)))[0, :, 5, 5]
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225]
    assert torch.allclose(seen, torch.tensor(expected), atol=1e-5)


# ---- pairs ---------------------------------------------------------------------------------------------------------


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def test_maps_of_a_folder_go_where_the_loader_reads_them(tmp_path: Path) -> None:
    for name in ("train/a.jpg", "val/a.png", "val/notes.txt"):
        touch(tmp_path / "images" / name)
    pairs = output_paths(DepthRequest((tmp_path,)))
    assert [out.relative_to(tmp_path).as_posix() for _, out in pairs] == ["depth/train/a.png", "depth/val/a.png"]
    elsewhere = output_paths(DepthRequest((tmp_path,), out=tmp_path / "o"))
    assert [out.relative_to(tmp_path).as_posix() for _, out in elsewhere] == ["o/train/a.png", "o/val/a.png"]


def test_maps_of_files_go_to_out(tmp_path: Path) -> None:
    a, b = touch(tmp_path / "a.jpg"), touch(tmp_path / "b.jpg")
    assert output_paths(DepthRequest((a,), out=tmp_path / "x.png")) == [(a, tmp_path / "x.png")]
    assert output_paths(DepthRequest((a, b), out=tmp_path / "o")) == [
        (a, tmp_path / "o/a.png"),
        (b, tmp_path / "o/b.png"),
    ]
    assert output_paths(DepthRequest((a, b), out=tmp_path / "maps.v2"))[0] == (a, tmp_path / "maps.v2/a.png")
    assert output_paths(DepthRequest((a,), out=tmp_path / "x.png", folder=True)) == [(a, tmp_path / "x.png/a.png")]


REFUSED = {
    "no_output": (["a.jpg"], None, UsageError, "No output path for the depth map of"),
    "one_file_for_two": (["a.jpg", "b.jpg"], "x.png", UsageError, "would be written to the same file"),
    "same_name": (["a.jpg", "deep/a.jpg"], "o", UsageError, "would be written to the same file"),
    "not_a_png": (["a.jpg"], "x.jpg", UsageError, "cannot be written as x.jpg"),
    "folder_into_a_file": (["data"], "x.png", UsageError, "cannot all be written to the file"),
    "folder_without_images": (["deep"], None, DataError, "has no folder images/"),
    "folder_with_empty_images": (["empty"], None, DataError, "There is no photo in"),
    "two_of_a_name": (["double"], None, DataError, "has photos of the same name"),
}


@pytest.mark.parametrize(("photos", "out", "kind", "words"), REFUSED.values(), ids=REFUSED)
def test_photos_without_an_output_path_are_refused(tmp_path: Path, photos, out, kind, words) -> None:
    for name in ("a.jpg", "b.jpg", "deep/a.jpg", "data/images/a.jpg", "double/images/a.jpg", "double/images/a.png"):
        touch(tmp_path / name)
    (tmp_path / "empty/images").mkdir(parents=True)
    request = DepthRequest(tuple(tmp_path / name for name in photos), out=None if out is None else tmp_path / out)
    with pytest.raises(kind, match=words):
        output_paths(request)
