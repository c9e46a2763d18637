"""Test that a network of an old opset gives the same numbers at the opset to which it is brought, in ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from portrait_export.capture.foreign.adapt import OLDEST_OPSET, upgrade_opset
from portrait_export.capture.foreign.surgeon import opset_of
from portrait_export.capture.onnx.check import make_session, run_session

node = helper.make_node
X = np.random.default_rng(0).standard_normal((1, 4, 6, 8)).astype(np.float32)
SCALES = {
    "doubled": (2.0, 2.0), "tripled_in_height": (3.0, 1.0), "by_fractions": (1.7, 1.3), "halved": (0.5, 0.5),
    "shrunk_by_fractions": (0.7, 0.6), "shrunk_in_width": (1.0, 0.34),
}  # fmt: skip


def model_of(nodes: list[onnx.NodeProto], opset: int, outputs: int = 1, **constants: Any) -> onnx.ModelProto:
    """A graph from `x` (1, 4, 6, 8) to `y`, and perhaps `z`."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, list(X.shape))
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "yz"[:outputs]]
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "net", [x], results, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=4)


def assert_same_numbers(model: onnx.ModelProto) -> None:
    upgraded = upgrade_opset(model)
    assert opset_of(upgraded) >= OLDEST_OPSET
    expected, found = (run_session(make_session(each, optimize=False), {"x": X}) for each in (model, upgraded))
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-5)


RESIZES = [(opset, name) for opset in (7, 8, 9, 10) for name, s in SCALES.items() if opset == 10 or min(s) >= 1]


@pytest.mark.parametrize(("opset", "name"), RESIZES)
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_a_resize_by_factors(mode, opset, name):
    """Upsample, before opset 10, only enlarges."""
    scales = (1.0, 1.0, *SCALES[name])
    if opset < 9:
        assert_same_numbers(model_of([node("Upsample", ["x"], ["y"], mode=mode, scales=scales)], opset))
    else:
        resize = node("Upsample" if opset == 9 else "Resize", ["x", "s"], ["y"], mode=mode)
        assert_same_numbers(model_of([resize], opset, s=np.array(scales, np.float32)))


def test_a_resize_by_computed_factors():
    nodes = [
        node("Shape", ["x"], ["shape"]), node("Cast", ["shape"], ["sizes"], to=TensorProto.FLOAT),
        node("Div", ["sizes", "sizes"], ["ones"]), node("Mul", ["ones", "k"], ["s"]),
        node("Upsample", ["x", "s"], ["y"], mode="nearest"),
    ]  # fmt: skip
    assert_same_numbers(model_of(nodes, 9, k=np.array([1, 1, 1.7, 1.3], np.float32)))


@pytest.mark.parametrize("axis", [None, 0, 1, 2, 3])
@pytest.mark.parametrize("opset", [7, 12])
def test_a_hardmax_over_all_axes_from_its_own_on(opset, axis):
    attributes = {} if axis is None else {"axis": axis}
    assert_same_numbers(model_of([node("Hardmax", ["x"], ["y"], **attributes)], opset))


def test_a_resize_behind_a_hardmax_in_a_branch():
    inner = [
        node("Hardmax", ["x"], ["h"], name="hard"), node("Upsample", ["h", "s"], ["branch"], mode="linear"),
    ]  # fmt: skip
    scales = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "s")
    result = helper.make_tensor_value_info("branch", TensorProto.FLOAT, None)
    branch = helper.make_graph(inner, "branch", [], [result], [scales])
    nodes = [
        node("ReduceMax", ["x"], ["top"], keepdims=0), node("Greater", ["top", "zero"], ["positive"]),
        node("If", ["positive"], ["y"], then_branch=branch, else_branch=branch),
        node("Hardmax", ["x"], ["z"], axis=2),
    ]  # fmt: skip
    assert_same_numbers(model_of(nodes, 9, outputs=2, zero=np.float32(0)))


OTHERS: dict[str, tuple[range, list[onnx.NodeProto], dict[str, Any]]] = {
    "softmax_of_the_following_axes_together": (range(7, 13), [node("Softmax", ["x"], ["y"], axis=1)], {}),
    "log_softmax_without_an_axis": (range(7, 13), [node("LogSoftmax", ["x"], ["y"])], {}),
    "clip_by_attributes": (range(7, 11), [node("Clip", ["x"], ["y"], min=-0.5, max=0.25)], {}),
    "clip_from_below_alone": (range(7, 11), [node("Clip", ["x"], ["y"], min=-0.5)], {}),
    "pad_with_a_number": (range(7, 11), [node("Pad", ["x"], ["y"], pads=[0, 0, 1, 2, 0, 0, 2, 1], value=1.5)], {}),
    "pad_reflected": (range(7, 11), [node("Pad", ["x"], ["y"], pads=[0, 0, 1, 2, 0, 0, 2, 1], mode="reflect")], {}),
    "slice_by_attributes": (range(7, 10), [node("Slice", ["x"], ["y"], starts=[1, -3], ends=[3, 99], axes=[1, 3])], {}),
    "split_by_an_attribute": (range(7, 13), [node("Split", ["x"], ["y", "z"], axis=1, split=[1, 3])], {}),
    "sum_over_axes": (range(7, 13), [node("ReduceSum", ["x"], ["y"], axes=[1], keepdims=0)], {}),
    "dropout": (range(7, 13), [node("Dropout", ["x"], ["y"])], {}),
    "squeeze_and_unsqueeze": (
        range(7, 13), [node("Squeeze", ["x"], ["s"], axes=[0]), node("Unsqueeze", ["s"], ["y"], axes=[0, 4])], {},
    ),
    "batch_norm": (
        range(7, 13), [node("BatchNormalization", ["x", "g", "b", "m", "v"], ["y"], epsilon=1e-3)],
        {name: np.array([1, 2, 3, 4], np.float32) for name in "gbmv"},
    ),
    "the_largest_two": (
        range(7, 10), [node("TopK", ["x"], ["y", "i"], k=2, axis=1)], {},
    ),
    "a_power": (range(7, 13), [node("Pow", ["x", "e"], ["y"])], {"e": np.float32(2)}),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_an_operator_that_has_changed(name):
    opsets, nodes, constants = OTHERS[name]
    for opset in opsets:
        assert_same_numbers(model_of(nodes, opset, outputs=1 + ("z" in nodes[-1].output), **constants))
