"""Small models are lowered whole: quantized, with local functions, in every opset, exported by PyTorch."""

from __future__ import annotations

import io
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper

from portrait_export.errors import LoweringError
from portrait_export.frontend.convert import lower
from tests.cases.model import model_of, values
from tests.frontend.harness import mismatch, run_lowered

X = {"x": values(1, 3, 8, 8)}


def expected(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> np.ndarray:
    """Node by node: ONNX Runtime's fused 8-bit convolution saturates its sums on processors without VNNI."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, feeds)[0]


def quantized_model() -> onnx.ModelProto:
    """conv → relu with 8-bit activations and weights, as quantizers write it: QuantizeLinear, DequantizeLinear."""
    make = helper.make_node
    nodes = [
        make("QuantizeLinear", ["x", "sx", "zx"], ["xq"]),
        make("DequantizeLinear", ["xq", "sx", "zx"], ["xd"]),
        make("DequantizeLinear", ["wq", "sw", "zw"], ["wd"], axis=0),
        make("DequantizeLinear", ["bq", "sb"], ["bd"], axis=0),
        make("Conv", ["xd", "wd", "bd"], ["c"], pads=[1, 1, 1, 1]),
        make("Relu", ["c"], ["r"]),
        make("QuantizeLinear", ["r", "sr", "zr"], ["rq"]),
        make("DequantizeLinear", ["rq", "sr", "zr"], ["y"]),
    ]
    scales = np.asarray([0.01, 0.02, 0.015, 0.03], np.float32)
    params = {
        "sx": np.asarray(0.03, np.float32),
        "zx": np.asarray(128, np.uint8),
        "wq": values(4, 3, 3, 3, low=-127, high=127, dtype=np.int8),
        "sw": scales,
        "zw": np.zeros(4, np.int8),
        "bq": values(4, low=-500, high=500, dtype=np.int32),
        "sb": scales * np.float32(0.03),
        "sr": np.asarray(0.25, np.float32),
        "zr": np.asarray(0, np.uint8),
    }
    return model_of(nodes, X, params, ["y"])


def test_quantized_model_keeps_its_steps() -> None:
    model = quantized_model()
    lowered = lower(model)
    operations = [op.op_type for op in lowered.program.functions["main"].operations if op.op_type != "const"]
    assert operations == ["quantize", "dequantize", "conv", "relu", "quantize", "dequantize"]
    steps = (run_lowered(lowered, X)["y"] - expected(model, X)) / 0.25
    assert np.abs(steps).max() <= 1.001  # a sum on the edge between two steps may round either way
    assert (np.abs(steps) > 0.5).mean() < 0.01


def int8_model() -> onnx.ModelProto:
    """int8 in, doubled and shifted, int8 out."""
    make = helper.make_node
    nodes = [
        make("DequantizeLinear", ["q", "half", "three"], ["x"]),
        make("Relu", ["x"], ["r"]),
        make("QuantizeLinear", ["r", "quarter", "two"], ["y"]),
    ]
    params = {
        "half": np.asarray(0.5, np.float32),
        "three": np.asarray(3, np.int8),
        "quarter": np.asarray(0.25, np.float32),
        "two": np.asarray(2, np.int8),
    }
    return model_of(nodes, INT8, params, ["y"])


INT8 = {"q": np.array([[-128, -1, 3], [4, 60, 127]], np.int8)}


def test_int8_inputs_and_outputs_need_ios26() -> None:
    model = int8_model()
    with pytest.raises(LoweringError, match="its type is int8"):
        lower(model, target="iOS18")
    lowered = lower(model, target="iOS26")
    assert [feature.dtype for feature in (*lowered.inputs, *lowered.outputs)] == ["int8", "int8"]
    result = run_lowered(lowered, INT8)["y"]
    assert result.dtype == np.int8
    np.testing.assert_array_equal(result, expected(model, INT8))


def test_functions_of_the_model_are_inlined() -> None:
    make = helper.make_node
    body = [make("Mul", ["a", "a"], ["sq"]), make("Add", ["sq", "a"], ["b"])]
    function = helper.make_function("local", "Twice", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    model = model_of([make("Relu", ["x"], ["y"])], X, {}, ["y"])
    model.graph.node.insert(0, make("Twice", ["x"], ["t"], domain="local"))
    model.graph.node[1].input[0] = "t"
    model.opset_import.append(helper.make_opsetid("local", 1))
    model.functions.append(function)
    lowered = lower(model)
    assert mismatch(np.maximum(X["x"] ** 2 + X["x"], 0), run_lowered(lowered, X)["y"]) == ""


def test_sparse_and_overridable_initializers() -> None:
    make = helper.make_node
    model = model_of([make("Add", ["x", "w"], ["h"]), make("Mul", ["h", "s"], ["y"])], {"x": values(2, 2)}, {}, ["y"])
    model.graph.initializer.append(numpy_helper.from_array(values(2, 2, seed=1), "w"))
    model.graph.input.append(helper.make_tensor_value_info("w", 1, [2, 2]))
    dense = np.asarray([[0, 3], [2, 0]], np.float32)
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(np.asarray([3, 2], np.float32), "s"),
        numpy_helper.from_array(np.asarray([1, 2], np.int64), "s_indices"),
        [2, 2],
    )
    model.graph.sparse_initializer.append(sparse)
    lowered = lower(model)
    assert [feature.name for feature in lowered.inputs] == ["x"]
    result = run_lowered(lowered, {"x": values(2, 2)})["y"]
    assert mismatch((values(2, 2) + values(2, 2, seed=1)) * dense, result) == ""


class Attention(torch.nn.Module):
    """Patches, one self-attention with layer norm and GELU, and back to an image: what transformers are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = torch.nn.Conv2d(3, 16, 2, 2)
        self.norm = torch.nn.LayerNorm(16)
        self.qkv = torch.nn.Linear(16, 48)
        self.out = torch.nn.Linear(16, 16)
        self.up = torch.nn.ConvTranspose2d(16, 4, 3, stride=2, padding=1, output_padding=1)
        self.head = torch.nn.Sequential(torch.nn.BatchNorm2d(4), torch.nn.Hardswish(), torch.nn.Conv2d(4, 1, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.patch(image)
        n, c, h, w = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        q, k, v = self.qkv(self.norm(tokens)).reshape(n, h * w, 3, 4, 4).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = ((q @ k.transpose(-2, -1)) * 0.5).softmax(-1) @ v
        tokens = tokens + torch.nn.functional.gelu(self.out(mixed.transpose(1, 2).reshape(n, h * w, c)))
        x = self.head(self.up(tokens.transpose(1, 2).reshape(n, c, h, w)))
        return torch.nn.functional.interpolate(x, size=image.shape[-2:], mode="bilinear", align_corners=False)


@pytest.mark.parametrize("opset", [11, 13, 14, 16, 17, 18, 20])
def test_exported_by_torch_in_many_opsets(opset: int) -> None:
    torch.manual_seed(0)
    module, image = Attention().eval(), torch.from_numpy(X["x"])
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, (image,), buffer, input_names=["x"], output_names=["y"], opset_version=opset, dynamo=False
        )
        wanted = module(image).numpy()
    lowered = lower(onnx.load_from_string(buffer.getvalue()))
    assert mismatch(wanted, run_lowered(lowered, X)["y"], rtol=1e-4, atol=1e-5) == ""
