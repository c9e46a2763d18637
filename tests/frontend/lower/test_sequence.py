"""Sequences that are built step by step."""

from __future__ import annotations

import numpy as np
from onnx import helper

from portrait_export.frontend.convert import lower
from tests.cases.model import model_of, values
from tests.frontend.harness import run_lowered

A, B = values(2, 3), values(2, 3, seed=1)


def test_empty_insert_erase_and_concat() -> None:
    make = helper.make_node
    nodes = [
        make("SequenceEmpty", [], ["s0"]),
        make("SequenceInsert", ["s0", "a"], ["s1"]),
        make("SequenceInsert", ["s1", "b"], ["s2"]),
        make("SequenceInsert", ["s2", "b", "first"], ["s3"]),
        make("SequenceErase", ["s3"], ["s4"]),
        make("ConcatFromSequence", ["s4"], ["y"], axis=0),
    ]
    lowered = lower(model_of(nodes, {"a": A, "b": B}, {"first": np.asarray(0, np.int64)}, ["y"]))
    operations = [op.op_type for op in lowered.program.functions["main"].operations if op.op_type != "const"]
    assert operations == ["concat"]
    assert np.array_equal(run_lowered(lowered, {"a": A, "b": B})["y"], np.concatenate([B, A]))
