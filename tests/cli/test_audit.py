"""`audit` reads packages of coremltools' own compression, compares them with their network, and fails on faults."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from portrait_export.quantize.encode import LEFT_LIGHT

from ..mil.audit.damage import damage, halves, nibbles_swapped, reversed_order, to_zero
from ..mil.audit.packages import FORMS, ORIGINALS, built, gaussian, plain_model, write


@pytest.fixture
def audit(cli):
    """Run the command, check its exit code, and return what it printed."""

    def call(*words: object, expect: int = 0) -> str:
        ran = cli("audit", *words)
        assert ran.code == expect, ran
        return ran.out if expect < 2 else ran.err

    return call


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("forms")
    return {name: write(folder, name) for name in FORMS}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ONNX file of `plain_model`, as PyTorch would write it: linear layers are products with transposed weights."""
    weights = {
        "features.conv.weight": ORIGINALS["conv_weight"],
        "onnx::MatMul_7": ORIGINALS["first_weight"].T.copy(),
        "head.second.weight": ORIGINALS["second_weight"],
    }
    nodes = [
        helper.make_node("Conv", ["x", "features.conv.weight"], ["hidden"]),
        helper.make_node("GlobalAveragePool", ["hidden"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "onnx::MatMul_7"], ["first"]),
        helper.make_node("Gemm", ["first", "head.second.weight"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 32, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    path = tmp_path_factory.mktemp("onnx") / "network.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_compared_with_the_network_it_was_made_from(audit, packages, network, name):
    found = json.loads(audit(packages[name], "--against", network, "--json"))
    assert found["passed"]
    assert (found["compared"], len(found["weights"])) == (3, 3)
    assert {weight["compared_with"].removesuffix(" (not simplified)") for weight in found["weights"]} == {
        "features.conv.weight",
        "onnx::MatMul_7",
        "head.second.weight",
    }
    size = sum(file.stat().st_size for file in packages[name].rglob("*") if file.is_file())
    assert found["size_bytes"] == found["storage"]["size_bytes"] == size


def test_the_table_has_every_weight_and_every_byte(audit, packages, network):
    text = audit(packages["palette4"], "--onnx", network)
    assert "palette uint4" in text
    assert "36,864" not in text  # of the uncompressed convolution
    [line] = [line for line in text.splitlines() if line.startswith("conv_weight")]
    assert "64x32x3x3" in line
    assert "4.02  9,264" in line
    size = sum(file.stat().st_size for file in packages["palette4"].rglob("*") if file.is_file())
    assert f"the whole package      {size:,}" in text
    assert "✓ nothing is wrong with 3 weights" in text
    assert "all compared with network.onnx" in text


def test_a_package_can_be_compared_with_the_uncompressed_one(audit, packages):
    text = audit(packages["int4_per_block"], "--against", packages["plain"], "-q")
    assert "all compared with plain.mlpackage" in text


def test_damage_fails_with_the_weight_and_the_reason(audit, packages, network, tmp_path):
    path = shutil.copytree(packages["int4_per_block"], tmp_path / "damaged.mlpackage")
    damage(path, "first_weight", "data", nibbles_swapped)
    result = audit(path, "--against", network, "-q", expect=1)
    assert "✗ first_weight" in result
    assert "does not decode to the original" in result
    assert "nothing is wrong" not in result
    assert "not compared with a network" in audit(path, "-q")  # which shows nothing without it


@pytest.mark.parametrize("change", [to_zero, reversed_order, lambda values: np.roll(values, 1)])
def test_a_ruined_weight_that_is_not_compressed_fails(audit, packages, network, tmp_path, change):
    path = shutil.copytree(packages["plain"], tmp_path / "damaged.mlpackage")
    damage(path, "first_weight", "val", halves(change))
    assert "does not decode to the original" in audit(path, "--against", network, "-q", expect=1)


def test_a_weight_without_a_counterpart_is_not_called_right(audit, packages, tmp_path):
    other = {**ORIGINALS, "second_weight": gaussian(9, (32, 64))}
    path = tmp_path / "other.mlpackage"
    plain_model("iOS16", other).save(str(path))
    result = audit(path, "--against", packages["plain"], "-q")
    assert "nothing was found wrong, but 1 weight of layers could not be compared: second_weight" in result
    assert "nothing is wrong" not in result


def test_wrong_scales_are_told_from_wrong_integers(audit, packages, network, tmp_path):
    path = shutil.copytree(packages["int8_per_channel"], tmp_path / "damaged.mlpackage")
    damage(path, "conv_weight", "scale", halves(lambda scales: scales[::-1] * np.float16(3)))
    assert "each output channel is the original's times a factor" in audit(path, "--against", network, "-q", expect=1)


def test_a_package_of_another_network_is_no_fault_but_an_error(audit, packages, network, tmp_path):
    other = {name: -np.roll(value, 7) for name, value in ORIGINALS.items()}
    path = tmp_path / "other.mlpackage"
    plain_model("iOS16", other).save(str(path))
    result = audit(path, "--against", network, expect=2)
    assert "0 % of the package's" in result
    assert "resemble one of network.onnx" in result


def test_weights_must_be_stored_as_asked(audit, packages):
    audit(packages["int4_per_block"], "--stored-as", "int4")
    audit(packages["int4_per_block"], "--stored-as", "int4", "--stored-as", "int8")
    result = audit(packages["int8_ios18"], "--stored-as", "int4", expect=1)
    assert "is stored as int8, not int4" in result
    assert "stayed fp16" in audit(packages["plain"], "--stored-as", "int4", expect=1)
    assert "did you mean `int4`" in audit(packages["plain"], "--stored-as", "int44", expect=2)


def test_a_first_layer_that_the_recipe_left_is_no_fault(audit, small_export):
    result = audit(small_export / "segformer_b0.mlpackage", "--stored-as", "int8", "--verbose")
    assert LEFT_LIGHT in " ".join(result.split())


REFUSED = {
    "nothing there": (["--against", "network_of_nobody"], "is not a registered model, an .onnx file or an .mlpackage"),
    "two references": (["--against", "segformer_b0", "--onnx", "a.onnx"], "cannot be used together"),
    "two files": (["--against", "b.onnx", "--onnx", "a.onnx"], "cannot be used together"),
    "a checkpoint of a file": (
        ["--onnx", "a.onnx", "--checkpoint", "a.pth"],
        "--checkpoint is about a registered model",
    ),
    "random weights of nothing": (["--random-weights"], "--random-weights is about a registered model"),
    "no such file": (["--onnx", "missing.onnx"], "There is no ONNX file"),
    "no such package": (["--against", "missing.mlpackage"], "There is no package"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_compared_is_refused(audit, packages, name):
    words, complaint = REFUSED[name]
    result = audit(packages["plain"], *words, expect=2)
    assert complaint in result


def test_names_from_a_package_cannot_change_the_terminal(audit, packages, tmp_path):
    path = shutil.copytree(packages["plain"], tmp_path / "odd.mlpackage")
    [file] = path.rglob("*.mlmodel")
    data = file.read_bytes()
    assert data.count(b"conv_weight_to_fp16") > 1
    file.write_bytes(data.replace(b"conv_weight_to_fp16", b"conv\x1b[2Jweig_o_fp16"))
    result = audit(path)
    assert "\x1b[2J" not in result
    assert "conv\ufffd[2Jweig" in result


def test_an_export_is_compared_with_its_model(audit, small_export):
    package = small_export / "segformer_b0.mlpackage"
    result = audit(package, "--against", "segformer_b0", "--random-weights", "-q")
    assert "all compared with segformer_b0" in result
    assert "resemble one of segformer_b0" in audit(package, "--against", "segformer_b0", expect=2)


def test_weights_too_small_for_half_precision_do_not_read_as_exact(audit, tmp_path):
    """A package in half precision holds zeros instead of them."""
    tiny = ORIGINALS["first_weight"] * np.float32(1e-8)
    reference = built(tmp_path, "reference", lambda mb: mb.const(val=tiny, name="first_weight"), precision="FLOAT32")
    half = built(tmp_path, "half", lambda mb: mb.const(val=tiny, name="first_weight"))
    result = audit(half, "--against", reference, "-q", expect=1)
    assert "is too small for its type, which loses 100 % of it" in result
