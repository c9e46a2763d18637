"""Compute PyTorch operators with others that the ONNX exporter knows, with the same numbers.

adaptive_avg_pool2d, antialiased resizes   Y = R·X·Cᵀ: they are linear in each direction
adaptive_max_pool2d                        the maximum of each bin's slice, one direction at a time
avg_pool2d with divisor_override           the mean · window / divisor
slices that are written to                 both values joined, and picked from
floor division                             the floor of a division, of whole numbers too
casts, fills, trunc, expm1, hypot …        by their definition
batch_norm in its core form                batch_norm
log_sigmoid                                -softplus(-x), finite where σ(x) is 0 in float32
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

aten = torch.ops.aten


def adaptive_avg_pool2d(x: Tensor, output_size: list[int]) -> Tensor:
    """The mean of each bin; a size of one is a mean over the side, which fits every size of the map."""
    if list(output_size) == [1, 1]:
        return x.mean((-2, -1), keepdim=True)
    return _separable("adaptive_avg_pool2d", x, output_size)


def adaptive_avg_pool1d(x: Tensor, output_size: list[int]) -> Tensor:
    """The mean of each bin of the last side."""
    return adaptive_avg_pool2d(x.unsqueeze(-2), [1, *output_size]).squeeze(-2)


def adaptive_max_pool2d(x: Tensor, output_size: list[int]) -> tuple[Tensor, None]:
    """The maximum of each bin from floor(i·H/h) to ceil((i+1)·H/h), without its place."""
    for dim, bins in ((-2, output_size[0]), (-1, output_size[1])):
        size = int(x.shape[dim])  # a number: a trace would count on, and round negative quotients to zero
        spans = [(i * size // bins, -(-(i + 1) * size // bins)) for i in range(bins)]
        x = torch.cat([x.narrow(dim, a, b - a).amax(dim, keepdim=True) for a, b in spans], dim)
    return x, None


def adaptive_max_pool1d(x: Tensor, output_size: list[int]) -> tuple[Tensor, None]:
    """The maximum of each bin of the last side, without its place."""
    return adaptive_max_pool2d(x.unsqueeze(-2), [1, *output_size])[0].squeeze(-2), None


def adaptive_avg_pool3d(x: Tensor, output_size: list[int]) -> Tensor:
    """The mean of each bin: over the frames by one matrix, then within each frame."""
    frames, count = int(x.shape[-3]), int(output_size[0])
    pooled = torch.matmul(_matrix("adaptive_avg_pool2d", frames, count, None), x.flatten(-2))
    return _separable("adaptive_avg_pool2d", pooled.reshape(*x.shape[:-3], count, *x.shape[-2:]), output_size[1:])


def upsample_bilinear2d_aa(x: Tensor, size: list[int], align_corners: bool, *scales: float | None) -> Tensor:
    """An antialiased bilinear resize."""
    return _separable("_upsample_bilinear2d_aa", x, size, align_corners, *scales)


def upsample_bicubic2d_aa(x: Tensor, size: list[int], align_corners: bool, *scales: float | None) -> Tensor:
    """An antialiased bicubic resize."""
    return _separable("_upsample_bicubic2d_aa", x, size, align_corners, *scales)


def _separable(name: str, x: Tensor, size: list[int], *options: Any) -> Tensor:
    height, width = int(x.shape[-2]), int(x.shape[-1])
    flags, scales = options[:1], options[1:] or (None, None)
    y = x
    if int(size[0]) != height or scales[0] not in (None, 1.0):
        y = torch.matmul(_matrix(name, height, int(size[0]), *flags, scales[0]), y)
    if int(size[1]) != width or scales[1] not in (None, 1.0):
        y = torch.matmul(y, _matrix(name, width, int(size[1]), *flags, scales[1]).transpose(0, 1))
    return y


@cache
def _matrix(name: str, old: int, new: int, *options: Any) -> Tensor:
    """(new, old): what the operator does to the columns of the identity, along its height alone.

    Cached: a module is run once before it is traced, so that the trace holds the numbers and not the operator.
    """
    *flags, scale = options
    scales = [scale, None] if flags else []
    result: Tensor = getattr(aten, name)(torch.eye(old)[None, None], [new, old], *flags, *scales)
    return result[0, 0].clone()


def avg_pool2d(
    x: Tensor,
    kernel_size: list[int],
    stride: list[int] | None = None,
    padding: list[int] | int = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The sum of each window, padding included, over the divisor."""
    stride = stride or kernel_size
    if divisor_override is None or ceil_mode:
        return functional.avg_pool2d(x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    rows, columns = (*kernel_size, *kernel_size)[:2]
    mean = functional.avg_pool2d(x, kernel_size, stride, padding, False, True)
    return mean * (rows * columns / divisor_override)


def threshold(x: Tensor, threshold: float, value: float) -> Tensor:
    """x where it is above a threshold, else a value."""
    return torch.where(x > threshold, x, torch.full_like(x, value))


def to_copy(x: Tensor, *, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
    """A cast, as `torch.export` writes it; where a copy lies does not matter."""
    return x.to(dtype) if dtype is not None else x.clone()


def truncated(x: Tensor) -> Tensor:
    """x without its fraction."""
    return torch.sign(x) * torch.floor(torch.abs(x))


def filled(x: Tensor, value: Tensor | float) -> Tensor:
    """A value in the shape of x."""
    return torch.zeros_like(x) + value


def copied(x: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    """Another value in the shape and type of x."""
    return source.to(x.dtype).expand_as(x)


def slice_scatter(
    x: Tensor, source: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    """x with a slice of it replaced: both joined, and picked from in the order of the result."""
    size = int(x.shape[dim])
    order = torch.arange(size)
    replaced = order[slice(start, end, step)].tolist()
    order[replaced] = size + torch.arange(len(replaced))
    return torch.cat([x, source], dim).index_select(dim, order)


def select_scatter(x: Tensor, source: Tensor, dim: int, index: int) -> Tensor:
    """x with one element along a dimension replaced."""
    place = index % int(x.shape[dim])
    return slice_scatter(x, source.unsqueeze(dim), dim, place, place + 1)


def floor_divide(x: Tensor, y: Tensor | float) -> Tensor:
    """⌊x / y⌋, of whole numbers too, which ONNX's Div rounds toward 0."""
    quotient = torch.floor(torch.true_divide(x, y))
    whole = not x.is_floating_point() and not (y.is_floating_point() if isinstance(y, Tensor) else isinstance(y, float))
    return quotient.to(x.dtype) if whole else quotient


def divided(x: Tensor, y: Tensor | float, *, rounding_mode: str | None = None) -> Tensor:
    """x / y, rounded down where that is asked for."""
    return floor_divide(x, y) if rounding_mode == "floor" else torch.div(x, y, rounding_mode=rounding_mode)


def log_sigmoid(x: Tensor) -> Tensor:
    """log σ(x) = -log(1 + exp(-x))."""
    return -functional.softplus(-x)


def log_sigmoid_forward(x: Tensor) -> tuple[Tensor, None]:
    """log σ(x), without the buffer that training needs."""
    return log_sigmoid(x), None


def batch_norm(
    x: Tensor,
    scale: Tensor | None,
    bias: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    momentum: float,
    epsilon: float,
) -> tuple[Tensor, None, None]:
    """(x − mean) / √(variance + ε) · scale + bias, with stored statistics."""
    return functional.batch_norm(x, mean, variance, scale, bias, False, momentum, epsilon), None, None


def batch_norm_of_its_input(
    x: Tensor, scale: Tensor | None, bias: Tensor | None, training: bool, momentum: float, epsilon: float
) -> tuple[Tensor, None, None]:
    """(x − mean) / √(variance + ε) · scale + bias per channel, without stored statistics."""
    dims, shape = [0, *range(2, x.ndim)], [1, -1, *[1] * (x.ndim - 2)]
    centred = x - x.mean(dims, keepdim=True)
    result = centred / torch.sqrt(centred.square().mean(dims, keepdim=True) + epsilon)
    if scale is not None:
        result = result * scale.reshape(shape)
    return (result if bias is None else result + bias.reshape(shape)), None, None


OPERATORS: Mapping[Any, Callable[..., Any]] = {
    aten.adaptive_avg_pool2d.default: adaptive_avg_pool2d,
    aten.adaptive_avg_pool1d.default: adaptive_avg_pool1d,
    aten._adaptive_avg_pool2d.default: adaptive_avg_pool2d,
    aten.adaptive_max_pool2d.default: adaptive_max_pool2d,
    aten._upsample_bilinear2d_aa.default: upsample_bilinear2d_aa,
    aten._upsample_bicubic2d_aa.default: upsample_bicubic2d_aa,
    aten.avg_pool2d.default: avg_pool2d,
    aten._native_batch_norm_legit_no_training.default: batch_norm,
    aten._native_batch_norm_legit.no_stats: batch_norm_of_its_input,
    aten.adaptive_max_pool1d.default: adaptive_max_pool1d,
    aten.adaptive_avg_pool3d.default: adaptive_avg_pool3d,
    aten._adaptive_avg_pool3d.default: adaptive_avg_pool3d,
    aten._to_copy.default: to_copy,
    aten.trunc.default: truncated,
    aten.copy.default: copied,
    aten.fill.Scalar: filled,
    aten.fill.Tensor: filled,
    aten.slice_scatter.default: slice_scatter,
    aten.select_scatter.default: select_scatter,
    aten.floor_divide.default: floor_divide,
    aten.div.Tensor_mode: divided,
    aten.div.Scalar_mode: divided,
    aten.expm1.default: lambda x: torch.exp(x) - 1,
    aten.hypot.default: lambda x, y: torch.sqrt(x * x + y * y),
    aten.threshold.default: threshold,
    aten.log_sigmoid.default: log_sigmoid,
    aten.log_sigmoid_forward.default: log_sigmoid_forward,
}
