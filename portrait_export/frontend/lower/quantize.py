"""Lower ONNX quantization to MIL: QuantizeLinear, DequantizeLinear. Both are folded earlier if constant."""

from __future__ import annotations

import numpy as np

from ..context import NodeContext
from ..refusals import Unsupported
from ..registry import lowers
from ..values import QUANTIZED_TYPES, Var, axis_of, shape_of

LIMITS = {"int8": (-128, 127), "uint8": (0, 255)}


@lowers("QuantizeLinear", since=10)
def quantize_linear(node: NodeContext) -> Var:
    """saturate(round(x / scale) + zero_point); halves are rounded to even."""
    node.ignore("saturate", "precision")
    scale, zero_point, axis = _parameters(node, _output_type(node))
    x = node.var(0)
    if node.dtype_of(x).kind != "f":
        raise Unsupported(f"on {node.dtype_of(x).name} tensors")
    kind = zero_point.dtype.name
    if node.target == "iOS16":
        raise Unsupported("8-bit tensors, which Core ML supports from iOS17 on")
    scale = scale.astype(node.dtype_of(x))
    return node.emit("quantize", input=x, scale=scale, zero_point=zero_point, axis=axis, output_dtype=kind)


def _output_type(node: NodeContext) -> str:
    """The type of the result: that of the zero point, else `output_dtype`, else uint8."""
    from onnx import helper

    code = node.attr("output_dtype", 0)
    if node.has(2):
        return node.const(2, "zero point").dtype.name if node.is_const(2) else "a computed type"
    return np.dtype(helper.tensor_dtype_to_np_dtype(code)).name if code else "uint8"


@lowers("DequantizeLinear", since=10)
def dequantize_linear(node: NodeContext) -> Var:
    """(x − zero_point) · scale."""
    node.ignore("output_dtype")
    x = node.var(0)
    dtype = node.dtype_of(x)
    scale, zero_point, axis = _parameters(node, dtype.name)
    if dtype.name in QUANTIZED_TYPES:
        return node.emit("dequantize", input=x, scale=scale, zero_point=zero_point, axis=axis)
    if dtype != np.int32:
        raise Unsupported(f"on {dtype.name} tensors")
    along = (1,) * (axis or 0) + (-1,) + (1,) * (len(shape_of(x)) - 1 - (axis or 0)) if axis is not None else ()
    centred = node.emit("sub", x=x, y=zero_point.reshape(along)) if zero_point.any() else x
    return node.emit("mul", x=node.cast(centred, scale.dtype), y=scale.reshape(along))


def _parameters(node: NodeContext, kind: str) -> tuple[np.ndarray, np.ndarray, int | None]:
    """Scale and zero point as constants, and their axis; None for scalars."""
    if kind not in (*LIMITS, "int32"):
        raise Unsupported(f"of {kind}; MIL quantizes to int8 and uint8")
    if node.attr("block_size", 0):
        raise Unsupported("blockwise quantization of values that the model computes")
    scale = node.const(1, "scale")
    given = node.attr("axis", 1)
    axis = None if scale.size == 1 else axis_of(given, len(node.shape()))
    if scale.size == 1:
        scale = scale.reshape(())
    if scale.dtype.name not in ("float32", "float16"):
        raise Unsupported(f"a scale of type {scale.dtype.name}")
    zero_point = node.optional_const(2, "zero point")
    zeros = np.zeros(scale.shape, kind)
    return scale, zeros if zero_point is None else zero_point.reshape(scale.shape), axis
