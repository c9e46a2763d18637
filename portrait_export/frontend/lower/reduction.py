"""Lower ONNX reductions to MIL: ReduceMean, ReduceSum, ReduceMax, ArgMax …"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..context import NodeContext
from ..refusals import Unsupported
from ..registry import lowers, register_table
from ..values import Tensor, Var, axis_of
from ._common import axes_of

ONE_TO_ONE = {
    "ReduceL1": "reduce_l1_norm",
    "ReduceL2": "reduce_l2_norm",
    "ReduceMax": "reduce_max",
    "ReduceMin": "reduce_min",
    "ReduceProd": "reduce_prod",
    "ReduceSum": "reduce_sum",
    "ReduceSumSquare": "reduce_sum_square",
}
FLOAT_ONLY = {"ReduceMean": "reduce_mean", "ReduceLogSumExp": "reduce_log_sum_exp", "ReduceLogSum": "reduce_log_sum"}


def _reduction(mil_op: str) -> Callable[[NodeContext], Var]:
    """A lowering for a reduction over `axes` (all by default; none with noop_with_empty_axes)."""

    def lower(node: NodeContext) -> Var:
        x, dtype = node.var(), node.dtype()
        axes = _axes(node)
        keep = bool(node.attr("keepdims", 1))
        if dtype.kind == "b":
            if mil_op not in ("reduce_max", "reduce_min"):
                raise Unsupported("on bool tensors")
            numbers = node.emit(mil_op, x=node.cast(x, np.int32), axes=axes, keep_dims=keep)
            return node.cast(numbers, np.bool_)
        if mil_op in FLOAT_ONLY.values() and dtype.kind != "f":
            raise Unsupported(f"on {dtype.name} tensors")
        if axes is None:
            return _elementwise(node, mil_op, x)
        if mil_op == "reduce_l2_norm" and dtype.kind == "i":
            raise Unsupported(f"on {dtype.name} tensors")
        if mil_op == "reduce_log_sum":
            return node.emit("log", x=node.emit("reduce_sum", x=x, axes=axes, keep_dims=keep))
        return node.emit(mil_op, x=x, axes=axes, keep_dims=keep)

    return lower


def _axes(node: NodeContext) -> np.ndarray | None:
    """The axes to reduce, None if nothing is reduced."""
    rank = len(node.shape())
    axes = axes_of(node, rank=rank, index=1)
    if not axes:
        if node.attr("noop_with_empty_axes", 0):
            return None
        axes = list(range(rank))
    node.ignore("noop_with_empty_axes")
    if rank == 0:
        return None
    return np.asarray(sorted(axes), np.int32)


def _elementwise(node: NodeContext, mil_op: str, x: Tensor) -> Var:
    """A reduction over no axis, which is elementwise."""
    if mil_op in ("reduce_l1_norm", "reduce_l2_norm"):
        return node.emit("abs", x=x)
    if mil_op == "reduce_sum_square":
        return node.emit("square", x=x)
    if mil_op == "reduce_log_sum":
        return node.emit("log", x=x)
    return node.emit("identity", x=x)


register_table(ONE_TO_ONE | FLOAT_ONLY, _reduction, __name__)


@lowers("ArgMax", "ArgMin")
def arg_reduce(node: NodeContext) -> Var:
    """The index of the maximum (minimum) along an axis: of the first or, with select_last_index, of the last one."""
    axis, keep = axis_of(node.attr("axis", 0), len(node.shape())), bool(node.attr("keepdims", 1))
    op = "argmax" if node.op_type == "ArgMax" else "argmin"
    x = node.var()
    if not node.attr("select_last_index", 0):
        return node.emit(f"reduce_{op}", x=x, axis=axis, keep_dims=keep)
    flipped = node.emit("reverse", x=x, axes=np.asarray([axis], np.int32))
    first = node.emit(f"reduce_{op}", x=flipped, axis=axis, keep_dims=keep)
    return node.emit("sub", x=np.int32(node.shape()[axis] - 1), y=first)
