"""Test that small ONNX files which would take more memory than any machine has are refused before they are computed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from portrait_export.capture.foreign.computed import computed
from portrait_export.capture.onnx.bounds import LARGEST_DATA, followed
from portrait_export.capture.onnx.graph import Graph
from portrait_export.capture.onnx.load import load_onnx
from portrait_export.errors import CaptureError
from portrait_export.utils.growth import outputs_are_bounded

SECONDS = 5.0  # each case takes some milliseconds; what it would compute takes minutes, or all memory
make = helper.make_node


def ints(name: str, *values: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def number(name: str, value: float) -> onnx.TensorProto:
    return numpy_helper.from_array(np.float32(value), name)


TWO = numpy_helper.from_array(np.ones(2, np.float32), "c0")


def model(
    nodes: Sequence[onnx.NodeProto],
    stored: Sequence[onnx.TensorProto] = (),
    sides: Sequence[Any] = (1, 3, 32, 32),
    functions: Sequence[onnx.FunctionProto] = (),
) -> onnx.ModelProto:
    """A model of some nodes, the last of which is summed up and added to the input."""
    last = nodes[-1].output[0] if nodes else "x"
    ends = [make("ReduceSum", [last], ["sum"]), make("Add", ["x", "sum"], ["y"])]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", sides), ("y", [None] * 4))
    ]
    graph = helper.make_graph([*nodes, *ends], "g", values[:1], values[1:], list(stored))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=list(functions))


def doubling(times: int) -> list[onnx.NodeProto]:
    return [make("Concat", [f"c{index}"] * 2, [f"c{index + 1}"], axis=0) for index in range(times)]


def calling(times: int) -> onnx.ModelProto:
    """Functions that call the one before them twice."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    functions = [helper.make_function("own", "F0", ["a"], ["b"], [make("Relu", ["a"], ["b"])], opsets)]
    for index in range(1, times):
        calls = [make(f"F{index - 1}", [read], [made], domain="own") for read, made in (("a", "m"), ("m", "b"))]
        functions.append(helper.make_function("own", f"F{index}", ["a"], ["b"], calls, opsets))
    return model([make(f"F{times - 1}", ["x"], ["z"], domain="own")], functions=functions)


def branching() -> onnx.ModelProto:
    """A large constant in a branch of If."""
    ones = numpy_helper.from_array(np.ones((1, 1), np.float32), "o")
    stored = [ones, ints("s", 10**5, 10**5)]
    branches = []
    for name, nodes, read in (("large", [make("Expand", ["o", "s"], ["z"])], "z"), ("small", [], "o")):
        end = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        branches.append(helper.make_graph([*nodes, make("ReduceSum", [read], [name])], name, [], [end], stored))
    choice = make("If", ["yes"], ["r"], then_branch=branches[0], else_branch=branches[1])
    return model([choice], [numpy_helper.from_array(np.array(True), "yes")])


REFUSED: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "input_of_millions": (lambda: model([], sides=(1, 3, 10**6, 10**6)), "input 'x' has the shape 1×3×1000000×1000000"),
    "input_of_unknown_batch": (lambda: model([], sides=("n", 3, 10**6, 10**6)), "input 'x' has the shape 3×1000000"),
    "doubled_constant": (lambda: model(doubling(40), [TWO]), "Concat makes the constant value 'c29'"),
    "range": (
        lambda: model([make("Range", ["a", "b", "c"], ["z"])], [number("a", 0), number("b", 3e9), number("c", 1)]),
        "Range makes the constant value 'z' of 3000000000",
    ),
    "expanded": (
        lambda: model([make("Expand", ["o", "s"], ["z"])], [number("o", 1), ints("s", 10**5, 10**5)]),
        "Expand makes the constant value 'z' of 100000×100000",
    ),
    "filled_by_a_computed_shape": (
        lambda: model(
            [make("Mul", ["s", "s"], ["t"]), make("ConstantOfShape", ["t"], ["z"])], [ints("s", 10**4, 10**3)]
        ),
        "ConstantOfShape makes the constant value 'z' of 100000000×1000000",
    ),
    "tiled_activation": (
        lambda: model([make("Tile", ["x", "s"], ["z"])], [ints("s", 1, 1, 10**5, 10**5)]),
        "Tile makes the value 'z' of 1×3×3200000×3200000",
    ),
    "expanded_in_a_branch": (lambda: branching(), "Expand makes the constant value 'z' of 100000×100000"),
    "functions_that_call_twice": (lambda: calling(40), "with its functions' bodies it has more than 1,000,000 nodes"),
    "functions_in_a_long_chain": (lambda: calling(3000), "with its functions' bodies it has more than 1,000,000 nodes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_would_fill_the_memory_is_refused_at_once(tmp_path: Path, name: str) -> None:
    built, words = REFUSED[name]
    (tmp_path / "m.onnx").write_bytes(built().SerializeToString())
    started = time.monotonic()
    with pytest.raises(CaptureError, match=r"m\.onnx would take more memory than a network does") as caught:
        load_onnx(tmp_path / "m.onnx")
    assert time.monotonic() - started < SECONDS
    assert words in caught.value.context[0]
    assert len(caught.value.context) <= 13


READ: dict[str, Callable[[], onnx.ModelProto]] = {
    "an_input_of_12_megapixels": lambda: model([], sides=(1, 3, 3000, 4000)),
    "a_side_that_is_not_known": lambda: model([], sides=(-1, 3, 32, 32)),
    "some_doublings": lambda: model(doubling(10), [TWO]),
    "some_functions": lambda: calling(8),
}


@pytest.mark.parametrize("name", READ)
def test_an_ordinary_file_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "m.onnx").write_bytes(READ[name]().SerializeToString())
    load_onnx(tmp_path / "m.onnx")


def test_numbers_are_followed_where_they_are_known_alone() -> None:
    assert followed(model(doubling(3), [TWO])) == 4 + 8 + 16
    assert followed(model(doubling(40), [TWO])) > LARGEST_DATA
    nodes = [make("Relu", ["x"], ["c0"]), *doubling(40)]
    assert followed(model(nodes)) == 0  # a network may concatenate its activations as often as it likes


def test_a_constant_that_is_computed_is_bounded_too() -> None:
    stored = [number("a", 0), number("b", 1e5), number("c", 1)]
    nodes = [make("Mul", ["b", "b"], ["limit"]), make("Range", ["a", "limit", "c"], ["z"])]
    graph = Graph(model(nodes, stored))
    assert computed(graph, "limit") == pytest.approx(1e10)
    assert computed(graph, "z") is None


@pytest.mark.parametrize(("limit", "bounded"), [(1e5, True), (3e9, False)])
def test_the_size_of_a_nodes_outputs_is_known_before_it_is_computed(limit: float, bounded: bool) -> None:
    given = {"a": np.float32(0), "b": np.float32(limit), "c": np.float32(1)}
    node = make("Range", ["a", "b", "c"], ["z"])
    assert outputs_are_bounded(node, {name: np.asarray(value) for name, value in given.items()}, 17) is bounded
