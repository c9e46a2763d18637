"""Lower ONNX sequences of tensors: their length and order are known, so they leave no op behind but the splits."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..context import Node, TensorSequence, Unsupported, axis_of, shape_of
from ..registry import lowers
from .tensor import join, parted


@lowers("SequenceConstruct", since=11)
def sequence_construct(node: Node) -> Any:
    """The inputs, in order."""
    return TensorSequence(tuple(node.x(index) for index in range(len(node.inputs))))


@lowers("SequenceEmpty", since=11)
def sequence_empty(node: Node) -> Any:
    """No tensor yet."""
    node.ignore("dtype")
    return TensorSequence(())


@lowers("SplitToSequence", since=11)
def split_to_sequence(node: Node) -> Any:
    """Parts of a tensor along an axis: of one size each by default, without that dimension if keepdims is off."""
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
    parts = parted(node, node.x(), axis, lengths)
    if not keep:
        parts = tuple(node.reshape(part, shape[:axis] + shape[axis + 1 :]) for part in parts)
    return TensorSequence(tuple(parts))


@lowers("SequenceAt", since=11)
def sequence_at(node: Node) -> Any:
    """The tensor at a constant position."""
    values = _sequence(node)
    return values[_position(node, 1, len(values))]


@lowers("SequenceInsert", since=11)
def sequence_insert(node: Node) -> Any:
    """The sequence with one more tensor: before a position of −n..n in the n there are, at the end by default."""
    values = list(_sequence(node))
    count = len(values)
    place = int(node.const(2, "position").reshape(-1)[0]) if node.has(2) else count
    if not -count <= place <= count:
        raise Unsupported(f"position {place} to insert at in a sequence of {count}")
    values.insert(place, node.x(1))
    return TensorSequence(tuple(values))


@lowers("SequenceErase", since=11)
def sequence_erase(node: Node) -> Any:
    """The sequence without one tensor, the last by default."""
    values = list(_sequence(node))
    del values[_position(node, 1, len(values)) if node.has(1) else -1]
    return TensorSequence(tuple(values))


@lowers("SequenceLength", since=11)
def sequence_length(node: Node) -> Any:
    """How many tensors."""
    return np.asarray(len(_sequence(node)), np.int64)


@lowers("ConcatFromSequence", since=11)
def concat_from_sequence(node: Node) -> Any:
    """All tensors one after the other along an axis, or stacked along a new one."""
    values = [node.as_var(value) for value in _sequence(node)]
    rank = len(shape_of(values[0]))
    if node.attr("new_axis", 0):
        return node.emit("stack", values=values, axis=axis_of(node.attr("axis"), rank + 1))
    return join(node, values, axis_of(node.attr("axis"), rank))


def _sequence(node: Node) -> tuple[Any, ...]:
    value = node.value(0)
    if not isinstance(value, TensorSequence):
        raise Unsupported("its input is not a sequence of known length")
    return value.values


def _position(node: Node, index: int, count: int) -> int:
    position = int(node.const(index, "position").reshape(-1)[0])
    if not -count <= position < count:
        raise Unsupported(f"position {position} in a sequence of {count}")
    return position + count if position < 0 else position
