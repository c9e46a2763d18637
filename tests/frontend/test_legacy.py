"""Operators as the sets before 7 defined them: broadcasting at an axis, a slope per channel, types by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from portrait_export.errors import LoweringError
from portrait_export.frontend.convert import lower
from tests.cases.model import model_of, values
from tests.frontend.harness import mismatch, run_lowered

X, PER_CHANNEL = values(2, 3, 3), values(3, seed=1, low=0.1)
COLUMN = PER_CHANNEL.reshape(3, 1)


def _computed(op_type: str, feeds: dict[str, np.ndarray], params: dict[str, np.ndarray], **attrs: Any) -> np.ndarray:
    node = helper.make_node(op_type, [*feeds, *params], ["y"], **attrs)
    return run_lowered(lower(model_of([node], feeds, params, ["y"], opset=6)), feeds)["y"]


@pytest.mark.parametrize("constant", [True, False])
def test_an_operand_is_broadcast_at_its_axis(constant: bool) -> None:
    """numpy would broadcast these three numbers along the last dimension, which has three elements too."""
    feeds, small = {"x": X}, {"c": PER_CHANNEL}
    params = small if constant else {}
    found = _computed("Mul", feeds if constant else feeds | small, params, broadcast=1, axis=1)
    assert mismatch(X * COLUMN, found) == ""


def test_without_an_axis_an_operand_is_aligned_with_the_end() -> None:
    assert mismatch(X + PER_CHANNEL, _computed("Add", {"x": X}, {"c": PER_CHANNEL}, broadcast=1)) == ""


def test_constants_are_broadcast_at_their_axis_too() -> None:
    make = helper.make_node
    nodes = [make("Add", ["a", "c"], ["b"], broadcast=1, axis=1), make("Mul", ["x", "b"], ["y"])]
    model = model_of(nodes, {"x": X}, {"a": X, "c": PER_CHANNEL}, ["y"], opset=6)
    assert mismatch(X * (X + COLUMN), run_lowered(lower(model), {"x": X})["y"]) == ""


def test_a_slope_belongs_to_a_channel() -> None:
    expected = np.where(X < 0, X * COLUMN, X)
    assert mismatch(expected, _computed("PRelu", {"x": X}, {"slope": PER_CHANNEL})) == ""


def test_memory_hints_change_nothing() -> None:
    node = helper.make_node("LeakyRelu", ["x"], ["y"], alpha=0.5, consumed_inputs=[0])
    lowered = lower(model_of([node], {"x": X}, {}, ["y"], opset=1))
    assert mismatch(np.where(X < 0, X / 2, X), run_lowered(lowered, {"x": X})["y"]) == ""


def test_an_axis_that_does_not_fit_is_refused() -> None:
    small = {"c": values(3, 3)}
    node = helper.make_node("Add", ["x", "c"], ["y"], broadcast=1, axis=2)
    with pytest.raises(LoweringError, match=r"broadcasting of shape \(3, 3\) at axis 2 of rank 3"):
        lower(model_of([node], {"x": X}, small, ["y"], opset=6))
