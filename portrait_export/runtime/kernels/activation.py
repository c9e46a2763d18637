"""Activation functions: relu, gelu, softmax and others."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import ExecutionError
from ..registry import kernel


@kernel("clamped_relu")
def clamped_relu(x: Tensor, alpha: float, beta: float) -> Tensor:
    """min(beta, x) for x >= 0, min(beta, alpha·x) below."""
    return torch.where(x >= 0, x, alpha * x).clamp(max=beta)


@kernel("elu")
def elu(x: Tensor, alpha: float) -> Tensor:
    """x for x > 0, alpha·(eˣ − 1) below."""
    return F.elu(x, alpha)


HUGE = 1e30  # torch's exact gelu multiplies by 2 before it halves, and has NaN for infinity


@kernel("gelu")
def gelu(x: Tensor, mode: str = "EXACT") -> Tensor:
    """x·Φ(x), exact or approximated."""
    if mode == "EXACT":
        huge = x > HUGE
        return torch.where(huge, x, F.gelu(x)) if huge.any() else F.gelu(x)
    if mode == "TANH_APPROXIMATION":  # 0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))
        return F.gelu(x, approximate="tanh")
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    raise ExecutionError(f"mode {mode!r} is not EXACT, TANH_APPROXIMATION or SIGMOID_APPROXIMATION")


@kernel("leaky_relu")
def leaky_relu(x: Tensor, alpha: float) -> Tensor:
    """x for x >= 0, alpha·x below."""
    return F.leaky_relu(x, alpha)


@kernel("linear_activation")
def linear_activation(x: Tensor, alpha: float, beta: float) -> Tensor:
    """alpha·x + beta."""
    return x * alpha + beta


def per_channel(values: Tensor, x: Tensor) -> Tensor:
    """Reshape (C,) values to broadcast along axis 1 of x."""
    return values.reshape(-1, *[1] * (x.ndim - 2))


@kernel("prelu")
def prelu(x: Tensor, alpha: Tensor) -> Tensor:
    """x for x > 0, alpha_c·x below; alpha has one value per channel (axis 1)."""
    return torch.where(x > 0, x, per_channel(alpha, x) * x)


@kernel("relu", exact=True)
def relu(x: Tensor) -> Tensor:
    """max(x, 0)."""
    return torch.relu(x)


@kernel("relu6", exact=True)
def relu6(x: Tensor) -> Tensor:
    """min(max(x, 0), 6)."""
    return x.clamp(0, 6)


@kernel("scaled_tanh")
def scaled_tanh(x: Tensor, alpha: float, beta: float) -> Tensor:
    """alpha·tanh(beta·x)."""
    return alpha * torch.tanh(beta * x)


@kernel("sigmoid")
def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + e⁻ˣ)."""
    return torch.sigmoid(x)


@kernel("sigmoid_hard")
def sigmoid_hard(x: Tensor, alpha: float, beta: float) -> Tensor:
    """min(max(alpha·x + beta, 0), 1)."""
    return (alpha * x + beta).clamp(0, 1)


@kernel("silu")
def silu(x: Tensor) -> Tensor:
    """x·sigmoid(x)."""
    return F.silu(x)


@kernel("softmax")
def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """eˣ / Σ eˣ along one axis."""
    return torch.softmax(x, axis)


@kernel("softplus")
def softplus(x: Tensor) -> Tensor:
    """log(1 + eˣ), computed without overflow as log(1 + e^−|x|) + max(x, 0)."""
    return torch.log1p(torch.exp(-x.abs())) + torch.relu(x)


@kernel("softplus_parametric")
def softplus_parametric(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """alpha_c·log(1 + e^(beta_c·x)); alpha and beta have one value per channel (axis 1)."""
    return per_channel(alpha, x) * softplus(per_channel(beta, x) * x)


@kernel("softsign")
def softsign(x: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return F.softsign(x)


@kernel("thresholded_relu", exact=True)
def thresholded_relu(x: Tensor, alpha: float) -> Tensor:
    """x for x >= alpha, else 0."""
    return torch.where(x >= alpha, x, torch.zeros_like(x))
