"""Random tensors from a shape and a distribution.

Core ML does not document its random generator, so only the distribution is reproduced. A seed other than −1 gives the
same numbers at every call; seed −1 draws from the program's generator, which is seeded when the program is loaded.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import ExecutionError
from ..environment import Environment
from ..limits import claim
from ..registry import kernel


def _generator(env: Environment, seed: int) -> torch.Generator:
    return env.generator if seed == -1 else torch.Generator().manual_seed(seed)


def _uniform(shape: list[int], env: Environment, seed: int) -> Tensor:
    claim(shape)
    return torch.rand(shape, generator=_generator(env, seed)).to(env.device)


@kernel("random_bernoulli", random=True)
def random_bernoulli(shape: list[int], env: Environment, prob: float = 0.5, seed: int = -1) -> Tensor:
    """1 with probability `prob`, else 0."""
    return (_uniform(shape, env, seed) < prob).float()


@kernel("random_uniform", random=True)
def random_uniform(shape: list[int], env: Environment, low: float = 0.0, high: float = 1.0, seed: int = -1) -> Tensor:
    """Uniform in [low, high)."""
    return low + (high - low) * _uniform(shape, env, seed)


@kernel("random_normal", random=True)
def random_normal(shape: list[int], env: Environment, mean: float = 0.0, stddev: float = 1.0, seed: int = -1) -> Tensor:
    """Normal with the given mean and standard deviation."""
    claim(shape)
    return mean + stddev * torch.randn(shape, generator=_generator(env, seed)).to(env.device)


@kernel("random_categorical", random=True)
def random_categorical(x: Tensor, env: Environment, mode: str = "logits", size: int = 1, seed: int = -1) -> Tensor:
    """Draw `size` category indices per row of x, with replacement: (*, K) → (*, size)."""
    if mode not in ("logits", "probs"):
        raise ExecutionError(f"mode {mode!r} is not logits or probs")
    claim([*x.shape[:-1], size])
    weights = torch.softmax(x, -1) if mode == "logits" else x
    rows = weights.reshape(-1, x.shape[-1]).cpu()
    draws = torch.multinomial(rows, size, replacement=True, generator=_generator(env, seed))
    return draws.reshape(*x.shape[:-1], size).float().to(x.device)
