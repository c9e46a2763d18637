"""Lower ONNX convolutions to MIL: Conv, ConvTranspose."""

from __future__ import annotations

import numpy as np

from ..context import NodeContext
from ..refusals import Unsupported
from ..registry import lowers
from ..values import Tensor, Var, shape_of
from ._common import require_float


def window_pads(
    node: NodeContext, sizes: tuple[int, ...], kernel: list[int], strides: list[int], dilations: list[int]
) -> list[int]:
    """The padding of a sliding window: before and after each spatial dimension, in MIL's order.

    SAME makes the output ceil(size / stride): total = (out − 1)·stride + (k − 1)·dilation + 1 − size.
    """
    auto, pads = node.attr("auto_pad", "NOTSET"), node.attr("pads")
    spatial = len(sizes)
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        result = []
        for size, k, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
            total = max((-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size, 0)
            small, large = total // 2, total - total // 2
            result += [small, large] if auto == "SAME_UPPER" else [large, small]
        return result
    if auto not in ("NOTSET", "VALID"):
        raise Unsupported(f"auto_pad={auto!r}")
    if auto == "VALID" or pads is None:
        return [0] * (2 * spatial)
    return [int(pads[i + side * spatial]) for i in range(spatial) for side in (0, 1)]


@lowers("Conv")
def conv(node: NodeContext) -> Var:
    """A convolution in 1 to 3 dimensions, with explicit padding."""
    require_float(node)
    x, weight = node.var(0), node.x(1)
    spatial = len(shape_of(x)) - 2
    kernel = list(shape_of(weight)[2:])
    if list(node.attr("kernel_shape", kernel)) != kernel:
        raise Unsupported(f"kernel_shape {list(node.attr('kernel_shape'))} of a weight {shape_of(weight)}")
    strides, dilations = _per_dimension(node, "strides", spatial), _per_dimension(node, "dilations", spatial)
    pads = window_pads(node, shape_of(x)[2:], kernel, strides, dilations)
    if not isinstance(weight, np.ndarray) and any(d > 1 for d in dilations):
        raise Unsupported("dilations with a weight that the model computes")
    padded_x, pads = _without_negative_pads(node, x, pads)
    bias = node.x(2) if node.has(2) else None
    constant_bias = bias if isinstance(bias, np.ndarray) else None
    result = node.emit(
        "conv",
        x=padded_x,
        weight=weight,
        bias=constant_bias,
        strides=np.asarray(strides, np.int32),
        pad_type="custom",
        pad=np.asarray(pads, np.int32),
        dilations=np.asarray(dilations, np.int32),
        groups=np.int32(node.attr("group", 1)),
    )
    return result if bias is None or constant_bias is not None else add_bias(node, result, bias)


def add_bias(node: NodeContext, x: Tensor, bias: Tensor) -> Var:
    """Add one value per channel to (N, C, …)."""
    channels = -1 if isinstance(bias, np.ndarray) else shape_of(x)[1]
    spatial = len(shape_of(x)) - 2
    return node.emit("add", x=x, y=node.reshape(bias, (1, channels, *[1] * spatial)))


def _per_dimension(node: NodeContext, name: str, spatial: int) -> list[int]:
    return [int(v) for v in node.attr(name, [1] * spatial)]


def _without_negative_pads(node: NodeContext, x: Tensor, pads: list[int]) -> tuple[Tensor, list[int]]:
    """Crop the input where the padding is negative, and return it with the remaining padding."""
    if min(pads) >= 0:
        return x, pads
    from .tensor import padded

    crop = [(0, 0), (0, 0)] + [(min(b, 0), min(a, 0)) for b, a in zip(pads[::2], pads[1::2], strict=True)]
    return padded(node, x, crop, "constant", 0), [max(p, 0) for p in pads]


@lowers("ConvTranspose")
def conv_transpose(node: NodeContext) -> Var:
    """A transposed convolution: the full result, cropped by the pads and extended by the output padding.

    out = (in − 1)·stride + (k − 1)·dilation + 1 − before − after + output_padding.
    """
    require_float(node)
    x, weight = node.var(0), node.x(1)
    spatial = len(shape_of(x)) - 2
    kernel = list(shape_of(weight)[2:])
    node.ignore("kernel_shape")
    strides, dilations = _per_dimension(node, "strides", spatial), _per_dimension(node, "dilations", spatial)
    full = [
        (size - 1) * s + (k - 1) * d + 1
        for size, s, k, d in zip(shape_of(x)[2:], strides, kernel, dilations, strict=True)
    ]
    begins, outs = _transposed_window(node, shape_of(x)[2:], full, strides)
    ends = [f - b - o for f, b, o in zip(full, begins, outs, strict=True)]
    if not isinstance(weight, np.ndarray) and node.target == "iOS16":
        raise Unsupported("a weight that the model computes, which iOS16 does not support")
    bias = node.x(2) if node.has(2) else None
    extended = any(e < 0 for e in ends)
    fused = isinstance(bias, np.ndarray) and not extended
    crop = [max(v, 0) for pair in zip(begins, ends, strict=True) for v in pair]
    result = node.emit(
        "conv_transpose",
        x=x,
        weight=weight,
        bias=bias if fused else None,
        pad=np.asarray(crop, np.int32),
        pad_type="custom",
        strides=np.asarray(strides, np.int32),
        dilations=np.asarray(dilations, np.int32),
        groups=np.int32(node.attr("group", 1)),
    )
    if extended:
        amounts = [v for e in ends for v in (0, max(-e, 0))]
        result = node.emit(
            "pad", x=result, pad=np.asarray(amounts, np.int32), mode="constant", constant_val=node.float_scalar(0, x)
        )
    return result if bias is None or fused else add_bias(node, result, bias)


def _transposed_window(
    node: NodeContext, sizes: tuple[int, ...], full: list[int], strides: list[int]
) -> tuple[list[int], list[int]]:
    """How much to crop at the start of each dimension, and the output's sizes."""
    spatial = len(sizes)
    extra = [int(v) for v in node.attr("output_padding", [0] * spatial)]
    auto, pads, wanted = node.attr("auto_pad", "NOTSET"), node.attr("pads"), node.attr("output_shape")
    if wanted is not None:
        outs = [int(v) for v in wanted][-spatial:]
    elif auto in ("SAME_UPPER", "SAME_LOWER"):
        outs = [size * stride for size, stride in zip(sizes, strides, strict=True)]
    else:
        flat = [0] * (2 * spatial) if pads is None or auto == "VALID" else [int(v) for v in pads]
        begins = flat[:spatial]
        outs = [f - b - a + e for f, b, a, e in zip(full, begins, flat[spatial:], extra, strict=True)]
        if min(begins) < 0:
            raise Unsupported(f"negative pads {flat}")
        return begins, outs
    if wanted is None and any(o > f for o, f in zip(outs, full, strict=True)):
        raise Unsupported(f"auto_pad={auto!r} with a kernel smaller than its stride; ONNX's implementations disagree")
    total = [max(f + e - o, 0) for f, o, e in zip(full, outs, extra, strict=True)]
    # ONNX operator specification, ConvTranspose: the odd element goes to the end for SAME_UPPER only
    begins = [t // 2 if auto == "SAME_UPPER" else t - t // 2 for t in total]
    if any(e and o > f + e for o, f, e in zip(outs, full, extra, strict=True)):
        raise Unsupported(f"output_shape {outs} with output_padding {extra}")
    return begins, outs
