"""Test that `blame` finds exactly the operation that was damaged, and none in an undamaged package."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from PIL import Image

from portrait_export.artifacts import Frame, Prediction
from portrait_export.mil.program import Operation, read_program

BLOCK = "_segformer_encoder_block_1_0_"

# ---- damage ---------------------------------------------------------------------------------------------------------


def operation(package: Path, name: str) -> tuple[Operation, dict[str, Operation]]:
    """Find the operation whose result's name ends in the text; also map results' names to operations."""
    operations = read_program(package).main.block.operations
    by_name = {output: op for op in operations for output, _ in op.outputs}
    [found] = [op for output, op in by_name.items() if output.endswith(name) and not op.type.startswith("const")]
    return found, by_name


def change_weight(package: Path, name: str, parameter: str, change: Callable[[np.ndarray], np.ndarray]) -> str:
    """Change a stored weight of one operation (for int8 its scales) in the weight file; return the result's name."""
    op, by_name = operation(package, name)
    [argument] = op.inputs[parameter]
    source = by_name[argument.name]
    constant = source.attributes["scale" if source.type == "constexpr_affine_dequantize" else "val"]
    blob = constant.stored
    assert blob is not None
    old = constant.numpy()
    new = change(old).astype(old.dtype)
    assert not np.array_equal(new, old)
    [file] = package.rglob("weight.bin")
    data = bytearray(file.read_bytes())
    assert data.count(old.tobytes()) >= 1
    data[blob.offset : blob.offset + old.nbytes] = new.tobytes()
    file.write_bytes(data)
    return op.outputs[0][0]


def change_literal(package: Path, name: str, parameter: str, change: Callable[[Any], None]) -> str:
    """Change a literal argument of one operation in the specification; return the result's name."""
    from coremltools.proto import Model_pb2

    op, _ = operation(package, name)
    [argument] = op.inputs[parameter]
    [file] = package.rglob("*.mlmodel")
    model = Model_pb2.Model.FromString(file.read_bytes())
    [block] = model.mlProgram.functions["main"].block_specializations.values()
    [const] = [one for one in block.operations if one.outputs[0].name == argument.name]
    change(const.attributes["val"].immediateValue.tensor)
    file.write_bytes(model.SerializeToString())
    return op.outputs[0][0]


def one_weight_scaled(package: Path) -> str:
    return change_weight(package, BLOCK + "mlp_dense1_MatMul_output_0_2_cast_fp16", "weight", lambda w: w * 1.5)


def one_bias_dropped(package: Path) -> str:
    return change_weight(package, BLOCK + "mlp_dwconv_dwconv_Conv_output_0_cast_fp16", "bias", lambda b: b * 0)


def one_gelu_approximated(package: Path) -> str:
    def change(tensor: Any) -> None:
        assert list(tensor.strings.values) == ["EXACT"]
        tensor.strings.values[0] = "TANH_APPROXIMATION"

    return change_literal(package, BLOCK + "mlp_Gelu_output_0_2_cast_fp16", "mode", change)


def one_resize_aligned_to_corners(package: Path) -> str:
    def change(tensor: Any) -> None:
        assert list(tensor.strings.values) == ["UNALIGN_CORNERS"]
        tensor.strings.values[0] = "STRICT_ALIGN_CORNERS"

    return change_literal(package, "_decode_head_Resize_1_output_0_2_cast_fp16", "sampling_mode", change)


def one_padding_shifted(package: Path) -> str:
    def change(tensor: Any) -> None:
        assert list(tensor.ints.values) == [1, 1, 1, 1]
        tensor.ints.values[:] = [0, 2, 1, 1]

    return change_literal(package, BLOCK + "mlp_dwconv_dwconv_Conv_output_0_cast_fp16", "pad", change)


def one_activation_beyond_half(package: Path) -> str:
    name = BLOCK + "attention_self_value_MatMul_output_0_2_cast_fp16"
    return change_weight(package, name, "weight", lambda w: w * 60000)


def the_first_bias_dropped(package: Path) -> str:
    return change_weight(package, "_patch_embeddings_0_proj_Conv_output_0_cast_fp16", "bias", lambda b: b * 0)


def the_last_bias_moved(package: Path) -> str:
    def change(tensor: Any) -> None:
        tensor.bytes.values = np.float16(0.4).tobytes()

    return change_literal(package, "logits_cast_fp16", "bias", change)


def the_pixel_offset_dropped(package: Path) -> str:
    """Damage an operation without a counterpart; the first one after it that has one covers it."""

    def change(tensor: Any) -> None:
        tensor.floats.values[:] = [0.0] * len(tensor.floats.values)

    change_literal(package, "image__biased__", "y", change)
    return "_segformer_encoder_patch_embeddings_0_proj_Conv_output_0_cast_fp16"


DAMAGE = [
    one_weight_scaled,
    one_bias_dropped,
    one_gelu_approximated,
    one_resize_aligned_to_corners,
    one_padding_shifted,
    one_activation_beyond_half,
    the_first_bias_dropped,
    the_last_bias_moved,
    the_pixel_offset_dropped,
]

# ---- an export whose every bias counts ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def biased_export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """segformer_b0 at 64x64, int8, random weights with random biases, which fresh networks do not have."""
    import torch
    from safetensors.torch import save_file

    from portrait_export.cli.render import Silence
    from portrait_export.inputs.sources import ModelSource
    from portrait_export.models.registry import create_model
    from portrait_export.workflows.export import CoreMLRequest, export_coreml

    folder = tmp_path_factory.mktemp("biased")
    state = create_model("segformer_b0", seed=0).state_dict()
    generator = torch.Generator().manual_seed(1)
    for tensor in state.values():
        if tensor.ndim == 1:
            tensor += 0.2 * torch.randn(tensor.shape, generator=generator)
    save_file(state, folder / "w.safetensors")
    source = ModelSource(model="segformer_b0", checkpoint=folder / "w.safetensors", size=(64, 64))
    export_coreml(CoreMLRequest(source=source, recipe="int8", out=folder / "out", parity=None), Silence())
    return folder / "out"


@pytest.fixture
def damaged(biased_export: Path, tmp_path: Path) -> Path:
    """A copy of that export's package, to damage."""
    return Path(shutil.copytree(biased_export / "segformer_b0.mlpackage", tmp_path / "damaged.mlpackage"))


@pytest.fixture
def against(biased_export: Path, photos: Path) -> tuple[object, ...]:
    """The other arguments: the export's own ONNX file and one photo."""
    return ("--onnx", biased_export / "segformer_b0.onnx", "--image", photos / "portrait.png")


# ---- what is named --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_exactly_the_damaged_operation_is_named(cli, damaged, against, damage):
    culprit = damage(damaged)
    ran = cli("blame", damaged, *against, "--json")
    assert (ran.code, ran.err) == (1, "")
    report = json.loads(ran.out)
    assert report["bad"] == [culprit]
    assert report["first_bad"]["candidate"] == culprit


@pytest.mark.parametrize("damage", [one_weight_scaled, one_activation_beyond_half], ids=lambda damage: damage.__name__)
def test_without_isolation_a_large_fault_is_named_too(cli, damaged, against, damage):
    culprit = damage(damaged)
    ran = cli("blame", damaged, *against, "--no-isolate", "--json")
    assert ran.code == 1
    report = json.loads(ran.out)
    assert report["bad"] == [culprit]
    assert report["first_bad"]["own_snr_db"] is None


def test_two_damaged_operations_are_both_found(cli, damaged, against):
    culprits = [one_bias_dropped(damaged), the_last_bias_moved(damaged)]
    assert json.loads(cli("blame", damaged, *against, "--isolate", "--json").out)["bad"] == culprits


def test_an_activation_beyond_half_is_reported_with_its_range_and_drawn(cli, damaged, against, tmp_path):
    culprit = one_activation_beyond_half(damaged)
    ran = cli("blame", damaged, *against, "-o", tmp_path / "out")
    assert ran.code == 1
    verdict = ran.out[ran.out.index("first to diverge:") :].splitlines()
    assert verdict[0] == "first to diverge: /segformer/encoder/block.1.0/attention/self/value/MatMul_output_0_2"
    assert verdict[1] == f"  conv {culprit}, 1x64x2x2"
    assert "of its values are NaN or infinite; the reference is within" in verdict[2]
    lost = ran.out[ran.out.index("lose most in half precision") :].splitlines()[1:]
    assert ["overflows" in line for line in lost[:6]] == [True, False, False, False, False, False]
    assert "attention/self/value" in lost[0]
    assert json.loads((tmp_path / "out" / "blame.json").read_text())["bad"] == [culprit]
    with Image.open(tmp_path / "out" / "blame.png") as picture:
        assert picture.format == "PNG"


def test_operations_without_a_counterpart_are_covered_by_the_next(cli, damaged, against):
    the_pixel_offset_dropped(damaged)
    out = cli("blame", damaged, *against).out
    assert (
        "covers 3 earlier operations that have no counterpart: image__scaled__, image__biased__, image_to_fp16" in out
    )


# ---- no bad operation -----------------------------------------------------------------------------------------------


def test_an_undamaged_package_has_no_bad_operation(cli, small_export, tmp_path):
    package = small_export / "segformer_b0.mlpackage"
    ran = cli("blame", package, "-m", "segformer_b0", "--random-weights", "-o", tmp_path)
    assert ran.code == 0, ran.out
    assert [line.split()[1] for line in ran.err.splitlines()] == ["load", "outputs", "compare"]
    assert "PyTorch → traced ONNX" in ran.out
    assert "traced ONNX → simplified ONNX" in ran.out
    assert "✓ no operation is bad" in ran.out
    report = json.loads((tmp_path / "blame.json").read_text())
    assert report["passed"] is True
    assert report["bad"] == []
    assert len(report["photographs"]) == 3
    assert report["stand_in_depth"] == []
    assert report["unpaired"] == ["image__scaled__", "image__biased__", "image_to_fp16"]
    assert len(report["ops"]) == report["values"] - 3
    assert report["ops"][-1]["name"] == "mask"
    assert min(link["snr_db"] for link in report["links"]) > 100
    assert 1e6 < report["held_bytes"] < 1e7


def test_many_small_errors_make_no_operation_bad(cli, biased_export, against):
    package = biased_export / "segformer_b0.mlpackage"
    for options in (["--isolate"], ["--no-isolate"], ["--arithmetic", "fp16"]):
        ran = cli("blame", package, *against, *options)
        assert ran.code == 0, ran.out
        assert "no operation is bad" in ran.out


def test_an_unsimplified_model_is_simplified_first(cli, biased_export, against, tmp_path):
    import onnx

    from portrait_export.capture.export import export_onnx
    from portrait_export.inputs.sources import ModelSource, load_model

    source = ModelSource("segformer_b0", biased_export.parent / "w.safetensors", size=(64, 64))
    model = load_model(source)
    onnx.save(export_onnx(model.module, spec=model.spec, check=False), tmp_path / "traced.onnx")
    package = biased_export / "segformer_b0.mlpackage"
    ran = cli("blame", package, "--onnx", tmp_path / "traced.onnx", *against[2:], "--no-isolate", "--json")
    assert ran.code == 0, ran.err
    report = json.loads(ran.out)
    assert len(report["ops"]) == report["values"] - 3


def test_the_users_own_bar_is_used(cli, biased_export, against):
    ran = cli("blame", biased_export / "segformer_b0.mlpackage", *against, "--bar", "60", "--json")
    assert ran.code == 1
    first = json.loads(ran.out)["first_bad"]
    assert (first["kind"], first["bar_db"]) == ("conv", 60.0)
    assert 35 < first["own_snr_db"] < 60
    shown = cli("blame", biased_export / "segformer_b0.mlpackage", *against, "--bar", "60").out
    assert "dB on the reference's inputs; the bar is 60" in shown
    assert "stored types allow" not in shown


def test_in_float32_only_the_weights_matter(cli, biased_export, against):
    ran = cli("blame", biased_export / "segformer_b0.mlpackage", *against, "--arithmetic", "fp32", "--json")
    assert ran.code == 0
    ops = json.loads(ran.out)["ops"]
    assert all(op["exact_snr_db"] is None for op in ops)
    assert min(op["own_snr_db"] for op in ops if op["kind"] == "gelu") > 100


# ---- bad input ------------------------------------------------------------------------------------------------------


def unrelated_onnx(path: Path) -> Path:
    import onnx

    box = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("Relu", ["image"], ["other"])
    graph = onnx.helper.make_graph([node], "g", [box("image", 1, [1, 3, 64, 64])], [box("other", 1, [1, 3, 64, 64])])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_bad_input_gives_one_message(cli, small_export, photos, tmp_path):
    package, onnx_file = small_export / "segformer_b0.mlpackage", small_export / "segformer_b0.onnx"
    (tmp_path / "text.jpg").write_text("no picture")
    cases = {
        "no_package": ([tmp_path / "no.mlpackage", "--onnx", onnx_file], "no.mlpackage"),
        "no_model": ([package], "None of --model, --checkpoint and --onnx is given"),
        "two_references": (
            [package, "--onnx", onnx_file, "-m", "serseg_b0"],
            "--onnx cannot be used with --model, --checkpoint or --random-weights.",
        ),
        "no_onnx": ([package, "--onnx", tmp_path / "no.onnx"], "no.onnx"),
        "no_photo": ([package, "--onnx", onnx_file, "--image", tmp_path / "no.jpg"], "no.jpg"),
        "not_a_photo": ([package, "--onnx", onnx_file, "--image", tmp_path / "text.jpg"], "text.jpg"),
        "nothing_in_common": (
            [package, "--onnx", unrelated_onnx(tmp_path / "other.onnx"), "--image", photos / "noise.png"],
            "None of the package's 196 values has a counterpart",
        ),
    }
    for name, (arguments, answer) in cases.items():
        ran = cli("blame", *arguments, "-o", tmp_path / "out")
        assert (ran.code, ran.out) == (2, ""), name
        assert answer in ran.err, name
        assert ran.err.count("error: ") == 1, name
    assert not (tmp_path / "out").exists()


# ---- before the package ---------------------------------------------------------------------------------------------


class Fixed:
    """A runner with the same probability everywhere."""

    def __init__(self, name: str, value: float):
        self.name, self.value = name, value

    def run(self, frames: Sequence[Frame]) -> list[Prediction]:
        return [Prediction(np.full((4, 4), self.value, np.float32)) for _ in frames]


def test_models_that_diverge_before_the_package_are_found():
    from portrait_export.workflows.blame import _links

    frame = Frame(np.zeros((4, 4, 3), np.uint8))
    links = _links([Fixed("PyTorch", 0.5), Fixed("traced", 0.5), Fixed("simplified", 0.4)], [frame])
    assert [(link.step, link.output, link.bad) for link in links] == [
        ("PyTorch → traced", "mask", False),
        ("traced → simplified", "mask", True),
    ]
    assert links[1].snr_db == pytest.approx(10 * np.log10(0.25 / 0.01), abs=1e-4)


def test_a_value_that_a_pass_rescaled_is_not_accused(cli, photos, tmp_path):
    """coremltools multiplies the sum of quantized values by 1 / scale and leaves its name."""
    scales = {"s1": 0.021, "s2": 0.013, "s3": 0.031}
    constants = {
        "w": np.ones((1, 3, 1, 1), np.float32),
        "w2": np.full((1, 3, 1, 1), -0.3, np.float32),
        "b": np.array([-1.0], np.float32),
        "z": np.array(0, np.int8),
        **{name: np.array(value, np.float32) for name, value in scales.items()},
    }

    def rounded(value: str, result: str, scale: str) -> list[onnx.NodeProto]:
        return [
            helper.make_node("QuantizeLinear", [value, scale, "z"], [f"{result}_q"]),
            helper.make_node("DequantizeLinear", [f"{result}_q", scale, "z"], [result]),
        ]

    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["l1"]),
        helper.make_node("Conv", ["x", "w2", "b"], ["l2"]),
        *rounded("l1", "a", "s1"),
        *rounded("l2", "c", "s2"),
        helper.make_node("Add", ["a", "c"], ["sum"]),
        *rounded("sum", "y", "s3"),
    ]
    image, mask = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, channels, 64, 64])
        for name, channels in (("x", 3), ("y", 1))
    )
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "qdq", [image], [mask], initializers)
    file = tmp_path / "qdq.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    read = ("--mean", "0,0,0", "--std", "1,1,1")
    assert cli("coreml", "--onnx", file, *read, "--no-parity", "-o", tmp_path / "out", "-q").code == 0
    photo = ("--image", photos / "portrait.png")
    ran = cli("blame", tmp_path / "out/qdq.mlpackage", "--onnx", file, *photo, "--json")
    assert (ran.code, json.loads(ran.out)["bad"]) == (0, [])
