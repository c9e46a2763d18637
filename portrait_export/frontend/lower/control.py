"""Lower ONNX control flow that is decided before the model runs: one branch of an If, each step of a Loop or Scan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..context import Node, TensorSequence, Unsupported, axis_of, narrow, shape_of
from ..registry import lowers

MAX_STEPS = 512  # of a loop that is written out


@lowers("If")
def constant_if(node: Node) -> Any:
    """The branch that the constant condition takes, in place of the If."""
    condition = node.value(0)
    branches = node.attr("then_branch"), node.attr("else_branch")
    if not node.is_const(0):
        raise Unsupported("its condition is computed by the model; both branches would have to have one static shape")
    taken = bool(condition.reshape(-1)[0])
    return node.converter.lower_graph(branches[0 if taken else 1], node.name)


@lowers("Loop")
def constant_loop(node: Node) -> Any:
    """The body once per step, if the number of steps is known: carried values, then one stack per scan output."""
    body, carried = node.attr("body"), list(node.inputs[2:])
    steps = int(node.const(0, "trip count").reshape(-1)[0]) if node.has(0) else MAX_STEPS + 1
    condition: Any = node.const(1, "condition") if node.has(1) else np.asarray(True)
    rows: list[list[Any]] = []
    for step in range(max(steps, 0)):
        if not isinstance(condition, np.ndarray):
            raise Unsupported("its condition is computed by the model; how often it runs must be known")
        if not condition.reshape(-1)[0]:
            break
        if step == MAX_STEPS:
            raise Unsupported(f"more than {MAX_STEPS} steps; so many are not written out")
        inputs = [np.asarray(step, np.int64), condition, *carried]
        condition, *values = node.converter.lower_graph(body, f"{node.name}_{step}", inputs)
        carried = values[: len(carried)]
        rows.append(values[len(carried) :])
    return [*carried, *_stacked(node, rows, len(body.output) - 1 - len(carried))]


@lowers("Scan", since=9)
def scan(node: Node) -> Any:
    """The body once per slice of the scanned inputs: carried values, then one stack per scan output."""
    body, count = node.attr("body"), node.attr("num_scan_inputs")
    states = list(node.inputs[: len(node.inputs) - count])
    scanned = range(len(states), len(node.inputs))
    axes = node.attr("scan_input_axes", [0] * count)
    axes = [axis_of(a, len(node.shape(i))) for i, a in zip(scanned, axes, strict=True)]
    backward = node.attr("scan_input_directions", [0] * count)
    lengths = {node.shape(i)[a] for i, a in zip(scanned, axes, strict=True)}
    if len(lengths) != 1 or max(lengths) > MAX_STEPS:
        raise Unsupported(f"scans over {sorted(lengths)} slices; one length up to {MAX_STEPS} is written out")
    length, rows = lengths.pop(), []
    for step in range(length):
        slices = [
            _slice(node, node.value(i), length - 1 - step if back else step, axis)
            for i, axis, back in zip(scanned, axes, backward, strict=True)
        ]
        values = node.converter.lower_graph(body, f"{node.name}_{step}", [*states, *slices])
        states = values[: len(states)]
        rows.append(values[len(states) :])
    outs = len(body.output) - len(states)
    directions = node.attr("scan_output_directions", [0] * outs)
    return [*states, *_stacked(node, rows, outs, node.attr("scan_output_axes", [0] * outs), directions)]


def _slice(node: Node, value: Any, index: int, axis: int) -> Any:
    if isinstance(value, TensorSequence):
        raise Unsupported("a sequence of tensors")
    shape = shape_of(value)
    return node.reshape(node.take(value, np.asarray([index]), axis), (*shape[:axis], *shape[axis + 1 :]))


def _stacked(
    node: Node, rows: list[list[Any]], count: int, axes: Sequence[int] = (), backward: Sequence[int] = ()
) -> list[Any]:
    """What the body handed out step by step, as one tensor per output."""
    if not rows and count:
        raise Unsupported("no step, so that what it hands out is empty")
    results = []
    for index in range(count):
        values = [row[index] for row in rows][:: -1 if backward and backward[index] else 1]
        axis = axis_of(axes[index] if axes else 0, len(shape_of(values[0])) + 1)
        if all(isinstance(value, np.ndarray) for value in values):
            results.append(np.stack(values, axis))
            continue
        columns = [node.as_var(narrow(v) if isinstance(v, np.ndarray) else v) for v in values]
        truth = node.dtype_of(columns[0]) == np.bool_
        stacked = node.emit("stack", values=[node.cast(c, np.int32) if truth else c for c in columns], axis=axis)
        results.append(node.cast(stacked, np.bool_) if truth else stacked)
    return results
