"""Test that nodes out of order are sorted as ONNX Runtime sorts them, and that others stay as they are."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from portrait_export.capture.onnx.check import run_once
from portrait_export.capture.onnx.load import load_onnx
from portrait_export.capture.onnx.sort import sort_nodes
from portrait_export.errors import CaptureError

make = helper.make_node


def model(*nodes):
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy"]
    constants = [numpy_helper.from_array(np.array(2.0, np.float32), "k"), numpy_helper.from_array(np.array(True), "c")]
    graph = helper.make_graph(list(nodes), "g", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def names(graph):
    return [node.output[0] for node in graph.node]


RELU, DOUBLE, SUM = make("Relu", ["x"], ["a"]), make("Mul", ["a", "k"], ["b"]), make("Add", ["a", "b"], ["y"])


@pytest.mark.parametrize("order", [(SUM, DOUBLE, RELU), (DOUBLE, RELU, SUM), (RELU, SUM, DOUBLE)])
def test_nodes_out_of_order_are_sorted_when_a_file_is_read(order, tmp_path):
    onnx.save(model(*order), tmp_path / "m.onnx")
    loaded = load_onnx(tmp_path / "m.onnx")
    assert names(loaded.graph) == ["a", "b", "y"]
    assert run_once(loaded, {"x": np.array([1, -1], np.float32)})["y"].tolist() == [3, 0]


def test_nodes_in_order_keep_their_place():
    ordered = model(make("Neg", ["x"], ["unused"]), RELU, DOUBLE, SUM)
    before = ordered.SerializeToString()
    sort_nodes(ordered.graph)
    assert ordered.SerializeToString() == before


def test_what_a_branch_reads_counts_and_the_branch_is_sorted_too():
    out = helper.make_tensor_value_info("t", TensorProto.FLOAT, [2])
    branch = helper.make_graph([make("Add", ["p", "b"], ["t"]), make("Neg", ["a"], ["p"])], "then", [], [out])
    choice = make("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    unsorted = model(choice, DOUBLE, RELU)
    sort_nodes(unsorted.graph)
    assert names(unsorted.graph) == ["a", "b", "y"]
    assert names(unsorted.graph.node[2].attribute[0].g) == ["p", "t"]
    onnx.checker.check_model(unsorted)


@pytest.mark.parametrize(
    "nodes",
    [
        (make("Add", ["x", "b"], ["a"]), make("Neg", ["a"], ["b"]), make("Neg", ["b"], ["y"])),
        (make("Neg", ["x"], ["y"]), make("Relu", ["x"], ["y"])),
        (make("Neg", ["nowhere"], ["y"]),),
    ],
    ids=["cycle", "two_makers", "no_maker"],
)
def test_a_graph_without_an_order_is_refused(nodes, tmp_path):
    onnx.save(model(*nodes), tmp_path / "m.onnx")
    with pytest.raises(CaptureError, match="not a valid ONNX model"):
        load_onnx(tmp_path / "m.onnx")
