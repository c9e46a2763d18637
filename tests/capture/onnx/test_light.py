"""Shapes, checks, other opsets and files of a model whose large weights are left out of the work."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from portrait_export.capture.onnx.check import run_once
from portrait_export.capture.onnx.light import (
    check_structure,
    convert_version,
    infer_shapes,
    is_large,
    read_model,
    without_weights,
    write_model,
)

WEIGHT = np.random.default_rng(0).normal(size=(64, 8, 3, 3)).astype(np.float32)
X = {"x": np.ones((1, 8, 6, 6), np.float32)}


def model() -> onnx.ModelProto:
    """A convolution with a large weight, reshaped by a small constant."""
    make = helper.make_node
    nodes = [make("Conv", ["x", "w"], ["c"], pads=[1] * 4), make("Reshape", ["c", "shape"], ["y"])]
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 6, 6])]
    outs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [64, 36])]
    constants = [numpy_helper.from_array(WEIGHT, "w"), numpy_helper.from_array(np.array([64, 36]), "shape")]
    graph = helper.make_graph(nodes, "g", ends, outs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_shapes_are_those_of_the_whole_model():
    whole = onnx.shape_inference.infer_shapes(model())
    assert list(infer_shapes(model()).graph.value_info) == list(whole.graph.value_info)
    assert [tensor.name for tensor in without_weights(model()).graph.initializer] == ["shape"]


def test_a_damaged_weight_is_found():
    damaged = model()
    check_structure(damaged)
    damaged.graph.initializer[0].raw_data = b""
    damaged.graph.initializer[0].ClearField("raw_data")
    with pytest.raises(onnx.checker.ValidationError, match="w"):
        check_structure(damaged)


def test_another_opset_keeps_the_weights_and_the_interface():
    converted = convert_version(model(), 20)
    assert [value.name for value in converted.graph.input] == ["x"]
    assert converted.opset_import[0].version == 20
    np.testing.assert_array_equal(run_once(converted, X)["y"], run_once(model(), X)["y"])


def test_a_written_model_is_read_as_it_was(tmp_path):
    write_model(model(), tmp_path / "net.onnx")
    assert (tmp_path / "net.weights").stat().st_size == WEIGHT.nbytes
    assert read_model(tmp_path / "net.onnx") == model()
    assert is_large(model().graph.initializer[0])
