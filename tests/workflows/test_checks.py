"""Test what is checked before an export starts, and what a failed one leaves behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from portrait_export.mil.program import read_program
from tests.cli.sums import PLAIN, network, noise


@pytest.fixture
def net(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return network(tmp_path / "in" / "net.onnx")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return noise(tmp_path / "data", "noise.png")


def record(folder: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((folder / "export.json").read_text())
    return data


EARLY = {
    "data_that_does_not_exist": (("--data", "nowhere"), "nowhere is not a folder"),
    "nan_as_a_bar": (("--min-iou", "nan"), "nan is not in the range 0<=x<=1"),
    "a_packages_name_as_the_folder": (("-o", "build/mine.mlpackage"), "build/mine.mlpackage is the name of a package"),
    "a_folder_in_a_package": (("-o", "mine.mlpackage/out"), "is in the package mine.mlpackage"),
    "a_name_with_a_slash": (("--name", "../mine"), "--name ../mine cannot be the name of files"),
    "a_name_with_an_escape": (("--name", "a\x1b[2J"), "cannot be the name of files"),
    "an_author_with_an_escape": (("--author", "a\x1b[2J"), "has control characters"),
    "a_bar_for_no_comparison": (("--no-parity", "--min-iou", "0.9"), "--min-iou is for the comparison of masks, which"),
    "kinds_for_no_comparison": (
        ("--no-parity", "--kinds", "everyday"),
        "leave out one of the two: --no-parity or --kinds",
    ),
    "photos_for_no_comparison": (
        ("--no-parity", "--data", "."),
        "--data is for the comparison of masks, which --no-par",
    ),
}


@pytest.mark.parametrize("name", EARLY)
def test_what_is_known_before_the_work_is_refused_before_it(cli, net, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    arguments, message = EARLY[name]
    ran = cli("coreml", "--onnx", net, *PLAIN, *arguments)
    assert ran.code == 2
    assert message in ran.err
    assert "load" not in ran.err
    assert not list(tmp_path.rglob("*.mlpackage"))


def test_the_hint_for_a_packages_name_can_be_followed(cli, net, tmp_path):
    ran = cli("coreml", "--onnx", net, *PLAIN, "-o", tmp_path / "mine.mlpackage")
    assert f"hint: pass --out {tmp_path / 'mine'} and --name mine." in ran.err


def test_parity_checks_the_photographs_before_it_reads_the_package(cli, net):
    ran = cli("parity", "nothing.mlpackage", "--onnx", net, "--data", "nowhere")
    assert "nowhere is not a folder" in ran.err


def test_two_networks_of_one_name_are_kept_apart_by_name(cli, net, data, tmp_path):
    out = tmp_path / "out"
    assert cli("coreml", "--onnx", net, *PLAIN, "--no-parity", "-o", out).code == 0
    ran = cli("coreml", "--onnx", net, *PLAIN, "--data", data, "-o", out)
    assert ran.code == 2
    assert "--name" in ran.err
    ran = cli("coreml", "--onnx", net, *PLAIN, "--data", data, "--name", "second", "-o", out, "--json")
    assert ran.code == 0, ran.err
    names = {path.name for path in out.iterdir()}
    assert {"net.mlpackage", "net.onnx", "second.mlpackage", "second.onnx"} <= names
    assert (record(out)["name"], record(out)["package"]["file"]) == ("second", "second.mlpackage")
    assert (out / "net.mlpackage" / "Manifest.json").read_bytes() == (
        out / "second.mlpackage" / "Manifest.json"
    ).read_bytes()  # the name of the files is not in them


def fail(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("stage", ["compare_masks", "steps.audit", "steps.save"])
def test_an_interrupted_export_is_recorded_and_repeated_without_force(cli, net, data, tmp_path, monkeypatch, stage):
    out = tmp_path / "out"
    arguments = ("coreml", "--onnx", net, *PLAIN, "--data", data, "-o", out)
    with monkeypatch.context() as patched:
        patched.setattr(f"portrait_export.workflows.export.{stage}", fail)
        assert cli(*arguments).code == 130
    left = record(out)
    assert left["finished"] is False
    assert (left["package"] is not None) == (out / "net.mlpackage").exists()
    ran = cli(*arguments)
    assert ran.code == 0, ran.err
    done = record(out)
    assert (done["finished"], done["passed"]) == (True, True)
    assert cli(*arguments).code == 2  # what has finished is not replaced


def test_a_failed_replacement_leaves_no_report_about_another_package(cli, net, data, tmp_path, monkeypatch):
    out = tmp_path / "out"
    arguments = ("coreml", "--onnx", net, *PLAIN, "--data", data, "-o", out, "--force")
    assert cli(*arguments).code == 0
    assert (out / "parity.json").exists()
    monkeypatch.setattr("portrait_export.workflows.export.compare_masks", fail)
    assert cli(*arguments).code == 130
    assert sorted(path.name for path in out.iterdir()) == ["export.json", "net.mlpackage", "net.onnx"]


CARD = "---\nlicense: apache-2.0\ntags:\n- mask\n---\n# A network\n"
# A model card next to the network, options → licence, author, what the save line says.
OWNERS = {
    "nothing_known": (None, (), "", "", "its metadata names no author and no license (--author and --license)"),
    "a_model_card": (CARD, (), "apache-2.0", "", "its metadata names no author (--author)"),
    "options_win": (CARD, ("--license", "MIT", "--author", "Ada"), "MIT", "Ada", ""),
    "other_has_a_name": (CARD.replace("apache-2.0", "other\nlicense_name: nvidia"), (), "nvidia", "", "no author"),
    "no_front_matter": ("license: mit\n", (), "", "", "no author and no license"),
}


@pytest.mark.parametrize("name", OWNERS)
def test_author_and_licence_of_the_users_weights_are_not_ours(cli, net, tmp_path, name):
    card, arguments, licence, author, said = OWNERS[name]
    if card is not None:
        (net.parent / "README.md").write_text(card)
    ran = cli("coreml", "--onnx", net, *PLAIN, "--no-parity", "-o", tmp_path / "out", *arguments)
    assert ran.code == 0, ran.err
    assert said in ran.err
    assert ("names no" in ran.err) == bool(said)
    found = read_program(tmp_path / "out" / "net.mlpackage").metadata
    assert (found.license, found.author) == (licence, author)
