"""`coreai`, and the commands that take assets: export, parity, segment, evaluate, inspect, and what refuses them."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from portrait_export.coreai import installed

from ..coreai.nets import needs_core_ai, small_net

SIDE = 64
NETWORK = ("--mean", "0.5", "--std", "0.5")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = small_net(SIDE)
    file = tmp_path_factory.mktemp("net") / "small.onnx"
    onnx.save(model, file)
    return file


@pytest.fixture
def export(cli, network: Path, photos: Path, tmp_path: Path):
    """Run `coreai` on the small network; returns the result and the output folder."""
    folder = tmp_path / "out"

    def call(*options: object):
        arguments = ("--onnx", network, *NETWORK, "--data", photos, "--out", folder, "--min-iou", "0", *options)
        return cli("coreai", *arguments), folder

    return call


@needs_core_ai
def test_export_is_gated_and_repeats_byte_for_byte(export) -> None:
    ran, folder = export("--quantize", "int8")
    assert ran.code == 0, ran.err
    record = json.loads((folder / "export.json").read_text())
    assert record["finished"]
    assert record["passed"]
    assert record["target"] == "iOS27"
    assert record["audit"]["applied"] == 0  # every weight of this network is small
    assert record["versions"]["coreai-core"] == "1.0.0b3"
    assert "coremltools" not in record["versions"]
    parity = json.loads((folder / "parity.json").read_text())
    assert parity["candidate"] == "small.aimodel (Core AI)"
    assert len(parity["images"]) == 2
    first = {file.name: file.read_bytes() for file in (folder / "small.aimodel").iterdir()}
    assert export("--quantize", "int8", "--force", "--no-parity")[0].code == 0
    assert {file.name: file.read_bytes() for file in (folder / "small.aimodel").iterdir()} == first


@needs_core_ai
def test_export_into_an_existing_folder_needs_force(export) -> None:
    assert export("--no-parity")[0].code == 0
    ran, _ = export("--no-parity")
    assert ran.code == 2
    assert "already exists" in ran.err
    assert "--force" in ran.err


@needs_core_ai
def test_commands_take_an_asset(export, cli, network: Path, photos: Path, tmp_path: Path) -> None:
    _, folder = export("--no-parity", "--precision", "fp32")
    asset = folder / "small.aimodel"

    junit = tmp_path / "junit.xml"
    ran = cli("parity", asset, "--onnx", network, *NETWORK, "--data", photos, "--junit", junit)
    assert ran.code == 0, ran.err
    assert "small.aimodel (Core AI) against" in ran.out
    assert "mean mask IoU" in junit.read_text()

    ran = cli("segment", photos / "portrait.png", "--package", asset, "--out", tmp_path / "mask.png")
    assert ran.code == 0, ran.err
    assert (tmp_path / "mask.png").exists()

    ran = cli("inspect", asset, "--json")
    facts = json.loads(ran.out)
    assert facts["kind"] == "Core AI asset"
    assert facts["inputs"][0]["shape"] == [1, SIDE, SIDE, 3]
    assert facts["weights"]["Float32"]["elements"] > 0
    assert cli("inspect", asset).code == 0

    ran = cli("parity", asset, "--onnx", network, *NETWORK, "--runtime", "coreml", "--arithmetic", "fp32")
    assert ran.code == 2
    assert "--runtime and --arithmetic are for a .mlpackage" in ran.err
    ran = cli("parity", asset, "--onnx", network, *NETWORK, "--data", photos, "--size", "32x32")
    assert ran.code == 2


@needs_core_ai
def test_another_network_fails_the_gate(export, cli, photos: Path, tmp_path: Path) -> None:
    _, folder = export("--no-parity", "--precision", "fp32")
    other = tmp_path / "other.onnx"
    onnx.save(small_net(SIDE, largest=2.0), other)
    ran = cli("parity", folder / "small.aimodel", "--onnx", other, *NETWORK, "--data", photos)
    assert ran.code == 1
    assert "✗" in ran.out


def test_commands_on_packages_refuse_an_asset(cli, network: Path, tmp_path: Path) -> None:
    asset = tmp_path / "x.aimodel"
    asset.mkdir()
    for command in (("blame", asset, "--onnx", network), ("audit", asset), ("predict", asset)):
        ran = cli(*command)
        assert ran.code == 2, command
        assert "x.aimodel is a Core AI asset; this needs a .mlpackage" in ran.err, command


def test_damaged_asset_is_one_error(cli, network: Path, tmp_path: Path) -> None:
    asset = tmp_path / "x.aimodel"
    asset.mkdir()
    for command in (
        ("parity", asset, "--onnx", network, *NETWORK),
        ("segment", tmp_path, "--package", asset, "--out", tmp_path / "o"),
        ("evaluate", "--package", asset),
        ("inspect", asset),
    ):
        ran = cli(*command)
        assert ran.code == 2, command
        assert "Core AI" in ran.err or "no photo" in ran.err.lower(), (command, ran.err)


def test_missing_extra_is_said_before_any_work(cli, network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "_platform_problems", lambda python, glibc: [])
    monkeypatch.setattr(installed, "_version", lambda name: "")
    ran = cli("coreai", "--onnx", network)
    assert ran.code == 2
    assert "Core AI assets need the extra `coreai`" in ran.err
    assert "pip install 'portrait-export[coreai]'" in ran.err


def test_recipe_that_the_format_does_not_hold_is_refused(cli, network: Path) -> None:
    ran = cli("coreai", "--onnx", network, "--quantize", "palette4")
    assert ran.code == 2
    assert "The recipes are: int8, none" in ran.err


def test_output_folder_named_as_an_asset_is_refused(cli, network: Path, tmp_path: Path) -> None:
    ran = cli("coreml", "--onnx", network, "--out", tmp_path / "x.aimodel")
    assert ran.code == 2
    assert "the folder for the package" in ran.err
