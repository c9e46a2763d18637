"""Lower ONNX lookups to MIL: Gather, GatherElements, GatherND, OneHot, TopK, Compress."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..context import Node, Unsupported, View, axis_of, shape_of
from ..registry import lowers
from ._common import select
from .tensor import around


def from_the_front(node: Node, indices: Any, size: int | np.ndarray) -> Any:
    """Indices with negative ones counted from the start: i + size where i < 0."""
    if isinstance(indices, np.ndarray):
        return np.where(indices < 0, indices + size, indices).astype(np.int32)
    shifted = node.emit("add", x=indices, y=np.asarray(size, np.int32))
    negative = node.emit("less", x=indices, y=np.int32(0))
    return select(node, negative, shifted, indices)


def numbers(node: Node, x: Any) -> tuple[Any, bool]:
    """Truth values as integers, because MIL gathers no bools; and whether they were."""
    if node.dtype_of(x) == np.bool_:
        return node.cast(x, np.int32), True
    return x, False


@lowers("Gather")
def gather(node: Node) -> Any:
    """Elements along an axis; a constant range of them is a slice."""
    axis = axis_of(node.attr("axis", 0), len(node.shape()))
    size = node.shape()[axis]
    x, indices = node.elements(0), from_the_front(node, node.x(1), size)
    if isinstance(indices, np.ndarray):
        if indices.size and (indices.min() < 0 or indices.max() >= size):
            raise Unsupported(f"indices outside a dimension of {size}")
        return _constant_gather(node, x if isinstance(x, View) else node.as_var(x), indices, axis)
    x, was_bool = numbers(node, node.var(0))
    result = node.emit("gather", x=x, indices=indices, axis=axis)
    return node.cast(result, np.bool_) if was_bool else result


def _constant_gather(node: Node, x: Any, indices: np.ndarray, axis: int) -> Any:
    shape = shape_of(x)
    if isinstance(x, View):
        taken = node.take(node.reshape(x, around(shape, axis)), indices.reshape(-1), 1)
        return node.reshape(taken, (*shape[:axis], *indices.shape, *shape[axis + 1 :]))
    taken = node.take(x, indices.reshape(-1), axis)
    if indices.ndim == 1:
        return taken
    if indices.ndim == 0:
        if len(shape) == 1:
            return node.reshape(taken, ())
        return node.emit("squeeze", x=taken, axes=np.asarray([axis], np.int32))
    return node.reshape(taken, (*shape[:axis], *indices.shape, *shape[axis + 1 :]))


@lowers("GatherElements", since=11)
def gather_elements(node: Node) -> Any:
    """out[i, j, …] = x[index[i, j, …], j, …] along axis 0, and so on for others."""
    x, shape = node.var(0), node.shape(0)
    axis = axis_of(node.attr("axis", 0), len(shape))
    indices = from_the_front(node, node.x(1), shape[axis])
    wanted = shape_of(indices)
    for other, (have, need) in enumerate(zip(shape, wanted, strict=True)):
        if other != axis and have != need:
            x = node.take(x, np.arange(need), other)
    x, was_bool = numbers(node, x)
    result = node.emit("gather_along_axis", x=x, indices=indices, axis=axis)
    return node.cast(result, np.bool_) if was_bool else result


@lowers("GatherND", since=11)
def gather_nd(node: Node) -> Any:
    """Slices at index tuples."""
    batch = node.attr("batch_dims", 0)
    shape, depth = node.shape(0), node.shape(1)[-1]
    sizes = np.asarray(shape[batch : batch + depth], np.int32)
    x, was_bool = numbers(node, node.var(0))
    result = node.emit("gather_nd", x=x, indices=from_the_front(node, node.x(1), sizes), batch_dims=np.int32(batch))
    return node.cast(result, np.bool_) if was_bool else result


@lowers("OneHot", since=9)
def one_hot(node: Node) -> Any:
    """on where the class is the index (negative ones count from the end), off elsewhere and for indices outside."""
    depth = int(np.asarray(node.const(1, "depth")).reshape(-1)[0])
    off, on = node.const(2, "values")
    indices = node.var(0)
    if node.dtype_of(indices).kind == "f":
        indices = node.cast(indices, np.int32)
    shape = shape_of(indices)
    axis = axis_of(node.attr("axis", -1), len(shape) + 1)
    indices = from_the_front(node, indices, depth)
    wide = (
        node.emit("expand_dims", x=indices, axes=np.asarray([axis], np.int32)) if shape else node.reshape(indices, (1,))
    )
    ramp = np.arange(depth, dtype=np.int32).reshape([-1 if i == axis else 1 for i in range(len(shape) + 1)])
    hot = node.emit("equal", x=wide, y=ramp)
    values = node.x(2)
    if values.dtype == np.bool_:
        return hot if on and not off else node.emit("logical_not", x=hot)
    return select(node, hot, values[1], values[0])


@lowers("TopK", since=10)
def top_k(node: Node) -> Any:
    """The k largest (or smallest) elements along an axis and where they were."""
    k = int(node.const(1, "k").reshape(-1)[0])
    return _top_k(node, k)


@lowers("TopK")
def top_k_by_attribute(node: Node) -> Any:
    """Before opset 10: k is an attribute."""
    return _top_k(node, int(node.attr("k")))


def _top_k(node: Node, k: int) -> Any:
    axis = axis_of(node.attr("axis", -1), len(node.shape()))
    node.ignore("sorted")
    return node.emit("topk", x=node.var(), k=np.int32(k), axis=axis, ascending=not node.attr("largest", 1))


@lowers("Compress", since=9)
def compress(node: Node) -> Any:
    """The slices (or elements) at which a constant condition holds."""
    picked = np.nonzero(node.const(1, "condition").reshape(-1))[0]
    axis, x = node.attr("axis"), node.var()
    if axis is None:
        x, axis = node.reshape(x, (int(np.prod(node.shape())),)), 0
    if not len(picked):
        raise Unsupported("an empty result")
    return node.take(x, picked, axis_of(axis, len(shape_of(x))))
