"""Test exports of networks that ONNX Runtime's quantizers wrote."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from portrait_export.cli import run
from portrait_export.mil.program import read_program
from portrait_export.runtime import load

from ..capture.foreign.quantized import float_file, quantized_file

NORMALISED = ["--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"]


def exported(file: Path, photos: Path, *more: str) -> Path:
    """The folder of an export; its gates may fail."""
    folder = file.with_suffix(".out")
    words = ["coreml", "--onnx", str(file), *NORMALISED, "--data", str(photos), "-o", str(folder), "-q", *more]
    assert run(words) in (0, 1)
    return folder


def record(folder: Path) -> dict:
    return json.loads((folder / "export.json").read_text())


CASES = [("qdq", "iOS17"), ("qdq_per_channel", "iOS18"), ("qoperator_per_channel", "iOS17"), ("dynamic", "iOS17")]


@pytest.mark.parametrize(("form", "target"), CASES)
def test_weights_stay_8_bit_integers(form, target, tmp_path, photos):
    file = quantized_file(tmp_path / "net.onnx", form)
    folder = exported(file, photos, "--target", target)
    found = record(folder)["audit"]
    assert found["problems"] == []
    assert set(found["by_dtype"]) == {"int8"}
    assert found["weights"][0]["error"] < 1e-3
    weights = folder / "net.mlpackage/Data/com.apple.CoreML/weights/weight.bin"
    stored = sum(np.prod(weight["shape"]) for weight in found["weights"])
    assert weights.stat().st_size < 1.6 * stored  # fp16 would take more than twice
    program = read_program(folder / "net.mlpackage")
    decoders = {op.outputs[0][0] for op in program.main.block.walk() if op.type.startswith("constexpr_")}
    assert len(decoders) == len(found["weights"])
    kinds = [op.type for op in program.main.block.walk()]
    assert "The network rounds to 8-bit steps, and half precision moves" in notes(folder)
    assert kinds.count("round" if form == "dynamic" else "quantize") >= 10


def notes(folder: Path) -> str:
    return " ".join(json.loads((folder / "parity.json").read_text())["notes"])


def test_float_networks_keep_their_weights(tmp_path, photos):
    folder = exported(float_file(tmp_path / "net.onnx"), photos)
    assert "8-bit steps" not in notes(folder)
    assert set(record(folder)["audit"]["by_dtype"]) == {"fp16"}


def test_a_recipe_replaces_the_stored_integers(tmp_path, photos):
    file = quantized_file(tmp_path / "net.onnx", "qdq_per_channel")
    folder = exported(file, photos, "--quantize", "palette4")
    assert "uint4" in record(folder)["audit"]["by_dtype"]
    assert load(folder / "net.mlpackage")
