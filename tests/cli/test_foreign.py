"""Test networks of the user's own: the package's masks match the network's."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from portrait_export.capture.foreign.on_masks import BADLY

SIDE = 64
PSNR_DB = 60.0  # of fp32 packages against the user's own file; the lowest of these is 99


class Net(nn.Module):
    """A few convolutions, K classes, resized to the input."""

    def __init__(self, classes: int = 2):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, classes, 1))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        low = self.body(image)
        return {"features": low, "out": nn.functional.interpolate(low, size=image.shape[-2:], mode="bilinear")}


class LastChannels(nn.Module):
    """Bytes in, channels last, a softmax out: what comes from TensorFlow."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def forward(self, image: Tensor) -> Tensor:
        return self.net(image.permute(0, 3, 1, 2).float() / 127.5 - 1)["out"].permute(0, 2, 3, 1).softmax(-1)


def write(net: nn.Module, example: Tensor, path: Path, outputs: list[str]) -> Path:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(net.eval(), (example,), buffer, dynamo=False, input_names=["x"], output_names=outputs)
    onnx.save(onnx.load_from_string(buffer.getvalue()), path)
    return path


def seeded(build: object) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return build().eval()  # type: ignore[operator]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return write(seeded(Net), torch.rand(1, 3, SIDE, SIDE), tmp_path / "my net.onnx", ["features", "out"])


def gate(record: dict, name: str) -> float:
    return next(gate["value"] for gate in record["gates"] if gate["name"] == name)


def export(cli, out: Path, photos: Path, *arguments: object) -> dict:
    ran = cli("coreml", *arguments, "--precision", "fp32", "--data", photos, "-o", out, "--json")
    assert ran.code in (0, 1), ran.err
    return json.loads(ran.out)


def test_an_onnx_file_becomes_a_package_and_parity_sees_other_preprocessing(cli, own, photos, tmp_path):
    from portrait_export.mil.program import read_program

    record = export(
        cli, tmp_path / "out", photos, "--onnx", own, "--mean", "0.5", "--std", "0.25", "--keep-output", "features"
    )
    assert gate(record, "logits_psnr_db") >= PSNR_DB
    assert (record["model"], record["package"]["file"]) == ("my_net", "my_net.mlpackage")
    assert [line for line in record["warnings"] if not line.startswith(BADLY)] == []  # random weights
    assert "class 1 of 2" in record["provenance"]["reading"]
    program = read_program(tmp_path / "out" / "my_net.mlpackage")
    assert [(f.name, f.kind, f.shape) for f in program.outputs] == [
        ("mask", "image", (SIDE, SIDE)),
        ("features", "array", (1, 2, SIDE // 2, SIDE // 2)),
    ]
    against = ("parity", tmp_path / "out" / "my_net.mlpackage", "--onnx", own, "--mean", "0.5", "--std", "0.25")
    same = cli(*against, "--data", photos)
    assert "my_net.mlpackage (as_typed) against ONNX Runtime, my net.onnx" in same.out
    assert "✓  logits PSNR" in same.out
    other = cli(*against, "--color", "bgr", "--data", photos)
    assert other.code == 1
    assert "✗  logits PSNR" in other.out


def test_the_source_network_is_never_replaced(cli, own, tmp_path):
    own = own.rename(tmp_path / "net.onnx")
    before = own.read_bytes()
    for arguments in ((), ("--force",)):
        ran = cli("coreml", "--onnx", own, "--scale", "1/255", "-o", tmp_path, *arguments)
        assert ran.code == 2
        assert f"{own} is read here, and the result would replace it." in ran.err
    assert own.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


def test_a_channels_last_net_of_bytes_matches_its_own_file(cli, photos, tmp_path):
    example = torch.randint(0, 256, (1, SIDE, SIDE, 3), dtype=torch.uint8)
    path = write(seeded(LastChannels), example, tmp_path / "tf.onnx", ["probabilities"])
    record = export(cli, tmp_path / "out", photos, "--onnx", path, "--output", "multiarray")
    assert gate(record, "logits_psnr_db") >= PSNR_DB
    assert record["spec"]["scale"] == 1.0


def test_torch_code_becomes_a_package(cli, photos, tmp_path):
    code = "import torch\ndef build():\n    torch.manual_seed(0)\n    return torch.nn.Conv2d(3, 1, 3, padding=1)\n"
    (tmp_path / "own.py").write_text(code)
    record = export(
        cli, tmp_path / "out", photos, "--torch", f"{tmp_path / 'own.py'}:build", "--size", "64x64", "--scale", "1/255"
    )
    assert gate(record, "logits_psnr_db") >= PSNR_DB


def test_what_was_guessed_is_shown(cli, own, tmp_path):
    ran = cli("onnx", "--onnx", own, "-o", tmp_path / "ours.onnx")
    assert ran.code == 0, ran.err
    assert "person: output 'out' (1, 2, 64, 64), logits, class 1 of 2" in ran.err
    assert "! no preprocessing was given, so ImageNet's is assumed" in ran.err
    made = onnx.load(tmp_path / "ours.onnx")
    assert [value.name for value in made.graph.output] == ["logits", "mask"]
    assert "portrait_export.spec" in {prop.key for prop in made.metadata_props}


REFUSED = {
    "two_networks": (
        ["--onnx", "a.onnx", "--torchscript", "b.pt"],
        "--onnx and --torchscript cannot be used together: one network at a time.",
    ),
    "no_network": (
        ["-m", "segformer_b0", "--mean", "0.5", "--std", "0.5"],
        "--mean, --std describe a network of your own, and none is given.",
    ),
    "classes_of_a_registered_model": (
        ["-m", "segformer_b0", "--person-class", "1"],
        "--person-class is for a checkpoint or a network of yours; registered models have one class.",
    ),
    "registered_and_own": (["-m", "segformer_b0", "--onnx", "a.onnx"], "--model is about registered models;"),
    "random_weights": (["--onnx", "a.onnx", "--random-weights"], "--random-weights is about registered models;"),
    "no_file": (["--onnx", "none.onnx"], "There is no ONNX file at none.onnx."),
    "four_means": (["--onnx", "a.onnx", "--mean", "1,2,3,4"], "expected one number or three, found 4."),
    "no_number": (["--onnx", "a.onnx", "--scale", "x"], "'x' is not a number or a fraction such as 1/255."),
    "no_class": (["--onnx", "a.onnx", "--person-class", "-1"], "'-1' is not a class number or a range such as 1-8."),
    "no_activation": (["--onnx", "a.onnx", "--activation", "relu"], "there is no activation `relu`"),
    "no_filling": (["--onnx", "a.onnx", "--fix-input", "r1"], "'r1' is not NAME=NUMBER."),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unusable_options_are_refused(name, cli, tmp_path):
    arguments, words = REFUSED[name]
    ran = cli("coreml", *arguments, "-o", tmp_path)
    assert ran.code == 2
    assert words in ran.err


def test_unavailable_logits_are_refused_early(cli, tmp_path):
    class Clipped(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return image[:, :1].clamp(0, 1)

    path = write(Clipped(), torch.rand(1, 3, 32, 32), tmp_path / "n.onnx", ["alpha"])
    ran = cli("coreml", "--onnx", path, "--scale", "1/255", "--output", "logits", "-o", tmp_path / "out")
    assert ran.code == 2
    assert "--output logits: the network's output 'alpha' is a probability" in ran.err
    assert not (tmp_path / "out").exists()


def test_operators_without_a_mil_form_are_one_error(cli, tmp_path):
    node = onnx.helper.make_node("Sigmoid", ["z"], ["y"])
    weight = onnx.numpy_helper.from_array(np.ones((1, 3, 1, 1), np.float32), "w")
    conv = onnx.helper.make_node("Conv", ["x", "w"], ["c"])
    odd = onnx.helper.make_node("Unique", ["c"], ["u"], name="/unique")
    first = onnx.helper.make_node("ReduceMax", ["u"], ["top"], keepdims=0)
    joined = onnx.helper.make_node("Sub", ["c", "top"], ["z"])
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [conv, odd, first, joined, node],
        "g",
        [info("x", 1, [1, 3, 32, 32])],
        [info("y", 1, [1, 1, 32, 32])],
        [weight],
    )
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, tmp_path / "n.onnx")
    ran = cli("coreml", "--onnx", tmp_path / "n.onnx", "--scale", "1/255", "--no-parity", "-o", tmp_path / "out")
    assert ran.code == 2
    assert "error: unsupported-onnx-op" in ran.err
    assert "Unique" in ran.err


def _segformer():
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    config = SegformerConfig(
        depths=[1, 1, 1, 1], hidden_sizes=[8, 16, 16, 16], num_attention_heads=[1, 2, 2, 2],
        decoder_hidden_size=16, num_labels=2,
    )  # fmt: skip
    return SegformerForSemanticSegmentation(config)


def _mobilenet():
    from transformers import MobileNetV2Config, MobileNetV2ForSemanticSegmentation

    return MobileNetV2ForSemanticSegmentation(MobileNetV2Config(depth_multiplier=0.25, output_stride=8, num_labels=21))


def _mobilevit():
    from transformers import MobileViTConfig, MobileViTForSemanticSegmentation

    config = MobileViTConfig(
        hidden_sizes=[16, 16, 16], neck_hidden_sizes=[8, 8, 16, 16, 16, 16, 32], aspp_out_channels=16, num_labels=21,
        num_attention_heads=2, image_size=64,
    )  # fmt: skip
    return MobileViTForSemanticSegmentation(config)


@pytest.mark.parametrize("build", [_segformer, _mobilenet, _mobilevit], ids=lambda build: build.__name__[1:])
def test_nets_of_transformers_are_exported_from_onnx(build, cli, photos, tmp_path):
    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = build()

        def forward(self, image: Tensor) -> Tensor:
            return self.net(image).logits

    path = write(seeded(Logits), torch.rand(1, 3, SIDE, SIDE), tmp_path / "net.onnx", ["logits"])
    record = export(cli, tmp_path / "out", photos, "--onnx", path, "--mean", "0.5", "--std", "0.5")
    assert gate(record, "logits_psnr_db") >= PSNR_DB
