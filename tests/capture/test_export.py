"""export_onnx: contract of names and shapes, equality with PyTorch, same bytes, and refusals in exact words."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from portrait_export.artifacts import Frame, Runner
from portrait_export.capture.export import export_onnx, spec_of
from portrait_export.capture.onnx.check import make_session, run_session
from portrait_export.capture.runners import OnnxRunner, TorchRunner
from portrait_export.errors import CaptureError
from portrait_export.preprocessing import PortraitSpec

SPEC = PortraitSpec(height=16, width=24)


class TinyNet(nn.Module):
    """Two convolutions; logits at 1/`stride` of the input; one weight that forward never reads."""

    def __init__(self, *, stride=4, channels=3):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(channels, 8, 3, stride=stride, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.classifier = nn.Conv2d(8, 1, 1)
        self.unused = nn.Conv2d(8, 1000, 3)
        self.dropout = nn.Dropout(0.5)

    def forward(self, image, depth=None):
        x = image if depth is None else torch.cat([image, depth], dim=1)
        return self.classifier(self.dropout(self.stem(x)))


def photo_noise(spec, seed=0):
    generator = np.random.default_rng(seed)
    depth = generator.random((spec.height, spec.width), dtype=np.float32) if "depth" in spec.inputs else None
    image = generator.integers(0, 256, (spec.height, spec.width, 3), dtype=np.uint8)
    return Frame(image, depth, name="noise")


def value_shapes(values):
    return {value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim) for value in values}


def test_inputs_and_outputs_have_the_contracted_names_and_shapes():
    model = export_onnx(TinyNet(), spec=SPEC)
    assert value_shapes(model.graph.input) == {"image": (1, 3, 16, 24)}
    assert value_shapes(model.graph.output) == {"logits": (1, 1, 4, 6), "mask": (1, 1, 16, 24)}


def test_a_depth_model_takes_two_inputs():
    spec = PortraitSpec(height=16, width=24, inputs=("image", "depth"))
    model = export_onnx(TinyNet(channels=4), spec=spec)
    assert value_shapes(model.graph.input) == {"image": (1, 3, 16, 24), "depth": (1, 1, 16, 24)}


def test_the_spec_and_further_metadata_travel_in_the_model():
    model = export_onnx(TinyNet(), spec=SPEC, metadata={"model": "tiny"})
    assert spec_of(model) == SPEC
    assert {prop.key: prop.value for prop in model.metadata_props}["portrait_export.model"] == "tiny"


def test_two_exports_of_the_same_weights_are_the_same_bytes():
    first, second = (export_onnx(TinyNet(), spec=SPEC).SerializeToString() for _ in range(2))
    assert first == second


def test_nothing_of_this_machine_is_in_the_file():
    text = export_onnx(TinyNet(), spec=SPEC).SerializeToString()
    assert b".py" not in text
    assert b"site-packages" not in text
    assert torch.__version__.split("+")[0].encode() not in text


def test_weights_that_forward_never_reads_are_not_exported():
    model = export_onnx(TinyNet(), spec=SPEC)
    assert sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer) < 1000


def test_nodes_are_named_after_the_networks_own_modules():
    names = [node.name for node in export_onnx(TinyNet(), spec=SPEC).graph.node]
    assert "/classifier/Conv" in names
    assert "/mask_head/Sigmoid" in names


def test_the_mask_is_the_sigmoid_of_the_resized_logits():
    net = TinyNet().eval()
    image = torch.randn(1, 3, 16, 24, generator=torch.Generator().manual_seed(3))
    outputs = run_session(make_session(export_onnx(net, spec=SPEC)), {"image": image.numpy()})
    with torch.no_grad():
        logits = net(image)
    large = torch.nn.functional.interpolate(logits, size=(16, 24), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(outputs["logits"], logits.numpy(), atol=1e-6)
    np.testing.assert_allclose(outputs["mask"], torch.sigmoid(large).numpy(), atol=1e-6)


def test_full_size_logits_are_not_resized():
    ops = [node.op_type for node in export_onnx(TinyNet(stride=1), spec=SPEC).graph.node]
    assert "Resize" not in ops


def test_a_checkpoint_about_the_background_gives_the_persons_logit():
    image = {"image": np.random.default_rng(0).standard_normal((1, 3, 16, 24)).astype(np.float32)}
    person, background = (
        run_session(make_session(export_onnx(TinyNet(), spec=PortraitSpec(height=16, width=24, positive=p))), image)
        for p in ("person", "background")
    )
    np.testing.assert_allclose(background["logits"], -person["logits"], atol=1e-6)
    np.testing.assert_allclose(background["mask"], 1 - person["mask"], atol=1e-6)


def test_the_modules_training_mode_is_as_before():
    net = TinyNet()
    net.train()
    net.stem.eval()
    export_onnx(net, spec=SPEC)
    assert (net.training, net.stem.training, net.dropout.training) == (True, False, True)


@pytest.mark.parametrize("inputs", [("image",), ("image", "depth")])
def test_both_runners_agree_on_frames(inputs):
    spec = PortraitSpec(height=16, width=24, inputs=inputs)
    net = TinyNet(channels=2 + 1 + (len(inputs) - 1))
    frames = [photo_noise(spec, seed) for seed in range(2)]
    runners = [TorchRunner(net, spec), OnnxRunner(export_onnx(net, spec=spec))]
    assert all(isinstance(runner, Runner) for runner in runners)
    for torch_says, onnx_says in zip(*(runner.run(frames) for runner in runners), strict=True):
        assert torch_says.probability.shape == (16, 24)
        assert torch_says.logits.shape == (4, 6)
        np.testing.assert_allclose(onnx_says.probability, torch_says.probability, atol=1e-6)
        np.testing.assert_allclose(onnx_says.logits, torch_says.logits, atol=1e-5)


def test_a_missing_depth_map_is_named():
    spec = PortraitSpec(height=16, width=24, inputs=("image", "depth"))
    frame = Frame(np.zeros((16, 24, 3), np.uint8), name="a.jpg")
    with pytest.raises(CaptureError, match=r"Frame 'a.jpg' has depth None; the model takes \(16, 24\)"):
        TorchRunner(TinyNet(channels=4), spec).run([frame])


def test_an_onnx_model_from_elsewhere_needs_a_spec():
    model = onnx.helper.make_model(
        onnx.parser.parse_graph("g (float[1,3,4,4] image) => (float[1,3,4,4] mask) { mask = Sigmoid(image) }"),
        opset_imports=[onnx.helper.make_opsetid("", 17)],
    )
    with pytest.raises(CaptureError, match="stores no PortraitSpec, and none was passed"):
        OnnxRunner(model)


class TwoClasses(TinyNet):
    def forward(self, image):
        return torch.cat([super().forward(image)] * 2, dim=1)


class DependsOnValues(TinyNet):
    """Its Python branch is taken one way in the export and another way in the comparison."""

    calls = 0

    def forward(self, image):
        DependsOnValues.calls += 1
        return super().forward(image) * (1.0 if DependsOnValues.calls == 1 else 2.0)


class Unexportable(TinyNet):
    def forward(self, image):
        return super().forward(torch.special.bessel_j0(image))


REFUSALS = {
    "two_labels": (TwoClasses, {}, r"logits of shape \(1, 2, 4, 6\); one label needs \(1, 1, h, w\)"),
    "numbers_that_depend_on_python": (DependsOnValues, {}, "does not compute what the PyTorch network computes"),
    "operator_without_onnx_form": (Unexportable, {}, "no ONNX form: aten::special_bessel_j0"),
    "opset_too_new": (TinyNet, {"opset": 99}, "Opset 99 cannot be exported; the opsets are 13..20"),
    "too_few_channels": (lambda: TinyNet(channels=4), {}, r"could not be traced .* at 16x24: RuntimeError"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_export_refuses(case):
    make, options, words = REFUSALS[case]
    with pytest.raises(CaptureError, match=words):
        export_onnx(make(), spec=SPEC, **options)


def test_a_failed_export_prints_nothing(capfd):
    with pytest.raises(CaptureError):
        export_onnx(Unexportable(), spec=SPEC)
    assert "".join(capfd.readouterr()) == ""


def test_a_network_over_two_gigabytes_is_refused_before_anything_is_traced(monkeypatch):
    monkeypatch.setattr("portrait_export.capture.export.MAX_PROTOBUF_BYTES", 100)
    with pytest.raises(CaptureError, match="an ONNX file in one piece holds at most 2 GiB"):
        export_onnx(TinyNet(), spec=SPEC)
