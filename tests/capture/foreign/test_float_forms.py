"""8-bit operators become float operators that give the same integers, against ONNX Runtime's own integer kernels.

Weights have 7 bits here: on processors with AVX2 and without VNNI those kernels add pairs of products in 16 bits, and
255 · 127 + 255 · 127 saturates there.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from portrait_export.capture.foreign.float_forms import FORMS, in_float_form
from portrait_export.capture.onnx.check import check_model, run_once

from .quantized import FORMS as FILES
from .quantized import SIDE, operators, quantized_file

make = helper.make_node
MICROSOFT = "com.microsoft"
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(0, 1, (1, 4, 6, 6)).astype(np.float32)
SCALES = {"sx": 0.0213, "sy": 0.0317, "so": 0.0409}  # no small ratios, so that few sums are half a step


def integers(*shape: int, dtype: type = np.int8) -> np.ndarray:
    return GENERATOR.integers(-64, 64, shape).astype(dtype)


def model(node: onnx.NodeProto, zero: np.generic, constants: dict[str, np.ndarray], x: np.ndarray) -> onnx.ModelProto:
    """Q(x), Q(2x), a node of 8-bit integers, and its result as floats."""
    stored = {name: np.float32(value) for name, value in SCALES.items()} | {"z": zero, "two": np.float32(2)} | constants
    nodes = [
        make("QuantizeLinear", ["x", "sx", "z"], ["a"]),
        make("Mul", ["x", "two"], ["x2"]),
        make("QuantizeLinear", ["x2", "sy", "z"], ["b"]),
        node,
        make("DequantizeLinear", [node.output[0], "so", "z"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    initializers = [numpy_helper.from_array(np.asarray(array), name) for name, array in stored.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializers)
    versions = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(graph, opset_imports=versions, ir_version=8)


A, B, OUT = ["a", "sx", "z"], ["b", "sy", "z"], ["so", "z"]
W = ["w", "sw", "zw"]
CONV = {"w": integers(5, 4, 3, 3), "sw": GENERATOR.uniform(0.001, 0.01, 5).astype("f"), "zw": np.zeros(5, np.int8)}
DENSE = {"w": integers(6, 3), "sw": np.array([0.01, 0.002, 0.03], "f"), "zw": np.zeros(3, np.int8)}
BIAS = {"bias": integers(5, dtype=np.int32) * 7}


def micro(op: str, inputs: list[str], **attributes: object) -> onnx.NodeProto:
    return make(op, inputs, ["c"], domain=MICROSOFT, **attributes)


CASES = {
    "QLinearConv": (make("QLinearConv", [*A, *W, *OUT, "bias"], ["c"], pads=[1] * 4, strides=[2, 2]), {**CONV, **BIAS}),
    "QLinearConv_without_bias": (make("QLinearConv", [*A, *W, *OUT], ["c"]), CONV),
    "QLinearMatMul": (make("QLinearMatMul", [*A, *W, *OUT], ["c"]), DENSE),
    "QGemm": (
        micro("QGemm", [*A, *W, "bias", *OUT], transB=1),
        {"w": integers(3, 24), "sw": np.float32(0.01), "zw": np.int8(0), "bias": integers(3, dtype=np.int32) * 50},
    ),
    "QLinearAdd": (micro("QLinearAdd", [*A, *B, *OUT]), {}),
    "QLinearMul": (micro("QLinearMul", [*A, *B, *OUT]), {}),
    "QLinearSigmoid": (micro("QLinearSigmoid", [*A, *OUT]), {}),
    "QLinearLeakyRelu": (micro("QLinearLeakyRelu", [*A, *OUT], alpha=0.3), {}),
    "QLinearSoftmax": (micro("QLinearSoftmax", [*A, *OUT], axis=1, opset=13), {}),
    "QLinearGlobalAveragePool": (micro("QLinearGlobalAveragePool", [*A, *OUT]), {}),
    "QLinearAveragePool": (micro("QLinearAveragePool", [*A, *OUT], kernel_shape=[2, 2], strides=[2, 2]), {}),
    "QLinearWhere": (micro("QLinearWhere", ["m", *A, *B, *OUT]), {"m": X > 0.3}),
    "QLinearConcat": (micro("QLinearConcat", [*OUT, *A, *B, *A], axis=1), {}),
}
SHARES = {"QLinearSoftmax": 0.06}  # ONNX Runtime adds exponentials from a table of integers


def same_steps(found: np.ndarray, expected: np.ndarray, share: float = 0.01) -> None:
    """At most one in a hundred values is one step apart: ONNX Runtime's requantization rounds too."""
    steps = np.abs(found - expected) / SCALES["so"]
    assert found.shape == expected.shape
    assert steps.max() <= 1.001
    assert (steps > 0.5).mean() <= share
    assert np.ptp(expected) > 0.1  # the case does not saturate everywhere


@pytest.mark.parametrize("zero", [np.uint8(120), np.int8(-7)], ids=["uint8", "int8"])
@pytest.mark.parametrize("name", CASES)
def test_an_operator_gives_the_same_integers(name, zero):
    node, constants = CASES[name]
    x = {"QLinearMatMul": X.reshape(1, 24, 6), "QGemm": X.reshape(6, 24)}.get(name, X)
    before = model(node, zero, constants, x)
    after = in_float_form(before)
    check_model(onnx.shape_inference.infer_shapes(after))
    assert node.op_type not in {each.op_type for each in after.graph.node}
    assert not {each.domain for each in after.graph.node} & {MICROSOFT}
    share = SHARES.get(name, 0.01)
    same_steps(run_once(after, {"x": x})["y"], run_once(before, {"x": x})["y"], share)


def test_every_form_has_a_case():
    assert {name.removesuffix("_without_bias") for name in CASES} >= set(FORMS)


MOVES = {
    "MaxPool": (make("MaxPool", ["c"], ["d"], kernel_shape=[2, 2]), {}),
    "Transpose": (make("Transpose", ["c"], ["d"], perm=[0, 2, 3, 1]), {}),
    "Reshape": (make("Reshape", ["c", "shape"], ["d"]), {"shape": np.array([2, -1])}),
    "Split": (make("Split", ["c"], ["d", "e"], axis=1), {}),
    "Pad": (make("Pad", ["c", "pads", "z"], ["d"]), {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1])}),
    "nearest": (make("Resize", ["c", "", "up"], ["d"]), {"up": np.array([1, 1, 2, 2], "f")}),
    "linear": (
        make("Resize", ["c", "", "up"], ["d"], mode="linear", coordinate_transformation_mode="half_pixel"),
        {"up": np.array([1, 1, 2, 2], "f")},
    ),
}


@pytest.mark.parametrize("zero", [np.uint8(120), np.int8(-7)], ids=["uint8", "int8"])
@pytest.mark.parametrize("name", MOVES)
def test_operators_that_move_integers_keep_them(name, zero):
    node, constants = MOVES[name]
    before = model(CASES["QLinearAdd"][0], zero, constants, X)
    before.graph.node.insert(4, node)
    before.graph.node[5].input[0] = "d"
    expected = run_once(before, {"x": X})["y"]
    after = in_float_form(before)
    check_model(onnx.shape_inference.infer_shapes(after))
    same_steps(run_once(after, {"x": X})["y"], expected)


@pytest.mark.parametrize("form", FILES)
def test_files_of_the_quantizers_keep_their_numbers(form, tmp_path):
    before = onnx.load(quantized_file(tmp_path / "net.onnx", form))
    after = in_float_form(before)
    assert (after is before) == form.startswith("qdq")
    coarse = np.random.default_rng(5).uniform(-2, 2, (1, 3, 8, 8)).astype(np.float32)
    x = np.kron(coarse, np.ones((1, 1, SIDE // 8, SIDE // 8), np.float32))
    expected, found = (run_once(each, {"input": x})["output"] for each in (before, after))
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    assert {node.domain for node in after.graph.node} == {""}
    if not form.startswith("qdq"):
        assert operators(tmp_path / "net.onnx") & {"QLinearConv", "ConvInteger"}


def test_dynamic_quantization_of_a_constant_picture():
    """Of an input of zeros the range is empty, and its scale is 1."""
    nodes = [
        make("DynamicQuantizeLinear", ["x"], ["q", "s", "zq"]),
        make("MatMulInteger", ["q", "w", "zq"], ["i"]),
        make("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
        make("Mul", ["s", "sw"], ["both"]),
        make("Mul", ["f", "both"], ["y"]),
    ]
    constants = [numpy_helper.from_array(integers(6, 3), "w"), numpy_helper.from_array(np.float32(0.1), "sw")]
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 6])]
    outs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])]
    graph = helper.make_graph(nodes, "g", ends, outs, constants)
    before = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    after = in_float_form(before)
    assert not {"MatMulInteger", "DynamicQuantizeLinear"} & {node.op_type for node in after.graph.node}
    for x in (np.zeros((2, 6), np.float32), X.reshape(-1)[:12].reshape(2, 6), np.full((2, 6), 3, np.float32)):
        expected, found = (run_once(each, {"x": x})["y"] for each in (before, after))
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_node_without_a_float_form_is_left_as_it_is():
    node = micro("QLinearGlobalAveragePool", [*A, *OUT], channels_last=1)
    after = in_float_form(model(node, np.uint8(120), {}, X))
    assert "QLinearGlobalAveragePool" in {each.op_type for each in after.graph.node}
