"""Lower ONNX lookups to MIL: Gather, GatherElements, GatherND, OneHot, TopK, Compress."""

from __future__ import annotations

import numpy as np

from ..context import NodeContext
from ..refusals import Unsupported
from ..registry import lowers
from ..values import MAX_RANK, AnyRank, OverRank, Tensor, Var, axis_of, narrow, shape_of
from ._common import select
from .tensor import around


def non_negative_indices(node: NodeContext, indices: Tensor, size: int | np.ndarray) -> Tensor:
    """Convert negative indices, which count from the end, to i + size."""
    if isinstance(indices, np.ndarray):
        return np.where(indices < 0, indices + size, indices).astype(np.int32)
    shifted = node.emit("add", x=indices, y=np.asarray(size, np.int32))
    negative = node.emit("less", x=indices, y=np.int32(0))
    return select(node, negative, shifted, indices)


def bools_as_ints(node: NodeContext, x: Tensor) -> Tensor:
    """Convert bools to int32, because MIL cannot gather or scatter bools; other types stay as they are."""
    return node.cast(x, np.int32) if node.dtype_of(x) == np.bool_ else x


@lowers("Gather")
def gather(node: NodeContext) -> AnyRank:
    """Elements along an axis; a constant range of indices becomes a slice."""
    axis = axis_of(node.attr("axis", 0), len(node.shape()))
    size = node.shape()[axis]
    x, indices = node.elements(0), non_negative_indices(node, node.x(1), size)
    if isinstance(indices, np.ndarray):
        if indices.size and (indices.min() < 0 or indices.max() >= size):
            raise Unsupported(f"indices outside a dimension of {size}")
        return _constant_gather(node, node.computed(x), indices, axis)
    x = node.var(0)
    result = node.emit("gather", x=bools_as_ints(node, x), indices=indices, axis=axis)
    return node.cast(result, node.dtype_of(x))


def _constant_gather(node: NodeContext, x: Var | OverRank, indices: np.ndarray, axis: int) -> AnyRank:
    shape = shape_of(x)
    if isinstance(x, OverRank):
        rows = node.take(node.reshape(x, around(shape, axis)), indices.reshape(-1), 1)
        return node.reshape_any_rank(rows, (*shape[:axis], *indices.shape, *shape[axis + 1 :]))
    if len(shape) + indices.ndim - 1 > MAX_RANK:
        taken = node.take(x, indices.reshape(-1), axis)
        return node.reshape_any_rank(taken, (*shape[:axis], *indices.shape, *shape[axis + 1 :]))
    taken = node.take(x, indices.reshape(-1), axis)
    if indices.ndim == 1:
        return taken
    if indices.ndim == 0:
        if len(shape) == 1:
            return node.reshape(taken, ())
        return node.emit("squeeze", x=taken, axes=np.asarray([axis], np.int32))
    return node.reshape(taken, (*shape[:axis], *indices.shape, *shape[axis + 1 :]))


@lowers("GatherElements", since=11)
def gather_elements(node: NodeContext) -> Var:
    """out[i, j, …] = x[index[i, j, …], j, …] along axis 0, and accordingly along other axes."""
    x, shape = node.var(0), node.shape(0)
    axis = axis_of(node.attr("axis", 0), len(shape))
    indices = non_negative_indices(node, node.x(1), shape[axis])
    for other, (size, wanted) in enumerate(zip(shape, shape_of(indices), strict=True)):
        if other != axis and size != wanted:
            x = node.take(x, np.arange(wanted), other)
    result = node.emit("gather_along_axis", x=bools_as_ints(node, x), indices=indices, axis=axis)
    return node.cast(result, node.dtype_of(x))


@lowers("GatherND", since=11)
def gather_nd(node: NodeContext) -> Var:
    """Slices at index tuples."""
    batch = node.attr("batch_dims", 0)
    shape, depth = node.shape(0), node.shape(1)[-1]
    sizes = np.asarray(shape[batch : batch + depth], np.int32)
    x = node.var(0)
    numbers, indices = bools_as_ints(node, x), non_negative_indices(node, node.x(1), sizes)
    result = node.emit("gather_nd", x=numbers, indices=indices, batch_dims=np.int32(batch))
    return node.cast(result, node.dtype_of(x))


@lowers("OneHot", since=9)
def one_hot(node: NodeContext) -> Var:
    """`on` where the class equals the index (negative ones count from the end), else `off`."""
    depth = int(np.asarray(node.const(1, "depth")).reshape(-1)[0])
    off, on = node.const(2, "values")
    raw = node.var(0)
    if node.dtype_of(raw).kind == "f":
        raw = node.cast(raw, np.int32)
    shape = shape_of(raw)
    axis = axis_of(node.attr("axis", -1), len(shape) + 1)
    indices = non_negative_indices(node, raw, depth)
    wide = (
        node.emit("expand_dims", x=indices, axes=np.asarray([axis], np.int32)) if shape else node.reshape(indices, (1,))
    )
    ramp = np.arange(depth, dtype=np.int32).reshape([-1 if i == axis else 1 for i in range(len(shape) + 1)])
    hot = node.emit("equal", x=wide, y=ramp)
    values = np.asarray(narrow(node.const(2, "values")))
    if values.dtype == np.bool_:
        return hot if on and not off else node.emit("logical_not", x=hot)
    return select(node, hot, values[1], values[0])


@lowers("TopK", since=10)
def top_k(node: NodeContext) -> tuple[Var, ...]:
    """The k largest (or smallest) elements along an axis, and their indices."""
    k = int(node.const(1, "k").reshape(-1)[0])
    return _top_k(node, k)


@lowers("TopK")
def top_k_by_attribute(node: NodeContext) -> tuple[Var, ...]:
    """Before opset 10: k is an attribute."""
    return _top_k(node, int(node.attr("k")))


def _top_k(node: NodeContext, k: int) -> tuple[Var, ...]:
    axis = axis_of(node.attr("axis", -1), len(node.shape()))
    node.ignore("sorted")
    return node.emit_all("topk", x=node.var(), k=np.int32(k), axis=axis, ascending=not node.attr("largest", 1))


@lowers("Compress", since=9)
def compress(node: NodeContext) -> Var:
    """The slices (or elements) where a constant condition holds."""
    picked = np.nonzero(node.const(1, "condition").reshape(-1))[0]
    axis, x = node.attr("axis"), node.var()
    if axis is None:
        x, axis = node.reshape(x, (int(np.prod(node.shape())),)), 0
    if not len(picked):
        raise Unsupported("an empty result")
    return node.take(x, picked, axis_of(axis, len(shape_of(x))))
