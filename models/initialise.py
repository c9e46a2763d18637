"""Build networks and initialize their weights from a local, seeded generator."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..errors import UsageError

MAX_PARAMETERS = 1_000_000_000  # 4 GB in float32; the largest network of these families, B5, has 85 million
CLASSIFIERS = (".classifier.weight", ".cls_head.weight")
Net = TypeVar("Net", bound=nn.Module)


def empty_net(build: Callable[[Any], nn.Module], config: Any) -> nn.Module:
    """Build a network with uninitialized tensors, without drawing random numbers. The caller must fill every tensor.

    Raises:
        UsageError: it has more than MAX_PARAMETERS parameters; nothing was allocated.
    """
    with torch.device("meta"):
        net = build(config)
    count = sum(parameter.numel() for parameter in net.parameters())
    if count > MAX_PARAMETERS:
        raise UsageError(f"The network has {count:.3g} parameters; at most {MAX_PARAMETERS:.3g} are built.")
    return net.to_empty(device="cpu")


def initialise_(net: Net, *, seed: int = 0) -> Net:
    """Fill a network with weights that keep the activations' scale, in place.

    Weights are normal with σ = 1/√fan_in (the classifier's 2/√fan_in, which brings the logits' deviation near 1),
    biases 0, norms the identity, PReLU slopes 0.25. Each tensor has its own generator, seeded by `seed` and the
    tensor's name, so that a switch that adds modules leaves the others alone.
    """
    return _fill(net, seed, _initial)


def randomize_(net: Net, *, seed: int = 0) -> Net:
    """Fill a network so that no tensor is trivial, in place: norms, slopes and biases get random values too.

    For tests of equality: a wrong order of BatchNorm and bias, or a swapped running mean, then shows in the logits.
    """
    return _fill(net, seed, _nontrivial)


def _fill(net: Net, seed: int, value: Callable[[str, nn.Module, Tensor, torch.Generator], Tensor]) -> Net:
    with torch.no_grad():
        for prefix, module in net.named_modules():
            own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
            for name, tensor in own:
                path = f"{prefix}.{name}"
                # PyTorch's generator reads 32 bits of its seed: the golden ratio spreads small seeds over all of them.
                key = zlib.crc32(path.encode()) ^ (seed * 0x9E3779B1 & 0xFFFFFFFF)
                generator = torch.Generator().manual_seed(key)
                tensor.copy_(value(path, module, tensor, generator))
    return net


def _initial(path: str, module: nn.Module, tensor: Tensor, generator: torch.Generator) -> Tensor:
    name = path.rpartition(".")[2]
    if isinstance(module, (nn.Linear, nn.Conv2d)):
        if name == "bias":
            return torch.zeros_like(tensor)
        gain = 2.0 if path.endswith(CLASSIFIERS) else 1.0
        return torch.randn(tensor.shape, generator=generator) * (gain / math.sqrt(math.prod(tensor.shape[1:])))
    if isinstance(module, nn.PReLU):
        return torch.full_like(tensor, 0.25)
    if isinstance(module, (nn.LayerNorm, nn.BatchNorm2d)):
        return torch.ones_like(tensor) if name in ("weight", "running_var") else torch.zeros_like(tensor)
    raise TypeError(f"{type(module).__name__}.{name} has no rule of initialisation.")


def _nontrivial(path: str, module: nn.Module, tensor: Tensor, generator: torch.Generator) -> Tensor:
    name = path.rpartition(".")[2]
    if name == "num_batches_tracked":
        return torch.zeros_like(tensor)
    noise = torch.rand(tensor.shape, generator=generator)  # 0..1
    if isinstance(module, nn.PReLU):
        return 0.1 + 0.3 * noise
    if name == "running_var" or (name == "weight" and isinstance(module, (nn.LayerNorm, nn.BatchNorm2d))):
        return 0.7 + 0.6 * noise
    if name in ("bias", "running_mean"):
        return 0.4 * (noise - 0.5)
    return _initial(path, module, tensor, generator)
