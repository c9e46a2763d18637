"""precision=auto keeps in float32 what overflows or loses most in half precision, and nothing if the gates pass."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import portrait_export as pe

SIDE = 64


def network(path: Path, gain: float, lift: float = 0.0) -> Path:
    """The photograph's brightness plus lift, times gain², divided by gain² again, against a threshold plus lift."""
    weights = {
        "up": np.full((3, 3, 1, 1), gain / 3),
        "more": np.eye(3).reshape(3, 3, 1, 1) * gain,
        "down": np.full((1, 3, 1, 1), 20 / 3 / gain**2),
        "lift": np.full(3, lift * gain),
        "offset": np.array([-9.5 - 20 * lift]),
    }
    nodes = [
        helper.make_node("Conv", ["x", "up", "lift"], ["big"]),
        helper.make_node("Relu", ["big"], ["positive"]),
        helper.make_node("Conv", ["positive", "more"], ["huge"]),
        helper.make_node("Relu", ["huge"], ["huge_positive"]),
        helper.make_node("Conv", ["huge_positive", "down", "offset"], ["person"]),
        helper.make_node("Sigmoid", ["person"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, SIDE, SIDE])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def export(
    tmp_path: Path, photos: Path | None, gain: float, *, lift: float = 0.0, **options: object
) -> pe.CoreMLExport:
    file = network(tmp_path / "net.onnx", gain, lift)
    return pe.export(onnx=file, mean=0, std=1, out=tmp_path / "out", data=photos, force=True, **options)


def test_what_overflows_is_kept_with_what_reads_it(tmp_path, photos):
    assert not export(tmp_path, photos, 900.0).passed
    mixed = export(tmp_path, photos, 900.0, precision="auto")
    assert mixed.passed
    record = json.loads((tmp_path / "out/export.json").read_text())
    assert record["precision"] == "fp16"
    kept = record["keep_fp32"]
    assert {"huge", "huge_positive"} <= set(kept["patterns"])
    assert kept["count"] < kept["total"]
    assert kept["weight_bytes"] > 0
    stage = next(stage for stage in record["stages"] if stage["name"] == "precision")
    assert stage["overflows"] > 0
    assert stage["tried"][-1]["failed_gates"] == 0


def test_nothing_is_kept_where_half_precision_passes(tmp_path, photos):
    plain = export(tmp_path, photos, 2.0)
    assert plain.passed
    mixed = export(tmp_path, photos, 2.0, precision="auto")
    assert mixed.mixed is None
    assert mixed.package.sha256 == plain.package.sha256


def test_named_operations_are_kept_and_the_cost_is_recorded(tmp_path, photos):
    named = export(tmp_path, photos, 900.0, keep_fp32=["huge*", "logits", "sigmoid"])
    assert named.passed
    assert named.mixed is not None
    assert named.mixed.operations["conv"] == 2
    assert json.loads((tmp_path / "out/export.json").read_text())["keep_fp32"]["patterns"][0] == "huge*"


def test_auto_needs_the_comparison(tmp_path):
    with pytest.raises(pe.PortraitError, match="it cannot be used with `parity=False`"):
        export(tmp_path, None, 2.0, precision="auto", parity=False)


def test_named_operations_need_half_precision(tmp_path, photos):
    with pytest.raises(pe.PortraitError, match="`keep_fp32=` cannot be used with `precision=fp32`"):
        export(tmp_path, photos, 2.0, precision="fp32", keep_fp32="conv")


def notes(tmp_path: Path) -> list[str]:
    return json.loads((tmp_path / "out/parity.json").read_text())["notes"]


def test_a_failed_gate_is_blamed_on_half_precision_where_float32_passes(tmp_path, photos):
    """Numbers near 50 are 1/32 apart in half precision: that is 0.6 of the logits."""
    assert not export(tmp_path, photos, 1.0, lift=50.0).passed
    [line] = [line for line in notes(tmp_path) if line.startswith("Rounding to half precision is the reason")]
    assert line.endswith("precision auto keeps the operations that lose most in float32.")
    assert export(tmp_path, photos, 1.0, lift=50.0, precision="auto").passed


def test_half_precision_is_not_blamed_where_the_gates_pass(tmp_path, photos):
    assert export(tmp_path, photos, 1.0).passed
    assert not [line for line in notes(tmp_path) if "Rounding to half" in line]


def test_pixels_near_the_threshold_that_rounded_weights_flip_get_a_note(tmp_path, photos):
    """Every second column is at the threshold, up to 1e-4 of the logits, and half precision rounds the weights.

    Its colour is not gray: rounded weights keep their sum, and so what they make of gray.
    """
    from PIL import Image

    columns = np.arange(SIDE)[None, :, None]
    picture = np.broadcast_to(np.where(columns % 2, (0, 255, 129), 64), (SIDE, SIDE, 3)).astype(np.uint8)
    folder = tmp_path / "even"
    folder.mkdir()
    Image.fromarray(picture).save(folder / "even.png")
    file = network(tmp_path / "net.onnx", 0.99 * 255 / 256)
    model = onnx.load(file)
    offset = next(tensor for tensor in model.graph.initializer if tensor.name == "offset")
    offset.CopyFrom(numpy_helper.from_array(np.array([-20 * 128 / 255 + 1e-4], np.float32), "offset"))
    onnx.save(model, file)
    found = pe.export(onnx=file, mean=0, std=1, out=tmp_path / "out", data=folder, force=True)
    assert not found.passed
    assert [line for line in notes(tmp_path) if line.startswith("Rounding the weights to half precision is enough")]
