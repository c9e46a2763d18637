"""Lower ONNX sequences of tensors, whose length and order are known: SequenceConstruct, SequenceAt …"""

from __future__ import annotations

import numpy as np

from ..context import NodeContext
from ..refusals import Unsupported
from ..registry import lowers
from ..values import Tensor, TensorSequence, Var, axis_of, shape_of
from .tensor import join, split_tensor


@lowers("SequenceConstruct", since=11)
def sequence_construct(node: NodeContext) -> TensorSequence:
    """The inputs, in order."""
    return TensorSequence(tuple(node.x(index) for index in range(len(node.inputs))))


@lowers("SequenceEmpty", since=11)
def sequence_empty(node: NodeContext) -> TensorSequence:
    """An empty sequence."""
    node.ignore("dtype")
    return TensorSequence(())


@lowers("SplitToSequence", since=11)
def split_to_sequence(node: NodeContext) -> TensorSequence:
    """Parts of a tensor along an axis, of size 1 by default; without that dimension if keepdims is 0."""
    shape = node.shape()
    axis = axis_of(node.attr("axis", 0), len(shape))
    keep = bool(node.attr("keepdims", 1)) or node.has(1)
    sizes = node.optional_const(1, "split")
    if sizes is None:
        lengths = [1] * shape[axis]
    elif sizes.ndim == 0:
        whole, rest = divmod(shape[axis], int(sizes))
        lengths = [int(sizes)] * whole + ([rest] if rest else [])
    else:
        lengths = [int(size) for size in sizes]
    parts = split_tensor(node, node.x(), axis, lengths)
    if not keep:
        parts = tuple(node.reshape(part, shape[:axis] + shape[axis + 1 :]) for part in parts)
    return TensorSequence(parts)


@lowers("SequenceAt", since=11)
def sequence_at(node: NodeContext) -> Tensor:
    """The tensor at a constant position."""
    values = _sequence(node)
    return values[_position(node, 1, len(values))]


@lowers("SequenceInsert", since=11)
def sequence_insert(node: NodeContext) -> TensorSequence:
    """The sequence with one more tensor, inserted before a position in −n..n; at the end by default."""
    values = list(_sequence(node))
    count = len(values)
    position = int(node.const(2, "position").reshape(-1)[0]) if node.has(2) else count
    if not -count <= position <= count:
        raise Unsupported(f"insertion at position {position} of a sequence of {count}")
    values.insert(position, node.x(1))
    return TensorSequence(tuple(values))


@lowers("SequenceErase", since=11)
def sequence_erase(node: NodeContext) -> TensorSequence:
    """The sequence without one tensor, the last by default."""
    values = list(_sequence(node))
    del values[_position(node, 1, len(values)) if node.has(1) else -1]
    return TensorSequence(tuple(values))


@lowers("SequenceLength", since=11)
def sequence_length(node: NodeContext) -> np.ndarray:
    """The number of tensors."""
    return np.asarray(len(_sequence(node)), np.int64)


@lowers("ConcatFromSequence", since=11)
def concat_from_sequence(node: NodeContext) -> Var:
    """All tensors concatenated along an axis, or stacked along a new one."""
    values = [node.as_var(value) for value in _sequence(node)]
    rank = len(shape_of(values[0]))
    if node.attr("new_axis", 0):
        return node.emit("stack", values=values, axis=axis_of(node.attr("axis"), rank + 1))
    return join(node, values, axis_of(node.attr("axis"), rank))


def _sequence(node: NodeContext) -> tuple[Tensor, ...]:
    value = node.value(0)
    if not isinstance(value, TensorSequence):
        raise Unsupported("its input is not a sequence of known length")
    return value.values


def _position(node: NodeContext, index: int, count: int) -> int:
    position = int(node.const(index, "position").reshape(-1)[0])
    if not -count <= position < count:
        raise Unsupported(f"position {position} in a sequence of {count}")
    return position + count if position < 0 else position
