"""Test `segment` on folders, its JSON, and its warning about masks of one colour."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

import portrait_export as pe
from tests.cli.sums import SIDE, network, noise


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two packages and photos/. Do not write into it."""
    folder = tmp_path_factory.mktemp("made")
    noise(folder / "photos", "a.png", "a.jpg", "sub/a.png")
    for name, bias in (("half", -1.5), ("nobody", -9.0)):
        network(folder / f"{name}.onnx", bias=bias)
        pe.export(onnx=folder / f"{name}.onnx", mean=0.0, std=1.0, out=folder / name, parity=False)
    return folder


def test_a_folder_with_subfolders_and_equal_names_is_segmented(cli, made, tmp_path):
    ran = cli("segment", made / "photos", "-p", made / "half/half.mlpackage", "-o", tmp_path / "masks", "-v")
    assert ran.code == 0, ran.err
    written = {path.relative_to(tmp_path / "masks").as_posix() for path in (tmp_path / "masks").rglob("*.png")}
    assert written == {"a.png-mask.png", "a.jpg-mask.png", "sub/a-mask.png"}
    assert ran.out.splitlines() == [str(tmp_path / "masks" / name) for name in sorted(written)]
    assert "finds nobody" not in ran.err


def test_json_has_one_entry_per_photo_and_nothing_else_on_stdout(cli, made, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    package = made / "half/half.mlpackage"
    ran = cli("segment", broken, made / "photos/a.png", "-p", package, "-o", tmp_path / "masks", "--json")
    assert ran.code == 2
    failed, done = json.loads(ran.out)
    assert (failed["out"], failed["error"]["code"]) == (None, "bad-photo")
    assert (done["out"], done["error"]) == (str(tmp_path / "masks" / "a-mask.png"), None)
    assert 0.2 < done["person_share"] < 0.8


def test_evaluate_reports_them_too(cli, made, tmp_path):
    data = tmp_path / "data"
    noise(data / "images", "a.png", "b.png")
    for name in ("a.png", "b.png"):
        (data / "masks").mkdir(exist_ok=True)
        Image.new("L", (SIDE, SIDE), 255).save(data / "masks" / name)
    ran = cli("evaluate", "--package", made / "nobody/nobody.mlpackage", "--data", data)
    assert ran.code == 0, ran.err
    assert "! The network finds nobody on any of 2 photographs" in ran.err
    assert "finds nobody" not in cli("evaluate", "--package", made / "half/half.mlpackage", "--data", data).err


def test_masks_without_anybody_on_every_photo_are_reported(cli, made, tmp_path):
    ran = cli("segment", made / "photos", "-p", made / "nobody/nobody.mlpackage", "-o", tmp_path / "masks")
    assert ran.code == 0, ran.err
    assert "! The network finds nobody on any of 3 photographs" in ran.err
