"""Scales and shifts by channel keep ONNX's numbers through coremltools' passes, which take some for a batch norm."""

from __future__ import annotations

import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

from tests.cases.model import model_of, values

from ..harness import Trial, mismatch, run

SHAPES = {  # of the input, of the scale, of the shift
    "one_channel_becomes_several": ((1, 1, 5, 6), (1, 4, 1, 1), (1, 4, 1, 1)),
    "one_channel_becomes_several_without_a_batch": ((1, 1, 5, 6), (4, 1, 1), (4, 1, 1)),
    "one_shift_of_several_channels": ((1, 4, 5, 6), (1, 4, 1, 1), (1, 1, 1, 1)),
    "one_pixel_becomes_a_map": ((1, 4, 1, 1), (1, 4, 1, 1), (1, 4, 3, 3)),
    "a_scale_and_a_shift_of_each": ((1, 4, 5, 6), (1, 4, 1, 1), (4, 1, 1)),
    "a_batch_of_two": ((2, 1, 5, 6), (1, 4, 1, 1), (1, 4, 1, 1)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_scale_and_a_shift_by_channel(name):
    image, scale, shift = SHAPES[name]
    nodes = [
        helper.make_node("Log", ["x"], ["l"]),
        helper.make_node("Mul", ["k", "l"], ["m"]),
        helper.make_node("Add", ["b", "m"], ["a"]),
        helper.make_node("Exp", ["a"], ["y"]),
    ]
    feeds = {"x": values(*image, low=0.5, high=2)}
    model = model_of(nodes, feeds, {"k": values(*scale, seed=1), "b": values(*shift, seed=2)}, ["y"])
    [[found]] = run([Trial(name, model, feeds)])
    [expected] = ReferenceEvaluator(model).run(None, feeds)
    assert mismatch(expected, found) == ""
