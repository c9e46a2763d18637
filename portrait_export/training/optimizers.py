"""The optimizers of a run, and their learning rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .config import TrainConfig

# A quintic that brings singular values in 0..1 near 1 in five iterations (Jordan's post, "How were the coefficients
# chosen").
QUINTIC = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
LIKE_ADAMW = 0.2  # root mean square of an AdamW update, in learning rates (Liu et al., section 2.2)


class Muon(torch.optim.Optimizer):
    """Momentum whose singular values are all set to about 1: a step goes equally far in every direction of a matrix.

    Jordan et al., Muon, 2024 (https://kellerjordan.github.io/posts/muon/). Steps have the root mean square of AdamW's
    (Liu et al., Muon is Scalable for LLM Training, 2025, https://arxiv.org/abs/2502.16982), so learning rates and
    weight decays that are good for AdamW are good here. A convolution's kernel (O, I, h, w) is the matrix (O, I·h·w).

    `torch.optim.Muon` refuses kernels, and computes in bfloat16, which is slow where a processor has to emulate it.

    Args:
        params: see `is_matrix`.
    """

    def __init__(self, params: Iterable[Any], *, lr: float, weight_decay: float = 0.0, momentum: float = 0.95):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move every parameter that has a gradient; `closure`, if given, computes them first."""
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum = state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                ahead = parameter.grad.lerp(momentum, group["momentum"]).flatten(1)  # Nesterov's
                update = with_unit_singular_values(ahead).view(parameter.shape)
                rms = LIKE_ADAMW * max(ahead.shape) ** 0.5
                parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=group["lr"] * rms)
        return loss


def with_unit_singular_values(matrix: Tensor) -> Tensor:
    """U·Vᵀ of a matrix U·S·Vᵀ (m, n), about: its singular values become 0.7 to 1.2. Float32."""
    x = matrix.float()
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / x.norm().clamp(min=1e-12)
    a, b, c = QUINTIC
    with torch.autocast(x.device.type, enabled=False):
        # Every iteration is x ← p·x with p a polynomial of x·xᵀ, so only small squares are multiplied until the end.
        gram, product = x @ x.T, torch.eye(x.shape[0], device=x.device)
        for _ in range(ITERATIONS):
            p = torch.addmm(gram, gram, gram, beta=b, alpha=c)
            p.diagonal().add_(a)
            product = p @ product
            gram = p @ gram @ p
        x = product @ x
    return (x.T if tall else x).to(matrix.dtype)


def is_matrix(parameter: Tensor) -> bool:
    """Whether several outputs mix several inputs, as in linear layers and convolutions that are not depthwise."""
    return parameter.dim() > 1 and min(parameter.shape[:2]) > 1


def optimizers_for(
    net: nn.Module, config: TrainConfig, linear_maps: Sequence[nn.Parameter]
) -> list[torch.optim.Optimizer]:
    """AdamW, and Muon for the matrices if the configuration asks for it.

    Args:
        linear_maps: parameters that are not the network's. They do not decay.
    """
    lr, groups = config.optimizer.lr, parameter_groups(net, config)
    if linear_maps:
        groups.append({"params": [*linear_maps], "weight_decay": 0.0, "factor": 1.0, "matrices": False})
    if config.optimizer.kind == "adamw":
        return [torch.optim.AdamW(groups, lr=lr)]
    matrices, others = ([group for group in groups if group["matrices"] is wanted] for wanted in (True, False))
    return [torch.optim.AdamW(others, lr=lr), Muon(matrices, lr=lr)]


def learning_rate(config: TrainConfig, step: int) -> float:
    """lr · min(1, (step+1)/warmup) · (1 − step/steps)^power."""
    warm = min(1.0, (step + 1) / max(1, config.optimizer.warmup))
    left = max(0.0, 1 - step / max(1, config.steps))
    return float(config.optimizer.lr * warm * left**config.optimizer.power)


def parameter_groups(net: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Groups: matrices and kernels decay, norms and biases do not; the encoder's learning rate has its own factor."""
    groups: dict[tuple[bool, bool, bool], list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        key = ("encoder." in name, parameter.dim() > 1, is_matrix(parameter))
        groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": config.optimizer.weight_decay if decays else 0.0,
            "factor": config.optimizer.encoder if of_encoder else 1.0,
            "matrices": matrices,
        }
        for (of_encoder, decays, matrices), parameters in groups.items()
    ]
