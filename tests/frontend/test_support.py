"""Each operator of a model is listed with its status: lowering, function body, or neither."""

from __future__ import annotations

from onnx import helper

from portrait_export.frontend.support import operators
from tests.cases.model import model_of, values


def test_each_type_of_operator_has_its_status() -> None:
    make = helper.make_node
    nodes = [
        make("Relu", ["x"], ["a"], name="/relu"),
        make("Relu", ["a"], ["b"], name="/relu_1"),
        make("BlackmanWindow", ["n"], ["window"], name="/window"),
        make("Det", ["b"], ["y"], name="/det"),
    ]
    feeds = {"x": values(1, 3, 3)}
    model = model_of(nodes, feeds, {"n": values(1, low=4, high=8, dtype="int64").reshape(())}, ["y"])
    assert [(row.op_type, row.count, row.first, row.status) for row in operators(model)] == [
        ("BlackmanWindow", 1, "/window", "function"),
        ("Det", 1, "/det", "missing"),
        ("Relu", 2, "/relu", "lowered"),
    ]
