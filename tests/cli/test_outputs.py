"""Test where results are written: never over what is read, never two into one file, and folders of any name."""

from __future__ import annotations

from pathlib import Path

import pytest

import portrait_export as pe
from tests.cli.sums import PLAIN, network, noise


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    network(folder / "net.onnx")
    return pe.export(onnx=folder / "net.onnx", mean=0.0, std=1.0, out=folder / "out", parity=False).package.path


SEGMENT = ("segment", "photos/a.png", "-p", "P", "--force")
REFUSED = {
    "two_reports": (
        ("parity", "P", "--onnx", "net.onnx", "--out", "x.xml", "--junit", "./x.xml"),
        "--out and --junit name the same file",
    ),
    "two_files_of_scores": (
        ("evaluate", "--package", "P", "--csv", "x", "--sheet", "x"),
        "--csv and --sheet name the same file",
    ),
    "a_report_over_the_network": (("parity", "P", "--onnx", "net.onnx", "--markdown", "net.onnx"), "net.onnx is read"),
    "scores_over_the_network": (("evaluate", "--onnx", "net.onnx", "--csv", "net.onnx"), "net.onnx is read here"),
    "an_onnx_file_over_itself": (("onnx", "--onnx", "net.onnx", "-o", "net.onnx", "--force"), "net.onnx is read here"),
    "a_mask_over_the_photo": ((*SEGMENT, "-o", "photos/a.png"), "photos/a.png is read here"),
    "a_picture_over_the_background": (
        (*SEGMENT, "--as", "replace", "--background", "photos/b.png", "-o", "photos/b.png"),
        "photos/b.png is read here",
    ),
    "an_output_over_the_input": (("predict", "P", "-i", "image=mask.png", "-o", ".", "--force"), "mask.png is read"),
    "a_depth_map_over_the_photo": (
        ("depth", "photos/a.png", "--onnx", "net.onnx", "-o", "photos/a.png", "--force"),
        "photos/a.png is read here",
    ),
    "several_into_one_file": ((*SEGMENT, "photos/b.png", "-o", "x.png"), "2 photos cannot all be written to the file"),
    "no_format_and_no_slash": ((*SEGMENT, "-o", "masks.v2"), "A folder ends with a slash: --out masks.v2/"),
    "a_folder_as_a_report": (("parity", "P", "-m", "serseg_b0", "--junit", "x/"), "x/ is a folder; name a file in it"),
    "a_folder_as_an_onnx_file": (("onnx", "--onnx", "net.onnx", "-o", "x/"), "x/ is a folder; name a file in it"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    network(tmp_path / "net.onnx")
    noise(tmp_path, "photos/a.png", "photos/b.png", "mask.png")
    return tmp_path


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", REFUSED)
def test_a_result_in_a_wrong_place_is_refused_before_the_work(cli, package, folder, name):
    arguments, message = REFUSED[name]
    plain = PLAIN if {"parity", "evaluate"} & {arguments[0]} and "--onnx" in arguments else ()
    before = contents(folder)
    ran = cli(*(package if word == "P" else word for word in arguments), *plain)
    assert ran.code == 2, ran.err
    assert message in ran.err
    assert "✓" not in ran.err
    assert contents(folder) == before


FOLDERS = {
    "a_slash": (["photos/a.png"], "out.d/", ["out.d/a-mask.png"]),
    "an_existing_folder": (["photos/a.png"], "photos.2", ["photos.2/a-mask.png"]),
    "several_photos": (["photos/a.png", "photos/b.png"], "masks.v2", ["masks.v2/a-mask.png", "masks.v2/b-mask.png"]),
    "a_picture_of_that_name": (["photos/a.png", "photos/b.png"], "x.png/", ["x.png/a-mask.png", "x.png/b-mask.png"]),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_may_have_a_dot_in_its_name(cli, package, folder, name):
    photos, out, expected = FOLDERS[name]
    (folder / "photos.2").mkdir()
    ran = cli("segment", *photos, "-p", package, "-o", out)
    assert ran.code == 0, ran.err
    assert ran.out.splitlines() == expected
    assert all((folder / path).is_file() for path in expected)
