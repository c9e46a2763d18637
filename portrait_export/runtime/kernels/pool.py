"""Pooling in one, two or three dimensions."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import ExecutionError
from ..limits import claim
from ..registry import kernel
from .conv import flat_padding, resolve_padding, spatial

_MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVG_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def _pad(
    x: Tensor,
    fill: float,
    kernel_sizes: list[int],
    strides: list[int] | None,
    pad_type: str,
    pad: list[int] | None,
    ceil_mode: bool,
) -> tuple[Tensor, list[tuple[int, int]], list[int]]:
    """Pad x for pooling without padding. Returns the padded x, the padding and the strides.

    In ceil mode the result has ceil((D + p − K)/s) + 1 elements, or one fewer if the last window would start in the
    padding after the end. Elements are appended so that the last window is complete.
    """
    axes = x.ndim - 2
    if axes not in _MAX_POOL:
        raise ExecutionError(f"x has {x.ndim} dimensions; 3, 4 or 5 are supported")
    steps = spatial(x, "strides", strides)
    spatial(x, "kernel_sizes", kernel_sizes)
    padding = resolve_padding(pad_type.lower(), pad, x.shape[2:], kernel_sizes, steps, [1] * axes)
    if ceil_mode:
        extended = []
        for size, (a, b), k, s in zip(x.shape[2:], padding, kernel_sizes, steps, strict=True):
            count = -(-(size + a + b - k) // s) + 1
            if (count - 1) * s >= size + a and a + b > 0:
                count -= 1
            extended.append((a, max(b, (count - 1) * s + k - size - a)))
        padding = extended
    claim([*x.shape[:2], *(size + a + b for size, (a, b) in zip(x.shape[2:], padding, strict=True))])
    return (F.pad(x, flat_padding(padding), value=fill) if any(map(any, padding)) else x), padding, steps


@kernel("max_pool", exact=True)
def max_pool(
    x: Tensor,
    kernel_sizes: list[int],
    pad_type: str,
    strides: list[int] | None = None,
    pad: list[int] | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """The maximum of each window; padding counts as −∞."""
    padded, _, steps = _pad(x, -torch.inf, kernel_sizes, strides, pad_type, pad, ceil_mode)
    return _MAX_POOL[x.ndim - 2](padded, kernel_sizes, steps)


@kernel("avg_pool")
def avg_pool(
    x: Tensor,
    kernel_sizes: list[int],
    pad_type: str,
    strides: list[int] | None = None,
    pad: list[int] | None = None,
    exclude_padding_from_average: bool = False,
    ceil_mode: bool = False,
) -> Tensor:
    """The mean of each window; padding counts as zeros, or is left out of the mean.

    Elements that ceil mode appends after the declared padding are never counted, as in torch.
    """
    axes = x.ndim - 2
    padded, padding, steps = _pad(x, 0.0, kernel_sizes, strides, pad_type, pad, ceil_mode)
    if not any(map(any, padding)):
        return _AVG_POOL[axes](x, kernel_sizes, steps)
    means = _AVG_POOL[axes](padded, kernel_sizes, steps)
    if not exclude_padding_from_average and not ceil_mode:
        return means
    # Divide by the counted share of each window: mean over the window / share = mean over the counted elements.
    counted = torch.zeros_like(padded[:1, :1])
    declared = resolve_padding(pad_type.lower(), pad, x.shape[2:], kernel_sizes, steps, [1] * axes)
    region = counted
    for axis, (size, (a, _), (da, db)) in enumerate(zip(x.shape[2:], padding, declared, strict=True), start=2):
        start, length = (a, size) if exclude_padding_from_average else (a - da, size + da + db)
        region = region.narrow(axis, start, min(length, region.shape[axis] - start))
    region.fill_(1.0)
    return means / _AVG_POOL[axes](counted, kernel_sizes, steps)


@kernel("l2_pool")
def l2_pool(
    x: Tensor,
    kernel_sizes: list[int],
    pad_type: str,
    strides: list[int] | None = None,
    pad: list[int] | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """√(Σ x²) of each window; padding counts as zeros."""
    padded, _, steps = _pad(x, 0.0, kernel_sizes, strides, pad_type, pad, ceil_mode)
    return torch.sqrt(_AVG_POOL[x.ndim - 2](padded.square(), kernel_sizes, steps) * math.prod(kernel_sizes))
