"""Test that networks with unusual values end with a verdict and a complete record."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

SIDE = 32
PLAIN = ("--mean", "0,0,0", "--std", "1,1,1")


def strict(path: Path) -> dict:
    """Read JSON that has no NaN and no infinity."""
    data: dict = json.loads(path.read_text(), parse_constant=pytest.fail)
    return data


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "noise.png")
    return folder


def network(path: Path, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> Path:
    """Write a network from `x`, a picture, to `y`, (1, 1, SIDE, SIDE)."""
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, SIDE, SIDE])
        for name, channels in (("x", 3), ("y", 1))
    ]
    initializers = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "net", values[:1], values[1:], initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def conv(weight: float, bias: float, output: str) -> tuple[onnx.NodeProto, dict[str, np.ndarray]]:
    node = helper.make_node("Conv", ["x", "w", "b"], [output])
    return node, {"w": np.full((1, 3, 1, 1), weight), "b": np.array([bias])}


def test_an_overflow_fails_with_its_operation_named_and_every_record_written(cli, tmp_path, photos) -> None:
    node, constants = conv(1.0, 0.1, "a")
    nodes = [node, *(helper.make_node("Mul", pair, [out]) for pair, out in ((["a", "k"], "l"), (["l", "l"], "s")))]
    nodes += [helper.make_node("Sub", ["s", "s"], ["d"]), helper.make_node("Add", ["d", "a"], ["y"])]
    file = network(tmp_path / "net.onnx", nodes, {**constants, "k": np.array(1000.0)})
    ran = cli("coreml", "--onnx", file, *PLAIN, "--data", photos, "-o", tmp_path / "out")
    assert ran.code == 1, ran.err
    record, parity = (strict(tmp_path / "out" / name) for name in ("export.json", "parity.json"))
    assert not record["passed"]
    assert not next(g for g in record["gates"] if g["name"] == "non_finite_images")["passed"]
    [note] = [note for note in parity["notes"] if "first appears" in note]
    assert "(square)" in note or "(mul)" in note
    assert "noise.png" in note or "noise" in note
    assert (tmp_path / "out" / "report.html").exists()


def test_constant_logits_have_a_psnr(cli, tmp_path, photos) -> None:
    node, constants = conv(8.0, -200.0, "l")
    nodes = [node, helper.make_node("Clip", ["l", "lo", "hi"], ["y"])]
    file = network(tmp_path / "net.onnx", nodes, {**constants, "lo": np.array(-9.21034), "hi": np.array(9.21034)})
    ran = cli("coreml", "--onnx", file, *PLAIN, "--data", photos, "-o", tmp_path / "out")
    assert ran.code == 0, ran.err
    record = strict(tmp_path / "out" / "export.json")
    [psnr] = [g["value"] for g in record["gates"] if g["name"] == "logits_psnr_db"]
    assert 60 < psnr < 200
    assert any("Both masks are empty on the only photograph:" in line for line in record["warnings"])


def upsampler(path: Path, weight: float, bias: float, up: float) -> Path:
    """Logits made by a transposed convolution, whose value coremltools renames when it fuses the bias."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], strides=[2, 2], kernel_shape=[2, 2]),
        helper.make_node("ConvTranspose", ["c", "w2", "b2"], ["l"], strides=[2, 2], kernel_shape=[2, 2]),
        helper.make_node("Sigmoid", ["l"], ["y"]),
    ]
    constants = {"w": np.full((1, 3, 2, 2), weight), "w2": np.full((1, 1, 2, 2), up), "b2": np.array([bias])}
    return network(path, nodes, constants)


def test_logits_are_gated_under_whatever_name_the_package_has_for_them(cli, tmp_path, photos) -> None:
    one, other = upsampler(tmp_path / "a.onnx", 0.3, -12, 1), upsampler(tmp_path / "b.onnx", -0.2, -20, 3)
    ran = cli("coreml", "--onnx", one, *PLAIN, "--data", photos, "-o", tmp_path / "out")
    assert ran.code == 0, ran.err
    record = strict(tmp_path / "out" / "export.json")
    assert any(g["name"] == "logits_psnr_db" and g["passed"] for g in record["gates"])
    ran = cli("parity", tmp_path / "out" / "a.mlpackage", "--onnx", other, *PLAIN, "--data", photos)
    assert ran.code == 1, ran.out  # both find nobody: the logits alone tell the two apart


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_logits_of_a_low_resolution_head_are_gated(cli, tmp_path, photos, quantize) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["l"], strides=[2, 2], kernel_shape=[2, 2]),
        helper.make_node("Resize", ["l", "", "k"], ["r"], mode="linear"),
        helper.make_node("Sigmoid", ["r"], ["y"]),
    ]
    constants = {"w": np.linspace(-1, 1, 12).reshape(1, 3, 2, 2), "k": np.array([1.0, 1, 2, 2])}
    file = network(tmp_path / "net.onnx", nodes, constants)
    arguments = ("--quantize", quantize, "--data", photos, "-o", tmp_path / "out")
    ran = cli("coreml", "--onnx", file, *PLAIN, *arguments)
    assert ran.code in (0, 1), ran.err
    parity = strict(tmp_path / "out" / "parity.json")
    assert parity["images"][0]["psnr_db"] > 25
