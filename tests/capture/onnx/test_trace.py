"""Every value of an ONNX model under ONNX Runtime, against the same arithmetic in numpy."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from portrait_export.capture.onnx.trace import OnnxTrace, size_bytes, values_of
from portrait_export.errors import CaptureError

X = np.array([[1.0, -2.0, 3.0]], np.float32)


@pytest.fixture
def model() -> onnx.ModelProto:
    """x → +b → Relu → Split in two → their sum: what ONNX Runtime would fuse if it were let."""
    box = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Add", ["x", "b"], ["moved"], name="add"),
        helper.make_node("Relu", ["moved"], ["positive"]),
        helper.make_node("Dropout", ["positive"], ["kept", ""]),
        helper.make_node("Identity", ["kept"], ["same"]),
        helper.make_node("ReduceSum", ["same"], ["y"], keepdims=0),
    ]
    weights = [helper.make_tensor("b", TensorProto.FLOAT, [3], [0.5, 0.5, -4.0])]
    graph = helper.make_graph(nodes, "g", [box("x", 1, [1, 3])], [box("y", 1, [])], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_values_come_in_order_with_kind_inputs_and_shape(model):
    assert [(v.name, v.kind, v.inputs, v.shape) for v in values_of(model)] == [
        ("moved", "Add", ("x", "b"), (1, 3)),
        ("positive", "Relu", ("moved",), (1, 3)),
        ("kept", "Dropout", ("positive",), (1, 3)),
        ("same", "Identity", ("kept",), (1, 3)),
        ("y", "ReduceSum", ("same",), ()),
    ]


def test_every_value_is_computed_and_the_model_stays_as_it_was(model):
    before = model.SerializeToString(deterministic=True)
    trace = OnnxTrace(model, [value.name for value in values_of(model)])
    found = trace.run({"x": X})
    assert list(found) == ["moved", "positive", "kept", "same", "y"]
    np.testing.assert_array_equal(found["moved"], X + np.array([0.5, 0.5, -4.0], np.float32))
    for name in ("positive", "kept", "same"):
        np.testing.assert_array_equal(found[name], [[1.5, 0, 0]])
    assert found["y"] == 1.5
    assert model.SerializeToString(deterministic=True) == before


def test_only_what_is_asked_for_is_given(model):
    assert list(OnnxTrace(model, ["same", "moved", "same"]).run({"x": X})) == ["same", "moved"]


def test_the_size_held_is_known_before(model):
    assert size_bytes(values_of(model), ["moved", "same", "elsewhere"]) == 24


def test_a_value_that_is_not_there_is_refused_with_the_nearest(model):
    with pytest.raises(CaptureError, match="computes no value named 'movd'") as caught:
        OnnxTrace(model, ["movd", "y"])
    assert caught.value.context == ("did you mean `moved`",)


def test_inputs_of_another_shape_are_an_error(model):
    with pytest.raises(CaptureError, match="cannot run"):
        OnnxTrace(model, ["y"]).run({"x": np.zeros((2, 5), np.float32)})
