"""`coreai`, and the commands that take assets: export, parity, segment, evaluate, inspect, and what refuses them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

import portrait_export as pe
from portrait_export.coreai import installed
from portrait_export.coreai.runner import CoreAIRunner
from portrait_export.errors import UsageError
from portrait_export.inputs.frames import load_frames
from portrait_export.quantize.recipes import RECIPES as ALL_RECIPES
from portrait_export.runtime.runner import PackageRunner
from portrait_export.workflows.export_coreai import NO_FORM, RECIPES

from ..coreai.nets import needs_core_ai, small_net, wide_net

SIDE = 64
NETWORK = ("--mean", "0.5", "--std", "0.5")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = small_net(SIDE)
    file = tmp_path_factory.mktemp("net") / "small.onnx"
    onnx.save(model, file)
    return file


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("net") / "wide.onnx"
    onnx.save(wide_net(SIDE), file)
    return file


@pytest.fixture
def export(cli, network: Path, photos: Path, tmp_path: Path):
    """Run `coreai` on the small network; returns the result and the output folder."""
    folder = tmp_path / "out"

    def call(*options: object):
        compared = () if "--no-parity" in options else ("--data", photos, "--min-iou", "0")
        return cli("coreai", "--onnx", network, *NETWORK, "--out", folder, *compared, *options), folder

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
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_another_network_fails_the_gate_without_advice_on_precision(
    precision: str, export, cli, photos: Path, tmp_path: Path
) -> None:
    _, folder = export("--no-parity", "--precision", precision)
    other = tmp_path / "other.onnx"
    onnx.save(small_net(SIDE, largest=2.0), other)
    ran = cli("parity", folder / "small.aimodel", "--onnx", other, *NETWORK, "--data", photos)
    assert ran.code == 1
    assert "✗" in ran.out
    assert "makes an asset in float32" not in ran.out


@needs_core_ai
def test_a_failed_gate_in_half_precision_names_float32(export, cli, network: Path, photos: Path) -> None:
    _, folder = export("--no-parity", "--precision", "fp16")
    ran = cli("parity", folder / "small.aimodel", "--onnx", network, *NETWORK, "--data", photos, "--min-iou", "1")
    assert ran.code == 1
    assert "--precision fp32 makes an asset in float32" in " ".join(ran.out.split())


def test_commands_on_packages_refuse_an_asset(cli, network: Path, tmp_path: Path) -> None:
    asset = tmp_path / "x.aimodel"
    asset.mkdir()
    for command in (("audit", asset), ("predict", asset)):
        ran = cli(*command)
        assert ran.code == 2, command
        assert "x.aimodel is a Core AI asset; this needs a .mlpackage" in ran.err, command
    ran = cli("blame", asset, "--onnx", network)
    assert ran.code == 2
    assert "Apple's runtime gives outputs alone" in ran.err
    assert "with `portrait-export coreml` and blame that package" in " ".join(ran.err.split())


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
    assert "pip install '.[coreai]'" in ran.err


@pytest.mark.parametrize("recipe", ["w8a8", "mixed"])
def test_recipe_that_assets_do_not_hold_is_refused_with_the_reason(recipe: str, monkeypatch) -> None:
    monkeypatch.setattr(installed, "require_installed", lambda: None)
    with pytest.raises(UsageError, match=NO_FORM[recipe]) as caught:
        pe.export_coreai("serseg_b0", quantize=recipe)
    assert "palette4" in caught.value.hint


def test_every_recipe_is_offered_or_has_a_reason() -> None:
    assert {*RECIPES, *NO_FORM} == set(ALL_RECIPES)


def test_unknown_recipe_is_refused_with_the_list(cli, network: Path) -> None:
    ran = cli("coreai", "--onnx", network, "--quantize", "w8a8")
    assert ran.code == 2
    assert "int4-block32, int8" in " ".join(ran.err.split())


@needs_core_ai
@pytest.mark.parametrize("recipe", ["palette4", "int4-block32"])
def test_weights_are_those_of_the_package(recipe: str, wide: Path, photos: Path, tmp_path: Path) -> None:
    network = {"onnx": wide, "mean": 0.5, "std": 0.5, "parity": False, "quantize": recipe}
    asset = pe.export_coreai(**network, out=tmp_path / "ai")
    package = pe.export(**network, out=tmp_path / "ml", target="iOS18")
    assert asset.audit.passed
    assert not asset.record["audit"]["problems"]
    stored = sorted((weight.dtype, weight.size_bytes) for weight in asset.audit.applied)
    assert stored == sorted((weight.dtype, weight.size_bytes) for weight in package.audit.applied)
    assert stored
    ours, theirs = PackageRunner(package.package.path), CoreAIRunner(asset.package.path)
    [labelled] = load_frames(photos, ours.spec).spread(1)
    [ml], [ai] = ours.run([labelled.frame]), theirs.run([labelled.frame])
    assert np.abs(ml.probability - ai.probability).max() < 0.01


def test_python_function_exports_what_the_command_does(monkeypatch, network: Path, tmp_path: Path) -> None:
    monkeypatch.setattr(installed, "_version", lambda name: "")
    with pytest.raises(installed.CoreAIError, match="Core AI"):
        pe.export_coreai(onnx=network, mean=0.5, std=0.5, out=tmp_path)
    with pytest.raises(UsageError, match="`output='masks'` does not exist"):
        pe.export_coreai(onnx=network, output="masks")


def test_output_folder_named_as_an_asset_is_refused(cli, network: Path, tmp_path: Path) -> None:
    ran = cli("coreml", "--onnx", network, "--out", tmp_path / "x.aimodel")
    assert ran.code == 2
    assert "the folder for the package" in ran.err
