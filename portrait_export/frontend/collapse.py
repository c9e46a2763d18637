"""Lower nodes of too many dimensions in fewer dimensions.

Core ML supports at most five. Dimensions of size 1 are dropped, and adjacent dimensions that the operator treats alike
become one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from . import collapse_norms
from .groups import Collapsed, alone, collapsed, grouped, merged, merged_around
from .values import MAX_RANK, TensorSequence, Value, axis_of, shape_of

if TYPE_CHECKING:
    from .context import NodeContext

# Each element of the result depends on one element of each input, which are broadcast against each other.
# fmt: off
ELEMENTWISE = frozenset((
    "Abs", "Acos", "Acosh", "Add", "And", "Asin", "Asinh", "Atan", "Atanh", "Cast", "Ceil", "Celu", "Clip", "Cos",
    "Cosh", "Div", "Elu", "Equal", "Erf", "Exp", "Floor", "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid",
    "HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu", "Less", "LessOrEqual", "Log", "Max", "Mean", "Min",
    "Mish", "Mod", "Mul", "Neg", "Not", "Or", "Pow", "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid",
    "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Swish", "Tan", "Tanh", "ThresholdedRelu",
    "Where", "Xor",
))
# fmt: on
FLATTENING = frozenset(("Softmax", "LogSoftmax", "Hardmax"))
AXIS_SINCE = 13  # before this opset, these operators flatten all dimensions from `axis` on
ALONG_AXIS = FLATTENING | {"LpNormalization"}
SLICE_SINCE, PAD_SINCE = 10, 11  # before these, their bounds are attributes
MATRIX = 2  # dimensions
PICKING = frozenset(("ArgMax", "ArgMin"))
_KINDS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
REDUCTIONS = frozenset(f"Reduce{kind}" for kind in _KINDS)


def fewer_dimensions(node: NodeContext) -> Collapsed | None:
    """The node in at most five dimensions; None if it needs no help, or cannot be helped."""
    given = [value for value in node.inputs if value is not None]
    if any(isinstance(value, TensorSequence) for value in given):
        return None
    if not given or all(len(shape_of(value)) <= MAX_RANK for value in given if not isinstance(value, TensorSequence)):
        return None
    collapse = _way(node)
    return None if collapse is None else collapse(node)


def _way(node: NodeContext) -> Callable[[NodeContext], Collapsed | None] | None:
    if node.op_type in ELEMENTWISE:
        return _elementwise
    if node.op_type in REDUCTIONS:
        return _reduction
    if node.op_type in FLATTENING and node.opset < AXIS_SINCE:
        return _flattened
    if node.op_type in PICKING | ALONG_AXIS:
        return _along_axis
    return _WAYS.get(node.op_type) or collapse_norms.WAYS.get(node.op_type)


def _elementwise(node: NodeContext) -> Collapsed | None:
    shapes = [() if value is None else node.shape(index) for index, value in enumerate(node.inputs)]
    result = np.broadcast_shapes(*shapes)
    aligned = [(1,) * (len(result) - len(shape)) + shape for shape in shapes]
    groups = grouped(result, lambda axis: tuple(shape[axis] == result[axis] for shape in aligned))
    inputs = [merged(node, value, shape, groups) for value, shape in zip(node.inputs, aligned, strict=True)]
    return collapsed(node, inputs, {}, groups, result)


def _reduction(node: NodeContext) -> Collapsed | None:
    shape = node.shape()
    given = node.ints(1, "axes") if node.has(1) else node.attributes.get("axes") or []
    if not given and node.attributes.get("noop_with_empty_axes", 0):
        return None
    axes = sorted(axis_of(int(axis), len(shape)) for axis in given) or list(range(len(shape)))
    groups = grouped(shape, lambda axis: axis in axes)
    reduced = [index for index, group in enumerate(groups) if group[0] in axes]
    if not reduced:  # only dimensions of size 1: one of them stays
        groups = [*groups, [axes[0]]]
        reduced = [len(groups) - 1]
    attributes = {"keepdims": 1, **({} if node.has(1) else {"axes": reduced})}
    inputs: list[Value | None] = [merged(node, node.value(0), shape, groups)]
    if node.has(1):
        inputs.append(np.asarray(reduced, np.int64))
    return collapsed(node, inputs, attributes, groups, _kept(node, shape, axes))


def _along_axis(node: NodeContext) -> Collapsed | None:
    shape = node.shape()
    axis = axis_of(node.attributes.get("axis", 0 if node.op_type in PICKING else -1), len(shape))
    groups = alone(axis, len(shape))
    picking = node.op_type in PICKING
    result = _kept(node, shape, [axis]) if picking else shape
    attributes = {"axis": 1, **({"keepdims": 1} if picking else {})}
    return collapsed(node, [merged(node, node.value(0), shape, groups)], attributes, groups, result)


def _flattened(node: NodeContext) -> Collapsed | None:
    shape = node.shape()
    axis = axis_of(node.attributes.get("axis", 1), len(shape))
    groups = [list(range(axis)), list(range(axis, len(shape)))]
    return collapsed(node, [merged(node, node.value(0), shape, groups)], {"axis": 1}, groups, shape)


def _concat(node: NodeContext) -> Collapsed | None:
    shapes = [node.shape(index) for index in range(len(node.inputs))]
    axis = axis_of(node.attributes["axis"], len(shapes[0]))
    groups = alone(axis, len(shapes[0]))
    inputs = [merged(node, value, shape, groups) for value, shape in zip(node.inputs, shapes, strict=True)]
    total = sum(shape[axis] for shape in shapes)
    return collapsed(node, inputs, {"axis": 1}, groups, (*shapes[0][:axis], total, *shapes[0][axis + 1 :]))


# Operators that change some dimensions, each by itself; the others are merged around them


def _slice(node: NodeContext) -> Collapsed | None:
    if node.opset < SLICE_SINCE:
        return None
    shape, starts, ends = node.shape(), node.ints(1, "starts"), node.ints(2, "ends")
    axes = [axis_of(axis, len(shape)) for axis in node.ints(3, "axes")] if node.has(3) else list(range(len(starts)))
    steps = node.ints(4, "steps") if node.has(4) else [1] * len(starts)
    picked = {
        axis: range(shape[axis])[start:end:step]
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True)
        if step
    }
    if len(picked) < len(axes) or not all(picked.values()):
        return None  # a step of 0, an axis twice, or nothing left
    changed = [axis for axis in axes if picked[axis] != range(shape[axis])]
    groups = merged_around(shape, changed)
    kept = [axes.index(axis) for axis in changed]
    given = [[values[index] for index in kept] for values in (starts, ends)]
    given += [[groups.index([axis]) for axis in changed], [steps[index] for index in kept]]
    inputs = [merged(node, node.value(0), shape, groups), *(np.asarray(values, np.int64) for values in given)]
    result = tuple(len(picked[axis]) if axis in picked else size for axis, size in enumerate(shape))
    return collapsed(node, inputs, {}, groups, result)


def _pad(node: NodeContext) -> Collapsed | None:
    if node.opset < PAD_SINCE:
        return None
    shape, pads = node.shape(), node.ints(1, "pads")
    axes = [axis_of(axis, len(shape)) for axis in node.ints(3, "axes")] if node.has(3) else list(range(len(shape)))
    both = dict(zip(axes, zip(pads[: len(axes)], pads[len(axes) :], strict=True), strict=True))
    groups = merged_around(shape, [axis for axis in axes if any(both[axis])])
    amounts = [both.get(group[0], (0, 0)) if len(group) == 1 else (0, 0) for group in groups]
    inputs: list[Value | None] = [merged(node, node.value(0), shape, groups)]
    inputs.append(np.asarray([side for sides in zip(*amounts, strict=True) for side in sides], np.int64))
    inputs += [node.value(2)] if node.has(2) else []
    result = tuple(size + sum(both.get(axis, (0, 0))) for axis, size in enumerate(shape))
    return collapsed(node, inputs, {}, groups, result)


def _cumsum(node: NodeContext) -> Collapsed | None:
    shape = node.shape()
    axis = axis_of(node.ints(1, "axis")[0], len(shape))
    groups = merged_around(shape, [axis])
    inputs = [merged(node, node.value(0), shape, groups), np.asarray(groups.index([axis]), np.int64)]
    return collapsed(node, inputs, {}, groups, shape)


def _matrices(node: NodeContext) -> Collapsed | None:
    """The last two dimensions stay."""
    shape = node.shape()
    groups = [list(range(len(shape) - MATRIX)), [len(shape) - 2], [len(shape) - 1]]
    return collapsed(node, [merged(node, node.value(0), shape, groups), *node.inputs[1:]], {}, groups, shape)


def _quantized(node: NodeContext) -> Collapsed | None:
    """The dimension along which scales and zero points change stays."""
    shape = node.shape()
    axis = axis_of(node.attributes.get("axis", 1), len(shape))
    if node.attributes.get("block_size", 0):
        return None
    groups = alone(axis, len(shape))
    inputs = [merged(node, node.value(0), shape, groups), *node.inputs[1:]]
    return collapsed(node, inputs, {"axis": 1}, groups, shape)


def _picked_elements(node: NodeContext) -> Collapsed | None:
    """GatherElements whose indices have the data's shape but for `axis`."""
    shape, wanted = node.shape(), node.shape(1)
    axis = axis_of(node.attributes.get("axis", 0), len(shape))
    if any(own != new for place, (own, new) in enumerate(zip(shape, wanted, strict=True)) if place != axis):
        return None
    groups = alone(axis, len(shape))
    inputs = [merged(node, node.value(index), node.shape(index), groups) for index in range(2)]
    return collapsed(node, inputs, {"axis": 1}, groups, wanted)


def _top_k(node: NodeContext) -> Collapsed | None:
    shape = node.shape()
    axis = axis_of(node.attributes.get("axis", -1), len(shape))
    groups = alone(axis, len(shape))
    count = node.ints(1, "k")[0] if node.has(1) else int(node.attributes["k"])
    inputs = [merged(node, node.value(0), shape, groups), *node.inputs[1:]]
    return collapsed(node, inputs, {"axis": 1}, groups, (*shape[:axis], count, *shape[axis + 1 :]))


def _mat_mul(node: NodeContext) -> Collapsed | None:
    """The matrices stay; the dimensions before them are broadcast as in an elementwise operator."""
    shapes = [node.shape(index) for index in range(2)]
    if any(len(shape) < MATRIX for shape in shapes):
        return None
    batch = np.broadcast_shapes(*(shape[:-MATRIX] for shape in shapes))
    aligned = [(1,) * (len(batch) + MATRIX - len(shape)) + shape for shape in shapes]
    groups = grouped(batch, lambda axis: tuple(shape[axis] == batch[axis] for shape in aligned))
    groups += [[len(batch)], [len(batch) + 1]]
    inputs = [merged(node, value, shape, groups) for value, shape in zip(node.inputs, aligned, strict=True)]
    return collapsed(node, inputs, {}, groups, (*batch, shapes[0][-2], shapes[1][-1]))


_WAYS: dict[str, Callable[[NodeContext], Collapsed | None]] = {
    "Concat": _concat,
    "Slice": _slice,
    "Pad": _pad,
    "CumSum": _cumsum,
    "MatMul": _mat_mul,
    "Trilu": _matrices,
    "QuantizeLinear": _quantized,
    "DequantizeLinear": _quantized,
    "GatherElements": _picked_elements,
    "TopK": _top_k,
}


def _kept(node: NodeContext, shape: tuple[int, ...], axes: Sequence[int]) -> tuple[int, ...]:
    """The shape of a reduction's result."""
    keep = node.attributes.get("keepdims", 1)
    return tuple(1 if axis in axes else size for axis, size in enumerate(shape) if keep or axis not in axes)
