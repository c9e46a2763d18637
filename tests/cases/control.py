"""Control flow that is decided before the model runs."""

from __future__ import annotations

import numpy as np
from onnx import helper

from .model import Case, values

X = {"x": values(2, 3)}


def _branch(op_type: str) -> object:
    """A branch that reads `x` from around it."""
    output = helper.make_tensor_value_info("out", 1, [2, 3])
    return helper.make_graph([helper.make_node(op_type, ["x"], ["out"])], op_type, [], [output])


BRANCHES = [
    Case(
        f"if_constant_{str(taken).lower()}",
        "If",
        X,
        {"c": np.asarray(taken)},
        ("c",),
        attrs={"then_branch": _branch("Relu"), "else_branch": _branch("Neg")},
    )
    for taken in (True, False)
]

FLOATS = helper.make_tensor_value_info("total", 1, [3])


def _body() -> object:
    """total + x[step], which is handed on; and, step by step, total · (step + 1), which is stacked."""
    make = helper.make_node
    nodes = [
        make("Gather", ["x", "step"], ["row"]),
        make("Add", ["sum", "row"], ["total"]),
        make("Cast", ["step"], ["number"], to=1),
        make("Mul", ["total", "number"], ["weighed"]),
        make("Identity", ["going"], ["goes"]),
    ]
    inputs = [
        helper.make_tensor_value_info("step", 7, []),
        helper.make_tensor_value_info("going", 9, []),
        helper.make_tensor_value_info("sum", 1, [3]),
    ]
    weighed = helper.make_tensor_value_info("weighed", 1, [3])
    return helper.make_graph(nodes, "body", inputs, [helper.make_tensor_value_info("goes", 9, []), FLOATS, weighed])


def _scanned() -> object:
    """A running sum, and its exponential."""
    nodes = [helper.make_node("Add", ["sum", "row"], ["total"]), helper.make_node("Exp", ["total"], ["power"])]
    inputs = [helper.make_tensor_value_info("sum", 1, [3]), helper.make_tensor_value_info("row", 1, [3])]
    return helper.make_graph(nodes, "scanned", inputs, [FLOATS, helper.make_tensor_value_info("power", 1, [3])])


LOOPS = [
    Case(
        "loop_of_known_length",
        "Loop",
        {**X, "start": values(3, seed=1)},
        {"n": np.asarray(2, np.int64), "go": np.asarray(True)},
        ("n", "go", "start"),
        outputs=2,
        attrs={"body": _body()},
    ),
    Case("scan_forward", "Scan", {"s": values(3), **X}, outputs=2, attrs={"body": _scanned(), "num_scan_inputs": 1}),
    Case(
        "scan_columns_backward",
        "Scan",
        {"s": values(3), "z": values(3, 4)},
        outputs=2,
        attrs={
            "body": _scanned(),
            "num_scan_inputs": 1,
            "scan_input_axes": [1],
            "scan_input_directions": [1],
            "scan_output_axes": [1],
            "scan_output_directions": [1],
        },
    ),
]

CASES = [*BRANCHES, *LOOPS]
