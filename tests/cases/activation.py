"""Activations."""

from __future__ import annotations

import numpy as np

from .model import Case, values

X = {"x": values(2, 3, 4, 5)}
M = {"x": values(3, 4)}


def _plain(op_type: str, **attrs: object) -> Case:
    return Case(f"{op_type.lower()}_plain", op_type, X, attrs=attrs)


CASES = [
    *[_plain(op) for op in ("Sigmoid", "Tanh", "Softplus", "Softsign", "Relu", "Elu", "Selu", "LeakyRelu")],
    *[_plain(op) for op in ("HardSigmoid", "HardSwish", "Celu", "ThresholdedRelu", "Shrink", "Hardmax")],
    Case("relu_int32", "Relu", {"x": values(3, 4, dtype=np.int32)}),
    Case("relu_float16", "Relu", {"x": values(3, 4, dtype=np.float16)}),
    _plain("LogSoftmax"),
    Case("elu_alpha", "Elu", X, attrs={"alpha": 0.3}),
    Case("selu_attributes", "Selu", X, attrs={"alpha": 1.2, "gamma": 0.7}),
    Case("celu_alpha", "Celu", X, attrs={"alpha": 2.5}),
    Case("leaky_relu_alpha", "LeakyRelu", X, attrs={"alpha": 0.2}),
    Case("hard_sigmoid_attributes", "HardSigmoid", X, attrs={"alpha": 0.4, "beta": 0.3}),
    Case(
        "thresholded_relu_at_the_threshold",
        "ThresholdedRelu",
        {"x": np.asarray([0.5, 1, 2], "f")},
        attrs={"alpha": 1.0},
    ),
    Case("shrink_attributes", "Shrink", X, attrs={"lambd": 1.0, "bias": 0.5}),
    Case("mish_plain", "Mish", X, opset=18),
    Case("gelu_exact", "Gelu", X, opset=20),
    Case("gelu_tanh", "Gelu", X, opset=20, attrs={"approximate": "tanh"}),
    Case("swish_plain", "Swish", X, opset=24),
    Case("swish_alpha", "Swish", X, opset=24, attrs={"alpha": 1.7}),
    Case("prelu_per_channel", "PRelu", X, {"slope": values(3, 1, 1, seed=1)}),
    Case("prelu_per_channel_of_a_signal", "PRelu", {"x": values(2, 3, 4)}, {"slope": values(3, 1, seed=1)}),
    Case("prelu_per_channel_of_a_volume", "PRelu", {"x": values(1, 2, 3, 2, 2)}, {"slope": values(2, 1, 1, 1, seed=1)}),
    Case("prelu_one_slope", "PRelu", X, {"slope": values(1, seed=1)}),
    Case("prelu_per_element", "PRelu", X, {"slope": values(3, 4, 5, seed=1)}),
    Case("prelu_of_a_matrix", "PRelu", M, {"slope": values(4, seed=1)}),
    Case("prelu_computed_slope", "PRelu", {**X, "slope": values(3, 1, 1, seed=1)}),
    Case("softmax_last_axis", "Softmax", X),
    Case("softmax_axis_1", "Softmax", X, attrs={"axis": 1}),
    Case("softmax_large_values", "Softmax", {"x": np.asarray([[1000.0, 999.0, -1000.0]], "f")}),
    Case("softmax_before_13_flattens", "Softmax", X, opset=11),
    Case("softmax_before_13_axis_2", "Softmax", X, opset=11, attrs={"axis": 2}),
    Case("log_softmax_axis_1", "LogSoftmax", X, attrs={"axis": 1}),
    Case("log_softmax_large_values", "LogSoftmax", {"x": np.asarray([[1000.0, 999.0, 990.0]], "f")}),
    Case("log_softmax_before_13_flattens", "LogSoftmax", X, opset=11),
    Case("hardmax_first_of_equals", "Hardmax", {"x": np.asarray([[1, 3, 3, 2]], "f")}),
    Case("hardmax_axis_0", "Hardmax", X, attrs={"axis": 0}),
    Case("hardmax_before_13_flattens", "Hardmax", X, opset=11),
]
