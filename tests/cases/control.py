"""Control flow with constant conditions."""

from __future__ import annotations

import numpy as np
from onnx import helper

from .model import Case, values

X = {"x": values(2, 3)}


def _branch(op_type: str) -> object:
    """A branch that reads `x` from the outer graph."""
    output = helper.make_tensor_value_info("out", 1, [2, 3])
    return helper.make_graph([helper.make_node(op_type, ["x"], ["out"])], op_type, [], [output])


CASES = [
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
