"""Lower ONNX constants to arrays: Shape, Size, ConstantOfShape, Range, EyeLike … None of them leaves an op behind."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..context import Node, Unsupported
from ..registry import lowers


@lowers("Shape")
def shape(node: Node) -> Any:
    """The shape of a tensor, or the part of it from `start` to `end`: known, because shapes are static."""
    dims = node.shape()
    end = node.attr("end")
    return np.asarray(dims[slice(node.attr("start", 0), len(dims) if end is None else end)], np.int64)


@lowers("Size")
def size(node: Node) -> Any:
    """How many elements a tensor has."""
    return np.asarray(np.prod(node.shape(), dtype=np.int64), np.int64)


@lowers("EyeLike")
def eye_like(node: Node) -> Any:
    """Ones on the k-th diagonal of a matrix of the input's shape."""
    from onnx import helper

    dtype = node.attr("dtype")
    wanted = node.dtype() if dtype is None else helper.tensor_dtype_to_np_dtype(dtype)
    rows, columns = node.shape()
    return np.eye(rows, columns, k=node.attr("k", 0), dtype=wanted)


@lowers("Range")
def computed_range(node: Node) -> Any:
    """Constant ranges are folded before; one whose ends are computed has no static length."""
    raise Unsupported("its length depends on values that the model computes")


@lowers("ConstantOfShape", "Constant")
def computed_shape(node: Node) -> Any:
    """Constant shapes are folded before; a computed one is not static."""
    raise Unsupported("its shape depends on values that the model computes")


@lowers("OptionalHasElement", since=18)
def optional_has_element(node: Node) -> Any:
    """True for a tensor, False for an input that is left out."""
    return np.asarray(node.has(0))


@lowers("OptionalGetElement", since=18)
def optional_get_element(node: Node) -> Any:
    """The tensor itself."""
    return node.value(0)
