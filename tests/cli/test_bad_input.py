"""Test that bad input of every kind gives exit code 2, one clear error on stderr, and no output files."""

from __future__ import annotations

import json
import os
import pickle
import resource
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SMALL = ("-m", "segformer_b0", "--random-weights", "--size", "64x64")


def assert_one_clear_error(ran, *words: str) -> None:
    assert ran.code == 2, ran.err
    errors = [line for line in ran.err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, ran.err
    assert "Traceback" not in ran.err
    for word in words:
        assert word in ran.err, ran.err


# ---- packages -------------------------------------------------------------------------------------------------------


def truncate_weights(package: Path) -> None:
    file = package / "Data/com.apple.CoreML/weights/weight.bin"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def remove_weights(package: Path) -> None:
    (package / "Data/com.apple.CoreML/weights/weight.bin").unlink()


def remove_manifest(package: Path) -> None:
    (package / "Manifest.json").unlink()


def break_manifest(package: Path) -> None:
    (package / "Manifest.json").write_text("{")


def point_outside(package: Path) -> None:
    manifest = json.loads((package / "Manifest.json").read_text())
    manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"] = "../../../../etc/passwd"
    (package / "Manifest.json").write_text(json.dumps(manifest))


def truncate_specification(package: Path) -> None:
    file = package / "Data/com.apple.CoreML/model.mlmodel"
    file.write_bytes(file.read_bytes()[:1000])


def empty_specification(package: Path) -> None:
    (package / "Data/com.apple.CoreML/model.mlmodel").write_bytes(b"")


DAMAGES = [
    truncate_weights,
    remove_weights,
    remove_manifest,
    break_manifest,
    point_outside,
    truncate_specification,
    empty_specification,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("command", ["segment", "parity"])
def test_a_damaged_package(cli, package, photos, tmp_path, damage, command):
    damage(package)
    if command == "segment":
        ran = cli("segment", photos / "noise.png", "-p", package, "-o", tmp_path / "out.png")
    else:
        ran = cli("parity", package, *SMALL, "--data", photos)
    assert_one_clear_error(ran)
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("command", ["inspect", "parity"])
def test_a_missing_package(cli, tmp_path, command):
    more = SMALL if command == "parity" else ()
    assert_one_clear_error(cli(command, tmp_path / "no.mlpackage", *more), "no.mlpackage")


NO_PACKAGES = {
    "net.onnx": (b"", "net.onnx is an ONNX file", "`portrait-export coreml` with --onnx"),
    "photo.png": (b"\x89PNG\r\n\x1a\n", "photo.png is a PNG picture", "pass a .mlpackage"),
    "photo.jpg": (b"\xff\xd8\xff\xe0", "photo.jpg is a JPEG picture", "pass a .mlpackage"),
    "notes.txt": (b"no model at all", "notes.txt (15 bytes) is not a Core ML model", "pass a .mlpackage"),
}


@pytest.mark.parametrize("name", NO_PACKAGES)
def test_a_file_that_is_no_package_is_named_with_what_it_is(cli, tmp_path, name):
    content, found, advice = NO_PACKAGES[name]
    (tmp_path / name).write_bytes(content)
    ran = cli("predict", tmp_path / name)
    assert_one_clear_error(ran, str(tmp_path / name), found, advice)


def test_an_mlmodel_without_its_weights_is_named(cli, package, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lone.mlmodel").write_bytes((package / "Data/com.apple.CoreML/model.mlmodel").read_bytes())
    ran = cli("predict", "lone.mlmodel")
    assert_one_clear_error(
        ran, "lone.mlmodel needs the weight file of", "which is not beside it", "open the .mlpackage"
    )


# ---- Git LFS pointers -----------------------------------------------------------------------------------------------

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
POINTERS = {
    "a package's weights": (
        "P/Data/com.apple.CoreML/weights/weight.bin",
        ["segment", "a.png", "-p", "P", "-o", "m.png"],
    ),
    "a package's model": ("P/Data/com.apple.CoreML/model.mlmodel", ["inspect", "P"]),
    "a package's manifest": ("P/Manifest.json", ["inspect", "P"]),
    "a photo": ("b.jpg", ["segment", "b.jpg", "-p", "P", "-o", "m.png"]),
    "an ONNX file": ("net.onnx", ["coreml", "--onnx", "net.onnx"]),
    "an ONNX file's weights": ("net.data", ["inspect", "with_data.onnx"]),
    "a TorchScript program": ("net.ts", ["coreml", "--torchscript", "net.ts"]),
    "safetensors": ("w.safetensors", ["coreml", "-m", "segformer_b0", "--checkpoint", "w.safetensors"]),
    "a pickle": ("w.pth", ["coreml", "-m", "segformer_b0", "--checkpoint", "w.pth"]),
    "MiDaS": ("midas.pt", ["depth", "a.png", "--checkpoint", "midas.pt", "-o", "d.png"]),
    "MediaPipe": ("m.tflite", ["label", ".", "--labeller", "m.tflite"]),
    "an array": ("x.npy", ["predict", "array.mlpackage", "-i", "x=x.npy"]),
    "settings": ("net.toml", ["coreml", "--onnx", "with_data.onnx", "--preprocessing", "net.toml"]),
    "a baseline": ("p.json", ["parity", "P", "-m", "segformer_b0", "--baseline", "p.json"]),
}


@pytest.mark.parametrize("name", POINTERS)
def test_a_git_lfs_pointer_is_named_wherever_a_file_is_read(cli, package, photos, tmp_path, monkeypatch, name):
    import onnx

    from tests.cli.sums import network
    from tests.runtime.packages import accumulator

    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    for copy in ("a.png", "images/a.png"):
        (tmp_path / copy).write_bytes((photos / "noise.png").read_bytes())
    model = onnx.load(network(tmp_path / "plain.onnx"))
    onnx.save(model, tmp_path / "with_data.onnx", save_as_external_data=True, location="net.data", size_threshold=0)
    if name == "an array":
        accumulator(tmp_path / "array.mlpackage")
    file, arguments = POINTERS[name]
    path = Path(file.replace("P/", f"{package.name}/"))
    path.write_bytes(POINTER)
    ran = cli(*(package.name if word == "P" else word for word in arguments))
    assert_one_clear_error(ran, "error: git-lfs-pointer", f"{path} is a Git LFS pointer, not the file.", "git lfs pull")


# ---- ONNX files -----------------------------------------------------------------------------------------------------


def test_an_onnx_file_without_its_external_data(cli, small_export, tmp_path):
    import onnx

    model = onnx.load(small_export / "segformer_b0.onnx")
    onnx.save(model, tmp_path / "net.onnx", save_as_external_data=True, location="net.data", size_threshold=0)
    (tmp_path / "net.data").unlink()
    assert_one_clear_error(cli("inspect", tmp_path / "net.onnx"), "net.data", "missing")


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 64, b"not a model at all", b"\x08"], ids=["empty", "0", "text", "1"]
)
def test_a_file_that_is_not_an_onnx_model(cli, tmp_path, content):
    (tmp_path / "net.onnx").write_bytes(content)
    assert_one_clear_error(cli("inspect", tmp_path / "net.onnx"), "net.onnx")


# ---- checkpoints ----------------------------------------------------------------------------------------------------


class Hostile:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


def test_a_hostile_pickle_is_not_run(cli, tmp_path):
    proof = tmp_path / "proof"
    (tmp_path / "bad.bin").write_bytes(pickle.dumps({"weight": Hostile(proof)}))
    ran = cli("coreml", "-m", "segformer_b0", "--checkpoint", tmp_path / "bad.bin", "-o", tmp_path / "out")
    assert_one_clear_error(ran, "bad.bin")
    assert not proof.exists()
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_another_architecture_lists_what_does_not_fit(cli, tmp_path):
    from safetensors.torch import save_file

    from portrait_export.models.registry import create_model

    save_file(create_model("sernet_former").state_dict(), tmp_path / "other.safetensors")
    ran = cli("coreml", "-m", "segformer_b0", "--checkpoint", tmp_path / "other.safetensors", "-o", tmp_path / "out")
    assert_one_clear_error(ran, "other.safetensors")
    assert not (tmp_path / "out").exists()


def test_weights_that_are_not_numbers(cli, tmp_path):
    from safetensors.torch import save_file

    from portrait_export.models.registry import create_model

    state = create_model("segformer_b0").state_dict()
    name = "decode_head.linear_fuse.weight"
    state[name][0, 0] = float("nan")
    save_file(state, tmp_path / "nan.safetensors")
    ran = cli("coreml", "-m", "segformer_b0", "--checkpoint", tmp_path / "nan.safetensors", "-o", tmp_path / "out")
    assert_one_clear_error(ran, name)


def test_a_missing_checkpoint(cli, tmp_path):
    ran = cli("onnx", "-m", "segformer_b0", "--checkpoint", tmp_path / "no.safetensors")
    assert_one_clear_error(ran, "no.safetensors")


# ---- photographs ----------------------------------------------------------------------------------------------------


def png_header(width: int, height: int) -> bytes:
    """A PNG that declares a size but has hardly any data, as a decompression bomb does."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


BAD_PHOTOS = {
    "bomb.png": png_header(50_000, 50_000),
    "truncated.png": png_header(64, 64),
    "empty.jpg": b"",
    "text.jpg": b"this is not a picture",
}


@pytest.mark.parametrize("name", BAD_PHOTOS)
def test_a_photo_that_cannot_be_read(cli, package, tmp_path, name):
    (tmp_path / name).write_bytes(BAD_PHOTOS[name])
    assert_one_clear_error(cli("segment", tmp_path / name, "-p", package, "-o", tmp_path / "out.png"), name)
    assert not (tmp_path / "out.png").exists()


def _pixels(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


def one_pixel(path: Path) -> tuple[int, int]:
    Image.fromarray(_pixels(1, 1)).save(path.with_suffix(".png"))
    return 1, 1


def a_thread(path: Path) -> tuple[int, int]:
    Image.fromarray(_pixels(1, 700)).save(path.with_suffix(".png"))
    return 1, 700


def cmyk_jpeg(path: Path) -> tuple[int, int]:
    Image.fromarray(_pixels(40, 30)).convert("CMYK").save(path.with_suffix(".jpg"))
    return 40, 30


def sixteen_bit_png(path: Path) -> tuple[int, int]:
    values = np.random.default_rng(2).integers(0, 65536, (40, 30)).astype(np.uint16)
    Image.fromarray(values).save(path.with_suffix(".png"))
    return 40, 30


def animated_gif(path: Path) -> tuple[int, int]:
    frames = [Image.fromarray(_pixels(40, 30)) for _ in range(3)]
    frames[0].save(path.with_suffix(".gif"), save_all=True, append_images=frames[1:])
    return 40, 30


def rotated_by_exif(path: Path) -> tuple[int, int]:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(_pixels(40, 30)).save(path.with_suffix(".jpg"), exif=exif)
    return 30, 40


@pytest.mark.parametrize(
    "make",
    [one_pixel, a_thread, cmyk_jpeg, sixteen_bit_png, animated_gif, rotated_by_exif],
    ids=lambda make: make.__name__,
)
def test_an_odd_photo_gives_a_mask_of_its_upright_size(cli, package, tmp_path, make):
    height, width = make(tmp_path / "photo")
    [photo] = tmp_path.glob("photo.*")
    ran = cli("segment", photo, "-p", package, "-o", tmp_path / "mask.png")
    assert ran.code == 0, ran.err
    with Image.open(tmp_path / "mask.png") as mask:
        assert (mask.height, mask.width, mask.mode) == (height, width, "L")


# ---- outputs --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_an_unwritable_folder(cli, tmp_path):
    assert_one_clear_error(cli("coreml", *SMALL, "--no-parity", "-o", "/proc/nowhere"), "Cannot write", "/proc/nowhere")


def test_a_file_where_the_folder_should_be(cli, tmp_path):
    (tmp_path / "out").write_text("mine")
    assert_one_clear_error(cli("coreml", *SMALL, "--no-parity", "-o", tmp_path / "out"), "Cannot write")
    assert (tmp_path / "out").read_text() == "mine"


def test_a_full_disk(tmp_path):
    """A limit on file sizes simulates a full disk: the package's weights do not fit."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    command = [sys.executable, "-m", "portrait_export", "coreml", *SMALL, "--no-parity", "-o", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, check=False)
    assert done.returncode == 2, done.stderr
    assert "Cannot write" in done.stderr
    assert "environment variable TMPDIR" in done.stderr  # where coremltools writes the weights first
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "out").glob("*")) == []


# ---- names and options ----------------------------------------------------------------------------------------------

WRONG_NAMES = {
    "command": (["corml"], "did you mean `coreml`?"),
    "model": (["coreml", "-m", "serseg_bo"], "did you mean `serseg_b0`?"),
    "recipe": (["coreml", "-m", "serseg_b0", "--quantize", "int9"], "did you mean `int8`?"),
    "target": (["coreml", "-m", "serseg_b0", "--target", "ios17"], "did you mean `iOS17`?"),
    "output": (["coreml", "-m", "serseg_b0", "--output", "masks"], "did you mean `mask`?"),
    "size": (["coreml", "-m", "serseg_b0", "--size", "512"], "such as 512x512"),
    "tiny size": (["coreml", "-m", "serseg_b0", "--size", "1x1"], "32 to 4096"),
    "size of the wrong multiple": (["coreml", "-m", "sernet_former", "--random-weights", "--size", "100x96"], "96x96"),
    "no model": (["coreml"], "None of --model, --checkpoint, --onnx, --torch and --torchscript is given"),
    "no model to segment with": (
        ["segment", "a.png", "-o", "b.png"],
        "None of --model, --checkpoint and --package is given",
    ),
    "a setting of no network": (["coreml", "-m", "serseg_b0", "--mean", "0"], "--mean describes a network of your own"),
    "settings of no network": (
        ["coreml", "-m", "serseg_b0", "--mean", "0", "--std", "1"],
        "--mean, --std describe a network of your own",
    ),
    "a background that does not exist": (
        ["segment", "a.png", "-m", "serseg_b0", "-o", "b.png", "--as", "replace", "--background", "nothere.png"],
        "'nothere.png' is neither a colour nor a file that exists",
    ),
    "both kinds of weights": (["onnx", "--checkpoint", "x", "--random-weights"], "cannot be used together"),
    "look": (["segment", "a.png", "-m", "serseg_b0", "-o", "b.png", "--as", "blurr"], "did you mean `blur`?"),
    "background": (
        ["segment", "a.png", "-m", "serseg_b0", "-o", "b.png", "--background", "red"],
        "--background needs --as replace.",
    ),
    "option": (["coreml", "--sice", "64x64"], "--size"),
}


@pytest.mark.parametrize("case", WRONG_NAMES)
def test_a_wrong_name_suggests_the_right_one(cli, case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, answer = WRONG_NAMES[case]
    assert_one_clear_error(cli(*arguments), answer)
    assert list(tmp_path.iterdir()) == []
