"""`portrait-demo`, end to end on Linux: its masks and pictures are those of `portrait-export segment`."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from portrait_export.imaging import compose
from portrait_export.imaging.photo import open_photo
from portrait_export.imaging.placement import refined_back, to_frame
from portrait_export.runtime.runner import PackageRunner
from portrait_export.utils.evenly import evenly
from portrait_export.verify.metrics import mask_iou

from .random_draws import SplitMix64

ROOT = Path(__file__).parents[2]
PHOTOS = sorted((ROOT / "calibration" / "images").glob("*.jpg"))
MIN_IOU = 0.9999
BYTE_TOLERANCE = 1  # sums in another order may round a pixel to the other side
TIMEOUT_S = 900

pytestmark = pytest.mark.skipif(shutil.which("swift") is None, reason="swift is not installed")
Demo = Callable[..., subprocess.CompletedProcess]


@pytest.fixture(scope="session")
def binary() -> Path:
    """The demo, built if it is not yet."""
    command = [
        "swift",
        "build",
        "--package-path",
        str(ROOT / "ios_demo"),
        "-c",
        "release",
        "--product",
        "portrait-demo",
    ]
    built = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert built.returncode == 0, built.stdout + built.stderr
    return ROOT / "ios_demo" / ".build" / "release" / "portrait-demo"


@pytest.fixture(scope="session")
def demo(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """Runs the demo with this Python's toolkit, on as many threads as this process: their number moves last bits."""
    toolkit = tmp_path_factory.mktemp("toolkit") / "portrait-export"
    toolkit.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m portrait_export "$@"\n')
    toolkit.chmod(0o755)
    threads = str(torch.get_num_threads())
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}

    def run(*words: object, package: Path | None = None) -> subprocess.CompletedProcess:
        engine = [] if package is None else ["--package", package, "--toolkit", toolkit]
        command = [str(word) for word in (binary, *words, *engine)]
        return subprocess.run(command, capture_output=True, text=True, env=env, timeout=TIMEOUT_S)

    return run


def exported(folder: Path, model: str, size: int, *, random_weights: bool = False) -> Path:
    from portrait_export.cli.render import Silence
    from portrait_export.inputs.sources import ModelSource
    from portrait_export.workflows.export import export_coreml
    from portrait_export.workflows.requests import CoreMLRequest

    source = ModelSource(model=model, size=(size, size), random_weights=random_weights)
    export_coreml(CoreMLRequest(source=source, recipe="int8", out=folder, parity=None), Silence())
    return folder / f"{model}.mlpackage"


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """segformer_b0 with its own weights at 256x256: a quarter of the pixels, and masks that are people."""
    return exported(tmp_path_factory.mktemp("trained") / "out", "segformer_b0", 256)


def succeeded(done: subprocess.CompletedProcess) -> list[str]:
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_masks_and_composites_equal_segments(demo: Demo, trained: Path, tmp_path: Path) -> None:
    looks = [word for look in ("mask", "cutout", "replace", "blur") for word in ("--as", look)]
    photos = evenly(PHOTOS, 20)  # of every kind
    written = succeeded(demo("segment", *photos, *looks, "--background", "#1e90ff", "-o", tmp_path, package=trained))
    assert len(written) == 4 * len(photos) == 80
    runner = PackageRunner(trained)
    assert runner.spec is not None
    worst_iou = 1.0
    for path in photos:
        photo = open_photo(path)
        frame, placement = to_frame(photo, runner.spec)
        probability = refined_back(runner.run([frame])[0].probability, placement, photo.pixels)
        mask = pixels(tmp_path / f"{path.stem}-mask.png")
        worst_iou = min(worst_iou, mask_iou(probability, mask.astype(np.float32) / 255))
        expected = {
            "mask": compose.mask_picture(probability),
            "cutout": compose.cut_out(photo, probability),
            "replace": compose.replace_background(photo, probability, (30, 144, 255)),
            "blur": compose.blur_background(photo, probability),
        }
        for look, picture in expected.items():
            made = pixels(tmp_path / f"{path.stem}-{look}.png")
            assert made.shape == picture.shape
            if look == "cutout":  # colours of alpha 0 are 0; rounding may give alpha 1 here and 0 there
                seen = (made[..., 3:] > 0) & (picture[..., 3:] > 0)
                made, picture = (np.dstack([cut[..., :3] * seen, cut[..., 3]]) for cut in (made, picture))
            assert np.abs(made.astype(int) - picture).max() <= BYTE_TOLERANCE, f"{path.stem} {look}"
    assert worst_iou >= MIN_IOU


def test_treated_masks_stay_masks_of_the_person(demo: Demo, trained: Path, tmp_path: Path) -> None:
    treatment = ("--islands", "0.2", "--photo-colors")
    succeeded(demo("segment", PHOTOS[0], "--as", "mask", "--no-refine", "-o", tmp_path / "plain.png", package=trained))
    succeeded(demo("segment", PHOTOS[0], "--as", "mask", *treatment, "-o", tmp_path / "treated.png", package=trained))
    plain, treated = (pixels(tmp_path / name).astype(np.float32) / 255 for name in ("plain.png", "treated.png"))
    assert 0.9 < mask_iou(plain, treated) < 1


def test_a_depth_model_reads_the_depth_map(demo: Demo, cli: Callable, tmp_path: Path) -> None:
    package = exported(tmp_path / "out", "serseg_b0_abg_dbn_depth", 64, random_weights=True)
    photo, depth = tmp_path / "photo.png", tmp_path / "depth.png"
    draws = SplitMix64(4)
    Image.fromarray(draws.bytes(90, 70, 3)).save(photo)
    Image.fromarray(draws.bytes(45, 35).astype(np.uint16) * 257).save(depth)
    raw = ("--depth", depth, "--no-refine")
    succeeded(demo("segment", photo, *raw, "--as", "mask", "-o", tmp_path / "swift.png", package=package))
    assert cli("segment", photo, *raw, "-p", package, "-o", tmp_path / "python.png").code == 0
    np.testing.assert_array_equal(pixels(tmp_path / "swift.png"), pixels(tmp_path / "python.png"))
    refused = demo("segment", photo, "-o", tmp_path / "x.png", package=package)
    assert refused.returncode == 2
    assert "reads a depth map beside the photo, and none was given" in refused.stderr


def test_parity_judges_a_bundle_of_the_demo(demo: Demo, cli: Callable, trained: Path, tmp_path: Path) -> None:
    bundle, report = tmp_path / "bundle", tmp_path / "parity.json"
    lines = succeeded(demo("bundle", *PHOTOS[:3], "-o", bundle, package=trained))
    assert lines[0] == f"3 frames with masks by portrait-export, written to {bundle}"
    judged = cli("parity", trained, "-m", "segformer_b0", "--from-device", bundle, "--out", report)
    assert judged.code == 0, judged.err
    read = json.loads(report.read_text())
    assert read["summary"]["iou_mean"] > 0.99
    assert "3 of 3 frames equal the toolkit's own to the last bit." in read["notes"]
    again = demo("bundle", PHOTOS[0], "-o", bundle, package=trained)
    assert (again.returncode, "something is there already" in again.stderr) == (2, True)


# ---- picture files ------------------------------------------------------------------------------------------------


def display_p3() -> bytes:
    """An ICC profile as phones embed it: Display P3's primaries adapted to D50 and sRGB's curve, parametric."""

    def fixed(*values: float) -> bytes:
        return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))

    name = "Display P3".encode("utf-16-be")
    curve = b"para\0\0\0\0\0\3\0\0" + fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    tags = {
        b"desc": b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(name), 28) + name,
        b"rXYZ": b"XYZ \0\0\0\0" + fixed(0.51512, 0.2412, -0.00105),
        b"gXYZ": b"XYZ \0\0\0\0" + fixed(0.29198, 0.69225, 0.04189),
        b"bXYZ": b"XYZ \0\0\0\0" + fixed(0.1571, 0.06657, 0.78407),
        b"wtpt": b"XYZ \0\0\0\0" + fixed(0.96419, 1, 0.82489),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    table, data, offset = b"", b"", 128 + 4 + 12 * len(tags)
    for tag, content in tags.items():
        padded = content + b"\0" * (-len(content) % 4)
        table += tag + struct.pack(">II", offset + len(data), len(content))
        data += padded
    size = offset + len(data)
    head = struct.pack(">I4sI4s4s4s12s4s", size, b"test", 0x04000000, b"mntr", b"RGB ", b"XYZ ", b"\0" * 12, b"acsp")
    return (
        head.ljust(68, b"\0").ljust(128, b"\0")[:68]
        + fixed(0.96419, 1, 0.82489)
        + b"\0" * 48
        + (struct.pack(">I", len(tags)) + table + data)
    )


def picture_files(folder: Path) -> dict[str, Path]:
    """Files of the kinds that people have, named by what is special about each."""
    draws = SplitMix64(8)
    smooth = Image.fromarray(draws.bytes(7, 9, 3)).resize((90, 70), Image.Resampling.BICUBIC)
    gray, alpha = smooth.convert("L"), Image.fromarray(draws.bytes(70, 90))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pictures: dict[str, tuple[Image.Image, str, dict[str, object]]] = {
        "color": (smooth, "png", {}),
        "gray": (gray, "png", {}),
        "gray_16_bit": (Image.fromarray(draws.bytes(70, 90).astype(np.uint16) * 251), "png", {}),
        "one_bit": (gray.convert("1"), "png", {}),
        "palette": (smooth.quantize(30), "png", {}),
        "palette_with_transparency": (smooth.quantize(30), "png", {"transparency": 3}),
        "gray_with_transparency": (gray, "png", {"transparency": 100}),
        "transparent": (Image.merge("RGBA", [*smooth.split(), alpha]), "png", {}),
        "transparent_gray": (Image.merge("LA", [gray, alpha]), "png", {}),
        "srgb_profile": (smooth, "png", {"icc_profile": srgb}),
        "display_p3": (smooth, "png", {"icc_profile": display_p3()}),
        "display_p3_jpeg": (smooth, "jpg", {"icc_profile": display_p3(), "quality": 95}),
        "jpeg": (smooth, "jpg", {}),
        "jpeg_full_chroma": (smooth, "jpg", {"subsampling": 0}),
        "jpeg_half_chroma": (smooth, "jpg", {"subsampling": 1}),
        "jpeg_gray": (gray, "jpg", {}),
        "jpeg_progressive": (smooth, "jpg", {"progressive": True}),
    }
    for value in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = value
        pictures[f"turned_{value}"] = (smooth, "jpg", {"exif": exif})
    pictures["turned_png"] = (smooth, "png", {"exif": pictures["turned_6"][2]["exif"]})
    paths = {}
    for name, (picture, suffix, options) in pictures.items():
        paths[name] = folder / f"{name}.{suffix}"
        picture.save(paths[name], **options)
    return paths


def test_picture_files_are_read_as_python_reads_them(demo: Demo, small_export: Path, tmp_path: Path) -> None:
    files = picture_files(tmp_path)
    package = small_export / "segformer_b0.mlpackage"
    unchanged = ("--as", "blur", "--blur", "0")  # the photo itself, as it was read
    done = demo("segment", *files.values(), *unchanged, "-o", tmp_path / "out", package=package)
    assert len(succeeded(done)) == len(files)
    assert done.stderr == ""
    for name, path in files.items():
        expected, read = open_photo(path).pixels, pixels(tmp_path / "out" / f"{path.stem}-blur.png")
        assert read.shape == expected.shape, name
        steps = 1 if "p3" in name else 0  # littlecms computes in fixed point
        assert np.abs(read.astype(int) - expected).max() <= steps, name


def test_files_that_cannot_be_read_are_refused(demo: Demo, small_export: Path, tmp_path: Path) -> None:
    cmyk = tmp_path / "cmyk.jpg"
    Image.new("CMYK", (20, 20)).save(cmyk)
    buffer = io.BytesIO()
    Image.fromarray(SplitMix64(1).bytes(40, 40, 3)).save(buffer, "JPEG")
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(buffer.getvalue()[:-300])
    package = small_export / "segformer_b0.mlpackage"
    for path, words in [(cmyk, "CMYK"), (cut, "cut.jpg cannot be decoded"), (tmp_path / "none.jpg", "Cannot open")]:
        done = demo("segment", path, "-o", tmp_path / "x.png", package=package)
        assert done.returncode == 2
        assert words in done.stderr
        assert not (tmp_path / "x.png").exists()


# ---- video and bench ----------------------------------------------------------------------------------------------


def test_a_still_scene_keeps_still_and_a_cut_starts_another(demo: Demo, trained: Path, tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    first, second = (open_photo(path).pixels for path in PHOTOS[:2])
    for number in range(6):
        noise = SplitMix64(number).bytes(64, 64, 3).repeat(8, 0).repeat(8, 1) // 32
        scene = first if number < 4 else second
        Image.fromarray((scene // 8 * 7 + noise).astype(np.uint8)).save(frames / f"{number:03}.png")
    lines = succeeded(demo("video", frames, "--as", "mask", "-o", tmp_path / "out", package=trained))
    assert lines[0] == f"6 frames, 2 scenes, written to {tmp_path / 'out'}"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{n:03}-mask.png" for n in range(6)]
    computed, shown = (float(word) for word in lines[2].replace(",", "").split() if word.startswith("0."))
    assert shown < computed
    still = [pixels(tmp_path / "out" / f"{n:03}-mask.png").astype(int) for n in range(4)]
    assert (
        np.abs(still[3] - still[2]).mean()
        < np.abs(still[1] - pixels_without_smoothing(demo, trained, frames, 3)).mean()
    )


def pixels_without_smoothing(demo: Demo, package: Path, frames: Path, number: int) -> np.ndarray:
    out = frames.parent / "plain"
    succeeded(demo("video", frames, "--as", "mask", "--no-smoothing", "-o", out, package=package))
    return pixels(out / f"{number:03}-mask.png").astype(int)


def test_bench_measures_each_step(demo: Demo, tmp_path: Path) -> None:
    results = tmp_path / "bench.json"
    lines = succeeded(demo("bench", "--size", "90x70", "--runs", "3", "-o", results))
    assert lines[0] == "90x70 pixels, 3 runs after one of warm-up, milliseconds"
    measured = json.loads(results.read_text())
    assert {"photo to frame", "mask to photo", "cut-out", "blurred"} <= set(measured)
    assert all(len(runs) == 3 and min(runs) > 0 for runs in measured.values())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["paint"], "There is no command paint; the commands are segment, video, bench, bundle, check."),
        (["segment", "--frame", "x"], "There is no option --frame; the options are --as,"),
        (["segment"], "No photo is given."),
        (["segment", "x.jpg", "-o", "y.png"], "--package is missing."),
        (["segment", "x.jpg", "-p", "p", "-o", "y.png", "--as", "halo"], "There is no look halo"),
        (["segment", "x.jpg", "-p", "p", "-o", "y.png", "--blur", "3"], "--blur goes with --as blur."),
        (["segment", "x.jpg", "-p", "p", "-o", "y.png", "--as", "blur", "--blur", "-1"], "at least 0.0; found -1"),
        (["segment", "x.jpg", "-p", "p", "-o", "y.png", "--as", "replace", "--background", "puce"], "neither a file"),
        (["segment", "x.jpg", "-p"], "-p needs a value."),
        (["bench", "--size", "12"], "12 is not a size"),
        (["bundle", "-p", "p", "-o", "out"], "No photo is given."),
        (["check", "x.jpg", "-p", "p"], "there is no Core ML here"),
        (["video", "a", "b"], "One folder of frames is needed, found 2."),
    ],
)
def test_a_command_line_that_cannot_be_used_is_explained(demo: Demo, words: list[str], says: str) -> None:
    done = demo(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr


def test_help_names_every_command(demo: Demo) -> None:
    text = "\n".join(succeeded(demo("--help")))
    assert all(f"portrait-demo {command}" in text for command in ("segment", "video", "bench", "bundle", "check"))
