"""Test that the bounds of a graph's values hold for random inputs, and are as tight as the algebra makes them."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from portrait_export.capture.foreign.bounds import ANY, Bounds, bounds_of
from portrait_export.capture.onnx.check import run_once
from portrait_export.capture.onnx.graph import Graph

SIDE = 8
node = helper.make_node
Nodes = list[onnx.NodeProto]
BILINEAR = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 16
FOUR = np.array([[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]], np.float32)
ROWS = np.kron(np.eye(SIDE // 2, dtype=np.float32), FOUR)  # each pair of pixels becomes four
ARRAYS: dict[str, np.ndarray] = {
    "one": np.float32(1),
    "two": np.float32(2),
    "half": np.float32(0.5),
    "quarter": np.float32(0.25),
    "byte": np.float32(1 / 255),
    "zero": np.uint8(0),
    "axis": np.array([1], np.int64),
    "up": BILINEAR.reshape(1, 1, 4, 4),
    "sparse": np.full((1, 1, 1, 1), 3, np.float32),
    "rows": ROWS,
    "columns": ROWS.T.copy(),
    "signed": np.array([[1, -2], [0, 1]], np.float32).reshape(1, 1, 2, 2),
    "around": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
    "scales": np.array([1, 1, 2, 2], np.float32),
}
SIGMOID = node("Sigmoid", ["x"], ["s"])


def model(nodes: Nodes, dtype: int = TensorProto.FLOAT) -> onnx.ModelProto:
    read = {name for each in nodes for name in each.input}
    stored = [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in ARRAYS.items() if name in read]
    channels = 3 if any(each.op_type in ("Softmax", "ReduceSum", "Split") for each in nodes) else 1
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", dtype, [None] * 4)],
        stored,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


CASES: dict[str, tuple[Nodes, Bounds]] = {
    "sigmoid": ([node("Sigmoid", ["x"], ["y"])], Bounds(0, 1)),
    "convolution": ([node("Conv", ["x", "signed"], ["y"])], ANY),
    "convolution_of_a_sigmoid": ([SIGMOID, node("Conv", ["s", "signed"], ["y"])], Bounds(-2, 2)),
    "upsampling_by_transposed_convolution": (
        [SIGMOID, node("ConvTranspose", ["s", "up"], ["y"], strides=[2, 2], pads=[1, 1, 1, 1])], Bounds(0, 1),
    ),
    "transposed_convolution_with_gaps": (
        [SIGMOID, node("ConvTranspose", ["s", "sparse"], ["y"], strides=[2, 2])], Bounds(0, 3),
    ),
    "upsampling_by_matrix_products": (
        [
            SIGMOID, node("MatMul", ["rows", "s"], ["t"]), node("MatMul", ["t", "columns"], ["y"]),
        ],
        Bounds(0, 1),
    ),
    "softmax_written_out": (
        [node("Exp", ["x"], ["e"]), node("ReduceSum", ["e", "axis"], ["t"]), node("Div", ["e", "t"], ["y"])],
        Bounds(0, 1),
    ),
    "two_exponentials": (
        [
            node("Exp", ["x"], ["e"]), node("Neg", ["x"], ["n"]), node("Exp", ["n"], ["f"]),
            node("Add", ["f", "e"], ["t"]), node("Div", ["e", "t"], ["y"]),
        ],
        Bounds(0, 1),
    ),
    "softsign_written_out": (
        [node("Abs", ["x"], ["a"]), node("Add", ["one", "a"], ["t"]), node("Div", ["x", "t"], ["y"])], Bounds(-1, 1),
    ),
    "arcus_tangent": ([node("Atan", ["x"], ["y"])], Bounds(-math.pi / 2, math.pi / 2)),
    "negative_maximum_of_negatives": (
        [
            SIGMOID, node("Neg", ["s"], ["n"]), node("MaxPool", ["n"], ["m"], kernel_shape=[3, 3]),
            node("Neg", ["m"], ["y"]),
        ],
        Bounds(0, 1),
    ),
    "mean_of_two": ([SIGMOID, node("Mul", ["s", "half"], ["h"]), node("Mean", ["s", "h"], ["y"])], Bounds(0, 0.75)),
    "sum_of_two": ([SIGMOID, node("Sum", ["s", "s"], ["y"])], Bounds(0, 2)),
    "zeros_around": (
        [SIGMOID, node("Add", ["s", "one"], ["t"]), node("Pad", ["t", "around"], ["y"])], Bounds(0, 2),
    ),
    "cubic_resize": (
        [SIGMOID, node("Resize", ["s", "", "scales"], ["y"], mode="cubic")], Bounds(-0.4453125, 1.4453125),
    ),
    "quantized_and_back": (
        [
            SIGMOID, node("QuantizeLinear", ["s", "byte", "zero"], ["q"]),
            node("DequantizeLinear", ["q", "byte", "zero"], ["y"]),
        ],
        Bounds(0, 1),
    ),
    "square": ([node("Mul", ["x", "x"], ["y"])], Bounds(low=0)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_bounds_hold_and_are_tight(name):
    nodes, expected = CASES[name]
    made = model(nodes)
    found = bounds_of(Graph(made)).get("y", ANY)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    generator = np.random.default_rng(0)
    shape = tuple(dim.dim_value for dim in made.graph.input[0].type.tensor_type.shape.dim)
    for spread in (0.1, 3, 30):
        y = run_once(made, {"x": generator.normal(0, spread, shape).astype(np.float32)})["y"]
        assert found.low - 1e-5 <= y.min() <= y.max() <= found.high + 1e-5


def test_what_is_quantized_keeps_the_range_of_its_type():
    nodes = [SIGMOID, node("QuantizeLinear", ["s", "byte", "zero"], ["y"])]
    assert bounds_of(Graph(model(nodes, TensorProto.UINT8)))["y"] == Bounds(0, 255)


UNPROVEN: dict[str, Nodes] = {
    "share_of_signed_numbers": [node("Add", ["x", "one"], ["t"]), node("Div", ["x", "t"], ["y"])],
    "another_domain": [SIGMOID, node("Sigmoid", ["s"], ["y"], domain="net.example")],
}


@pytest.mark.parametrize("name", UNPROVEN)
def test_nothing_is_claimed_without_proof(name):
    made = model(UNPROVEN[name])
    made.opset_import.append(helper.make_opsetid("net.example", 1))
    assert bounds_of(Graph(made)).get("y", ANY) == ANY
