"""Lower ONNX operators whose result is constant, without MIL operations: Shape, Size, EyeLike …"""

from __future__ import annotations

import numpy as np

from ..context import NodeContext
from ..refusals import Unsupported
from ..registry import lowers
from ..values import Value, Var


@lowers("Shape")
def shape(node: NodeContext) -> np.ndarray:
    """The shape of a tensor from `start` to `end`, which is constant because shapes are static."""
    dims = node.shape()
    end = node.attr("end")
    return np.asarray(dims[slice(node.attr("start", 0), len(dims) if end is None else end)], np.int64)


@lowers("Size")
def size(node: NodeContext) -> np.ndarray:
    """The number of elements of a tensor."""
    return np.asarray(np.prod(node.shape(), dtype=np.int64), np.int64)


@lowers("EyeLike")
def eye_like(node: NodeContext) -> np.ndarray:
    """Ones on the k-th diagonal of a matrix of the input's shape."""
    from onnx import helper

    dtype = node.attr("dtype")
    wanted = node.dtype() if dtype is None else helper.tensor_dtype_to_np_dtype(dtype)
    rows, columns = node.shape()
    return np.eye(rows, columns, k=node.attr("k", 0), dtype=wanted)


@lowers("Range")
def computed_range(node: NodeContext) -> Var:
    """Refused: ranges with constant ends are folded earlier, and one with computed ends has no static length."""
    raise Unsupported("its length depends on values that the model computes")


@lowers("ConstantOfShape", "Constant")
def computed_shape(node: NodeContext) -> Var:
    """Refused: constant shapes are folded earlier, and a computed shape is not static."""
    raise Unsupported("its shape depends on values that the model computes")


@lowers("OptionalHasElement", since=18)
def optional_has_element(node: NodeContext) -> np.ndarray:
    """True for a tensor, False for an omitted input."""
    return np.asarray(node.has(0))


@lowers("OptionalGetElement", since=18)
def optional_get_element(node: NodeContext) -> Value:
    """The tensor itself."""
    return node.value(0)
