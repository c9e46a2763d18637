"""Normalization: batch, instance, layer, L2 and local response."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import ExecutionError
from ..registry import kernel
from .activation import per_channel


@kernel("batch_norm")
def batch_norm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    """γ·(x − mean)/√(variance + ε) + β, per channel (axis 1)."""
    return F.batch_norm(x, mean, variance, gamma, beta, training=False, eps=epsilon)


@kernel("instance_norm")
def instance_norm(x: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None, epsilon: float = 1e-5) -> Tensor:
    """γ·(x − E[x])/√(Var[x] + ε) + β, with mean and variance of each channel of each batch element."""
    axes = tuple(range(2, x.ndim))
    if not axes:
        raise ExecutionError(f"x has {x.ndim} dimensions; at least 3 are needed: (N, C, *D)")
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    result = (x - mean) * torch.rsqrt(variance + epsilon)
    if gamma is not None:
        result = result * per_channel(gamma, x)
    return result if beta is None else result + per_channel(beta, x)


@kernel("layer_norm")
def layer_norm(
    x: Tensor,
    axes: list[int] | None = None,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    """γ·(x − E[x])/√(Var[x] + ε) + β over the given axes; None is all axes."""
    over = sorted(axis % x.ndim for axis in (axes if axes is not None else range(x.ndim)))
    shape = [x.shape[axis] for axis in over]
    if over == list(range(x.ndim - len(over), x.ndim)):
        return F.layer_norm(x, shape, gamma, beta, epsilon)
    last = tuple(range(x.ndim - len(over), x.ndim))
    return F.layer_norm(x.movedim(over, last), shape, gamma, beta, epsilon).movedim(last, over)


@kernel("l2_norm")
def l2_norm(x: Tensor, epsilon: float = 1e-6) -> Tensor:
    """x / √(Σ x² + ε), summed over the last three axes."""
    if x.ndim < 3:
        raise ExecutionError(f"x has {x.ndim} dimensions; at least 3 are needed")
    return x * torch.rsqrt(x.square().sum((-3, -2, -1), keepdim=True) + epsilon)


@kernel("local_response_norm")
def local_response_norm(x: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """x / (k + α/size·Σ x²)^β, summed over `size` neighbouring channels; channels outside x count as zero."""
    return F.local_response_norm(x, size, alpha, beta, k)
