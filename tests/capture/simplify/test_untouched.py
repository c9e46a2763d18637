"""Which weights onnxsim is not given, and that its result is the same without them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from portrait_export.capture.onnx.graph import Graph
from portrait_export.capture.onnx.light import is_large
from portrait_export.capture.simplify import folding
from portrait_export.capture.simplify.untouched import join, split, untouched

make = helper.make_node
GENERATOR = np.random.default_rng(0)
MATRIX = GENERATOR.normal(size=(64, 64)).astype(np.float32)
KERNEL = GENERATOR.normal(size=(16, 16, 4, 4)).astype(np.float32)
CHANNELS = {
    name: np.abs(GENERATOR.normal(size=16)).astype(np.float32) for name in ("scale", "shift", "mean", "variance")
}

# Nodes from `x` (1, 16, 64, 64) to `y`, reading the weights `matrix` and `kernel` → the weights that onnxsim leaves
# as they are.
CASES = {
    "matmul_and_conv": (
        [make("MatMul", ["x", "matrix"], ["a"]), make("Conv", ["a", "kernel"], ["y"])],
        {"matrix", "kernel"},
    ),
    "matrix_on_the_left": ([make("MatMul", ["matrix", "x"], ["y"])], {"matrix"}),
    "batch_norm_goes_into_the_kernel": (
        [make("Conv", ["x", "kernel"], ["a"]), make("BatchNormalization", ["a", *CHANNELS], ["y"])],
        set(),
    ),
    "transposed_before_it_is_read": (
        [make("Transpose", ["matrix"], ["t"]), make("MatMul", ["x", "t"], ["y"])],
        set(),
    ),
    "product_of_constants": (
        [make("MatMul", ["matrix", "matrix"], ["t"]), make("MatMul", ["x", "t"], ["y"])],
        set(),
    ),
    "product_with_a_shape": (
        [
            make("Shape", ["x"], ["s"]),
            make("Cast", ["s"], ["f"], to=TensorProto.FLOAT),
            make("Tile", ["f", "sixteen"], ["v"]),
            make("MatMul", ["v", "matrix"], ["t"]),
            make("Add", ["x", "t"], ["y"]),
        ],
        set(),
    ),
    "also_added": ([make("MatMul", ["x", "matrix"], ["a"]), make("Add", ["a", "matrix"], ["y"])], set()),
}


def model(nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    """A model of some nodes with the constants that they read."""
    constants = {"matrix": MATRIX, "kernel": KERNEL, **CHANNELS, "sixteen": np.array([16])}
    read = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16, 64, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, list("nchw"))],
        [numpy_helper.from_array(array, name) for name, array in constants.items() if name in read],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("case", CASES)
def test_onnxsim_gives_the_same_without_the_untouched_weights(case):
    nodes, wanted = CASES[case]
    source = model(nodes)
    assert untouched(source) == wanted
    light, weights = split(source)
    assert {tensor.name for tensor in light.graph.initializer if is_large(tensor)}.isdisjoint(wanted)
    folded = join(folding._run(light), weights)
    assert Graph(folded).to_model() == Graph(folding._run(source)).to_model()


def test_weights_that_a_branch_or_the_caller_reads_are_touched():
    inner = helper.make_graph([make("Identity", ["matrix"], ["out"])], "then", [], [onnx.ValueInfoProto(name="out")])
    source = model([make("MatMul", ["x", "matrix"], ["y"])])
    assert untouched(source) == {"matrix"}
    source.graph.node.append(make("If", ["condition"], ["z"], then_branch=inner, else_branch=inner))
    assert untouched(source) == set()
    source = model([make("MatMul", ["x", "matrix"], ["y"])])
    source.graph.output.append(onnx.ValueInfoProto(name="matrix"))
    assert untouched(source) == set()


def test_a_weight_that_nothing_reads_any_more_is_dropped():
    source = model([make("MatMul", ["x", "matrix"], ["unread"]), make("Relu", ["x"], ["y"])])
    light, weights = split(source)
    assert set(weights) == {"matrix"}
    folded = join(folding._run(light), weights)
    assert [tensor.name for tensor in folded.graph.initializer] == []
    assert [value.name for value in folded.graph.input] == ["x"]
