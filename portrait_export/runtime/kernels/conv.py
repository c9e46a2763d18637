"""Convolution and transposed convolution in one, two or three dimensions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import ExecutionError
from ..limits import claim
from ..registry import kernel

_CONV = {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d}
_CONV_TRANSPOSE = {1: torch.conv_transpose1d, 2: torch.conv_transpose2d, 3: torch.conv_transpose3d}
PAD_TYPES = ("valid", "same", "same_lower", "custom")


def resolve_padding(
    pad_type: str,
    pad: Sequence[int] | None,
    sizes: Sequence[int],
    kernel_sizes: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> list[tuple[int, int]]:
    """The padding (before, after) of each spatial axis.

    `same` pads so that the result has ceil(size / stride) elements: p = max(0, (ceil(size/s) − 1)·s + k' − size) in
    total, where k' is the dilated kernel. If p is odd, the extra element is after; with `same_lower` it is before.
    """
    if pad_type not in PAD_TYPES:
        raise ExecutionError(f"pad_type {pad_type!r} is not one of {', '.join(PAD_TYPES)}")
    if pad_type == "valid":
        return [(0, 0)] * len(sizes)
    if pad_type == "custom":
        pad = [0] * 2 * len(sizes) if pad is None else pad
        if len(pad) != 2 * len(sizes) or min(pad) < 0:
            raise ExecutionError(f"pad {pad} does not have two non-negative numbers for each of {len(sizes)} axes")
        return [(pad[2 * i], pad[2 * i + 1]) for i in range(len(sizes))]
    both = []
    for size, k, stride, dilation in zip(sizes, kernel_sizes, strides, dilations, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size)
        small, large = total // 2, total - total // 2
        both.append((small, large) if pad_type == "same" else (large, small))
    return both


def flat_padding(padding: Sequence[tuple[int, int]]) -> list[int]:
    """The padding in the order of torch's pad: last axis first."""
    return [side for pair in reversed(padding) for side in pair]


def spatial(x: Tensor, name: str, values: Sequence[int] | None) -> list[int]:
    """Check a parameter that has one positive number per spatial axis; None is all ones."""
    axes = x.ndim - 2
    checked = list(values) if values is not None else [1] * axes
    if len(checked) != axes or (checked and min(checked) < 1):
        raise ExecutionError(f"{name} {checked} are not {axes} positive numbers")
    return checked


def _check_rank(x: Tensor, weight: Tensor) -> int:
    axes = x.ndim - 2
    if axes not in _CONV or weight.ndim != x.ndim:
        raise ExecutionError(
            f"x has {x.ndim} dimensions and weight has {weight.ndim}; both need the same number, 3 to 5"
        )
    return axes


@kernel("conv")
def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    strides: list[int] | None = None,
    pad_type: str = "valid",
    pad: list[int] | None = None,
    dilations: list[int] | None = None,
    groups: int = 1,
) -> Tensor:
    """x: (N, C_in, *D), weight: (C_out, C_in/groups, *K), bias: (C_out,) → (N, C_out, *D_out), with zero padding."""
    axes = _check_rank(x, weight)
    steps, spread = spatial(x, "strides", strides), spatial(x, "dilations", dilations)
    padding = resolve_padding(pad_type, pad, x.shape[2:], weight.shape[2:], steps, spread)
    claim([*x.shape[:2], *(size + a + b for size, (a, b) in zip(x.shape[2:], padding, strict=True))])
    claim(
        [
            x.shape[0],
            weight.shape[0],
            *(
                max(0, size + a + b - (k - 1) * d - 1) // s + 1
                for size, (a, b), k, d, s in zip(x.shape[2:], padding, weight.shape[2:], spread, steps, strict=True)
            ),
        ]
    )
    if any(a != b for a, b in padding):  # torch's conv pads both sides equally
        x = F.pad(x, flat_padding(padding))
        padding = [(0, 0)] * axes
    return _CONV[axes](x, weight, bias, steps, [a for a, _ in padding], spread, groups)


@kernel("conv_quantized")
def conv_quantized(
    x: Tensor,
    weight: Tensor,
    quantization_type: str,
    quant_scale: Tensor,
    quant_bias: Tensor,
    bias: Tensor | None = None,
    nbits: int = 8,
    strides: list[int] | None = None,
    pad_type: str = "valid",
    pad: list[int] | None = None,
    dilations: list[int] | None = None,
    groups: int = 1,
) -> Tensor:
    """conv with W = W_quantized·scale + bias per output channel. `lut` weights are not supported."""
    if quantization_type != "linear":
        raise ExecutionError(f"quantization_type {quantization_type!r} is not supported; only linear is")
    shape = (-1, *[1] * (weight.ndim - 1))
    dense = weight.float() * quant_scale.reshape(shape) + quant_bias.reshape(shape)
    return conv(x, dense, None if bias is None else bias.float(), strides, pad_type, pad, dilations, groups)


@kernel("conv_transpose")
def conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    pad: list[int] | None = None,
    output_shape: list[int] | None = None,
    pad_type: str = "valid",
    strides: list[int] | None = None,
    dilations: list[int] | None = None,
    groups: int = 1,
) -> Tensor:
    """x: (N, C_in, *D), weight: (C_in, C_out/groups, *K) → (N, C_out, *D_out).

    The full result has (D − 1)·s + (K − 1)·d + 1 elements per axis. `custom` crops it by `pad`; `same` crops it to D·s.
    `output_shape`, if given, is the size after cropping: missing elements are appended as zeros (output padding).
    """
    axes = _check_rank(x, weight)
    steps, spread = spatial(x, "strides", strides), spatial(x, "dilations", dilations)
    sizes, kernels = list(x.shape[2:]), list(weight.shape[2:])
    whole = [(n - 1) * s + (k - 1) * d + 1 for n, s, k, d in zip(sizes, steps, kernels, spread, strict=True)]
    wanted = list(output_shape[2:]) if output_shape else None
    if pad_type == "custom":
        cut = resolve_padding("custom", pad, sizes, kernels, steps, spread)
    elif pad_type in ("same", "same_lower"):
        target = wanted or [n * s for n, s in zip(sizes, steps, strict=True)]
        totals = [max(0, full - size) for full, size in zip(whole, target, strict=True)]
        cut = [(t // 2, t - t // 2) if pad_type == "same" else (t - t // 2, t // 2) for t in totals]
        wanted = target
    else:
        cut = resolve_padding(pad_type, pad, sizes, kernels, steps, spread)
    claim([x.shape[0], weight.shape[1] * groups, *whole])
    result = _CONV_TRANSPOSE[axes](x, weight, None, steps, 0, 0, groups, spread)
    ends = (
        [full - b for full, (_, b) in zip(whole, cut, strict=True)]
        if wanted is None
        else [a + size for (a, _), size in zip(cut, wanted, strict=True)]
    )
    missing = [max(0, end - full) for end, full in zip(ends, whole, strict=True)]
    if any(missing):
        claim([*result.shape[:2], *ends])
        result = F.pad(result, flat_padding([(0, m) for m in missing]))
    for axis, ((start, _), end) in enumerate(zip(cut, ends, strict=True), start=2):
        if end <= start:
            raise ExecutionError(f"padding {cut} crops the whole result of size {whole}")
        result = result.narrow(axis, start, end - start)
    if bias is not None:
        result = result + bias.reshape(-1, *[1] * axes)
    return result
