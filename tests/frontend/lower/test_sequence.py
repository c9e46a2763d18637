"""Sequences that are built by several nodes."""

from __future__ import annotations

import numpy as np
import pytest
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


@pytest.mark.parametrize(("position", "order"), [(-2, "cab"), (-1, "acb"), (1, "acb"), (2, "abc")])
def test_insert_counts_from_the_end_of_what_is_there(position: int, order: str) -> None:
    """As Python's list.insert: −1 is before the last tensor, not after it. (The bounds are ONNX's −n..n.)"""
    make = helper.make_node
    nodes = [
        make("SequenceConstruct", ["a", "b"], ["s0"]),
        make("SequenceInsert", ["s0", "c", "p"], ["s1"]),
        make("ConcatFromSequence", ["s1"], ["y"], axis=0),
    ]
    feeds = {"a": A, "b": B, "c": values(2, 3, seed=2)}
    lowered = lower(model_of(nodes, feeds, {"p": np.asarray(position, np.int64)}, ["y"]))
    assert np.array_equal(run_lowered(lowered, feeds)["y"], np.concatenate([feeds[name] for name in order]))
