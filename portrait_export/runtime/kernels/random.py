"""Random tensors: a shape and a distribution in, draws out.

Which numbers Core ML draws is not documented; what can be held to is the distribution. A seed other than −1 gives the
same numbers at every call; without one they come from the program's generator, seeded when it was loaded.
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
    """Evenly from low to high, high excluded."""
    return low + (high - low) * _uniform(shape, env, seed)


@kernel("random_normal", random=True)
def random_normal(shape: list[int], env: Environment, mean: float = 0.0, stddev: float = 1.0, seed: int = -1) -> Tensor:
    """From the normal distribution."""
    claim(shape)
    return mean + stddev * torch.randn(shape, generator=_generator(env, seed)).to(env.device)


@kernel("random_categorical", random=True)
def random_categorical(x: Tensor, env: Environment, mode: str = "logits", size: int = 1, seed: int = -1) -> Tensor:
    """`size` draws, with replacement, from the distribution that each row of x describes: (*, K) → (*, size)."""
    if mode not in ("logits", "probs"):
        raise ExecutionError(f"mode {mode!r} is not logits or probs")
    claim([*x.shape[:-1], size])
    weights = torch.softmax(x, -1) if mode == "logits" else x
    rows = weights.reshape(-1, x.shape[-1]).cpu()
    draws = torch.multinomial(rows, size, replacement=True, generator=_generator(env, seed))
    return draws.reshape(*x.shape[:-1], size).float().to(x.device)
