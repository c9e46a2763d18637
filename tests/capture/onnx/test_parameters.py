"""Test that parameters are counted wherever a model stores them."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from portrait_export.capture.onnx.cost import cost_of
from portrait_export.capture.onnx.parameters import float_tensors, parameters_of, recurrent_parts

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


def test_float_tensors_are_read_in_single_precision():
    made = model([CONSTANT, CONV], tensor(WEIGHT.astype(np.float16), "half"), SHAPE)
    found = float_tensors(made)
    assert sorted(found) == ["half", "w"]
    assert {value.dtype for value in found.values()} == {np.dtype(np.float32)}


def test_gates_of_recurrent_weights_are_found_apart_and_in_the_order_of_mil():
    weight = np.arange(2 * 8 * 3, dtype=np.float32).reshape(2, 8, 3)  # two directions, four gates of two
    layer = make("LSTM", ["x", "w", "r"], ["y"], hidden_size=2, direction="bidirectional")
    found = recurrent_parts(model([layer], tensor(weight, "w")), {"w": weight})
    assert len(found) == 2 * (10 + 1)
    assert np.array_equal(found["w[1] gates 2 to 2"], weight[1, 4:6])
    assert np.array_equal(found["w[0] gates 0 to 3"], weight[0])
    i, o, f, c = np.split(weight[0], 4)
    assert np.array_equal(found["w[0] gates (0, 2, 1, 3)"], np.concatenate([i, f, o, c]))
