"""The README and the pages of docs/: their commands parse and run, their links lead somewhere, their code works."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from portrait_export.cli import portrait_export
from tests.capture.foreign.picture_nets import matting, saved

ROOT = Path(__file__).parents[2]
GENERATED = ("cli.md", "python.md", "operators.md")  # cog keeps them true
PAGES = [ROOT / "README.md", *sorted(page for page in (ROOT / "docs").glob("*.md") if page.name not in GENERATED)]
README_LINES = 200

# Commands that need more than a test can have here, and what runs them instead.
RUN_ELSEWHERE = {
    "coreml --model serseg_b0 --quantize int8": "make demo, in CI",
    "depth my_photos/ --checkpoint midas_v21_small_256.pt": "tests/cli/test_depth.py; the weights are not bundled",
    "train config.toml": "tests/training/test_run.py",
    "rebuild FOLDER": "tests/training/test_rebuild.py",
    "label my_photos/": "tests/training/test_label.py",
    "label my_photos/ --review": "tests/training/test_label.py",
    "evaluate --checkpoint runs/mine/best --data my_photos/": "the same with --model",
    "coreml --checkpoint runs/mine/best --quantize int8": "the same with a folder of that format",
    "coreai --model serseg_b0 --quantize int8": "tests/workflows/test_export_coreai.py, with a small network",
    "coreai --model segformer_b0": "the same",
    "parity serseg_b0.aimodel --model serseg_b0 --data my_photos/": "the same",
    "segment my_photos/ --package serseg_b0.aimodel --out masks/": "the same",
    "inspect serseg_b0.aimodel": "the same",
    "agree -o docs/agreement": "tests/workflows/test_agree.py; Core ML runs on a Mac only",
    "sweep --model segformer_b0": "tests/workflows/test_sweep.py",
    "sweep --model segformer_b0 --kinds portrait,everyday,empty": "the same",
    "sweep --model segformer_b0 --recipes int8,palette4 --budgets 1.4,1.7,2.0 --photos 8": "the same",
    **dict.fromkeys(
        (
            "coreml --onnx rvm.onnx --size 288x512 --mean 0 --std 1",
            "coreml --onnx rvm.onnx --size 288x512 --mean 0 --std 1 --fix-input downsample_ratio=0.5",
            "coreml --onnx net.onnx --carry a=new_a --carry b=new_b",
            "coreml --onnx rvm.onnx --size 288x512 --mean 0 --std 1 --target iOS18 --states",
            "segment frames/ --package rvm.mlpackage --sequence -o masks/",
        ),
        "tests/workflows/test_recurrent.py",
    ),
    **dict.fromkeys(
        (
            "coreml --onnx yolo11n-seg.onnx --compose yolo-seg --scale 1/255 --mean 0 --std 1 --resize fit",
            "coreml --onnx mask2former.onnx --compose maskformer --person-class 0",
        ),
        "tests/capture/foreign/test_composing.py",
    ),
    "demo": "tests/ios_demo/test_app.py",
    "demo --package my.mlpackage": "tests/ios_demo/test_app.py",
    "serve my.mlpackage": "tests/workflows/test_serve.py",
    "parity my.mlpackage --model serseg_b0 --data my_photos/ --baseline parity.json": "tests/cli/test_parity.py",
    "parity my.mlpackage --model serseg_b0 --from-device phone.parity/": "tests/inputs/test_bundle.py",
    "parity serseg_b0.mlpackage --model serseg_b0 --from-device serseg_b0-1790000000.parity": "the same",
}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def commands() -> Iterator[str]:
    """Every `portrait-export …` line of the pages' shell blocks, without its comment."""
    for page in PAGES:
        for block in blocks(page, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                if re.match(r"(\S*/)?portrait-export ", line):
                    yield " ".join(shlex.split(line, comments=True)[1:])


COMMANDS = sorted(set(commands()))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_pages_parses(command):
    name, *arguments = command.split()
    context = click.Context(portrait_export)
    found = portrait_export.get_command(context, name)
    assert found is not None, name
    values, _, _ = found.make_parser(click.Context(found)).parse_args(arguments)
    assert values


def test_commands_that_run_elsewhere_are_still_in_the_pages():
    in_prose = "\n".join(page.read_text() for page in PAGES)
    assert [command for command in RUN_ELSEWHERE if f"portrait-export {command}" not in in_prose] == []


@pytest.fixture(scope="module")
def workspace(small_export: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the pages talk of: photographs with masks, a package, a checkpoint, a network in ONNX."""
    from portrait_export.cli import run

    folder = tmp_path_factory.mktemp("workspace")
    for kind, suffix in (("images", "jpg"), ("masks", "png")):
        (folder / "my_photos" / kind).mkdir(parents=True)
        for name in ("cc0_011", "cc0_062"):
            shutil.copy(ROOT / "calibration" / kind / f"{name}.{suffix}", folder / "my_photos" / kind)
    shutil.copy(ROOT / "calibration/images/cc0_011.jpg", folder / "me.jpg")
    made = folder / "made"
    assert run(["coreml", "-m", "serseg_b0", "--quantize", "int8", "--no-parity", "-q", "-o", str(made)]) == 0
    (made / "serseg_b0.mlpackage").rename(folder / "my.mlpackage")
    shutil.copytree(folder / "my.mlpackage", folder / "other.mlpackage")
    (folder / "my_finetune").mkdir()
    _finetune(folder / "my_finetune")
    onnx.save(_network(), folder / "modnet.onnx")
    network = ["--onnx", str(folder / "modnet.onnx"), "--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5"]
    assert run(["coreml", *network, "--no-parity", "-q", "-o", str(folder / "own")]) == 0
    (folder / "own" / "modnet.mlpackage").rename(folder / "modnet.mlpackage")
    saved(matting(), folder / "bgmv2.onnx")
    pictures = ["--image-input", "src", "--image-input", "bgr", "--scale", "1/255"]
    matte = ["--onnx", str(folder / "bgmv2.onnx"), *pictures, "--no-parity", "-q", "-o", str(folder / "own")]
    assert run(["coreml", *matte]) == 0
    (folder / "own" / "bgmv2.mlpackage").rename(folder / "bgmv2.mlpackage")
    shutil.copy(folder / "me.jpg", folder / "empty_room.jpg")
    return folder


def _finetune(folder: Path) -> None:
    """A SegFormer of two classes as transformers saves it."""
    import torch
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    torch.manual_seed(0)
    labels = {0: "background", 1: "person"}
    config = SegformerConfig(id2label=labels, label2id={name: i for i, name in labels.items()})
    SegformerForSemanticSegmentation(config).eval().save_pretrained(folder)


def _network() -> onnx.ModelProto:
    """A matting network of one convolution: bright pixels are the person."""
    weights = [
        numpy_helper.from_array(np.full((1, 3, 3, 3), 0.3, np.float32), "weight"),
        numpy_helper.from_array(np.array([0.1], np.float32), "bias"),
    ]
    nodes = [
        helper.make_node("Conv", ["x", "weight", "bias"], ["logits"], pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["logits"], ["alpha"]),
    ]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, c, 64, 64]) for n, c in (("x", 3), ("alpha", 1))]
    graph = helper.make_graph(nodes, "modnet", values[:1], values[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in RUN_ELSEWHERE])
def test_a_command_of_the_pages_runs(command, cli, workspace, monkeypatch):
    """With the bundled weights and two photographs; a gate may judge the small networks as it likes."""
    monkeypatch.chdir(workspace)
    words = [word for part in command.split() for word in (["me.jpg"] if part == "*.jpg" else [part])]
    if words[0] == "coreml":
        words += ["--data", "my_photos", "--force"]
    if words[0] == "parity" and "--data" not in words:
        words += ["--data", "my_photos"]
    if words[0] == "blame":
        words += ["--image", "me.jpg"]
    ran = cli(*words)
    assert ran.code in (0, 1) if words[0] in ("coreml", "parity", "blame") else ran.code == 0, ran.err


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_python_of_a_page(page):
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        assert link.startswith("http") or (page.parent / link).exists(), link
    for block in blocks(page, "python"):
        compile(block, page.name, "exec")


def test_the_python_example_of_the_readme_runs(workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    (example,) = (block for block in blocks(ROOT / "README.md", "python") if "pe.export" in block)
    names: dict[str, object] = {}
    exec(example.replace('out="build"', 'out="build", data="my_photos", min_iou=0.9'), names)
    assert Image.open("me.png").mode == "RGBA"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES
