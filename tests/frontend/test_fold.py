"""Nodes with constant inputs are computed at conversion, as their operator set defines them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from portrait_export.errors import LoweringError
from portrait_export.frontend.convert import lower
from tests.cases.model import Case, model_of, values
from tests.frontend.harness import mismatch, run_lowered

X = values(2, 3, 3)


@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax", "Hardmax"])
def test_constants_are_folded_as_their_operator_set_says(op_type: str) -> None:
    """Before opset 13 a softmax is over all dimensions from its axis on, for constant and computed tensors."""
    case = Case("x", op_type, {"x": X}, opset=11, attrs={"axis": 1})
    make = helper.make_node
    nodes = [make(op_type, ["c"], ["s"], axis=1), make("Add", ["s", "z"], ["y"])]
    folded = lower(model_of(nodes, {"z": np.zeros_like(X)}, {"c": X}, ["y"], opset=11))
    computed = run_lowered(lower(case.model()), {"x": X})["y0"]
    assert mismatch(computed, run_lowered(folded, {"z": np.zeros_like(X)})["y"]) == ""


def _dequantized(weight: onnx.TensorProto, scale: np.ndarray, **attrs: int) -> np.ndarray:
    """1 × DequantizeLinear(weight), as the package computes it."""
    make = helper.make_node
    nodes = [make("DequantizeLinear", ["w", "s"], ["d"], **attrs), make("Mul", ["x", "d"], ["y"])]
    ones = np.ones(list(weight.dims), np.float32)
    model = model_of([nodes[1]], {"x": ones}, {"d": ones}, ["y"], opset=21)
    model.graph.node.insert(0, nodes[0])
    del model.graph.initializer[:]
    model.graph.initializer.extend([weight, onnx.numpy_helper.from_array(scale, "s")])
    return run_lowered(lower(model), {"x": ones})["y"]


@pytest.mark.parametrize("dtype", [TensorProto.INT8, TensorProto.UINT8, TensorProto.INT4, TensorProto.UINT4])
def test_blocks_of_quantized_weights(dtype: int) -> None:
    whole = np.arange(24).reshape(4, 6) % 8
    scale = values(4, 3, low=0.1)
    weight = helper.make_tensor("w", dtype, whole.shape, whole.reshape(-1))
    assert mismatch(whole * np.repeat(scale, 2, 1), _dequantized(weight, scale, axis=1, block_size=2)) == ""


def test_weights_quantized_along_their_last_axis() -> None:
    whole = np.arange(24).reshape(4, 6) - 12
    scale = values(6, low=0.1)
    weight = helper.make_tensor("w", TensorProto.INT8, whole.shape, whole.reshape(-1))
    assert mismatch(whole * scale, _dequantized(weight, scale, axis=-1)) == ""


def test_a_constant_that_no_memory_holds_is_refused_before_it_is_computed() -> None:
    """Its size is known only once the product is computed, so no shape in the file tells it."""
    make = helper.make_node
    nodes = [
        make("Mul", ["b", "b"], ["limit"]),
        make("Range", ["a", "limit", "c"], ["r"]),
        make("ReduceSum", ["r"], ["s"]),
        make("Add", ["x", "s"], ["y"]),
    ]
    constants = {name: np.float32(value) for name, value in (("a", 0), ("b", 1e5), ("c", 1))}
    with pytest.raises(LoweringError) as caught:
        lower(model_of(nodes, {"x": X}, constants, ["y"], opset=17))
    assert "would have more than 536,870,912 elements" in str(caught.value)
