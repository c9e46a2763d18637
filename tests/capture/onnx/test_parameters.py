"""Test that parameters are counted wherever a model stores them."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from portrait_export.capture.onnx.cost import cost_of
from portrait_export.capture.onnx.parameters import parameters_of

WEIGHT = np.ones((1, 3, 2, 2), np.float32)
make = helper.make_node


def tensor(array, name):
    return numpy_helper.from_array(np.asarray(array), name)


def model(nodes, *constants):
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 4])]
    outs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "g", ends, outs, list(constants))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


CONV = make("Conv", ["x", "w"], ["y"])
CONSTANT = make("Constant", [], ["w"], value=tensor(WEIGHT, "value"))
DECODE = make("DequantizeLinear", ["q", "s", "z"], ["w"])
INT8 = [tensor(WEIGHT.astype(np.int8), "q"), tensor(np.float32(0.1), "s"), tensor(np.int8(0), "z")]
SHAPE = tensor(np.array([1, 3, 4, 4]), "shape")
MODELS = {
    "initializer": (model([CONV], tensor(WEIGHT, "w")), 12),
    "constant_node": (model([CONSTANT, CONV]), 12),
    "int8_weight_and_its_scale": (model([DECODE, CONV], *INT8), 12 + 1),
    "a_shape_is_none": (model([make("Reshape", ["x", "shape"], ["y"])], SHAPE), 0),
}


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_counted_wherever_they_are_stored(name):
    made, expected = MODELS[name]
    assert parameters_of(made) == expected
    assert cost_of(made).parameters == expected
