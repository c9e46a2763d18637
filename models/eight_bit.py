"""Round weights to 8-bit steps.

An int8 package then stores the network exactly.
Each output channel has its own step, as in Core ML's linear quantization of weights: w = k·s with whole k,
|k| ≤ 127 and s = max|w| / 127. A norm that is folded into the convolution before it scales whole channels, and the
folded weights are on steps again: k·(s·g/√v).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .segformer import MLPFusion

LARGEST = 127


def eight_bit_state(net: nn.Module) -> dict[str, Tensor]:
    """The state dict of a network that computes nearly the same, with every weight on steps in int8 packages, too.

    Exports multiply a fusion's projections into it and split it by stage. So the projections are absorbed first, and
    the fusion is rounded apart for each stage.

    Args:
        net: its projections become identities.
    """
    fusions = {name: module for name, module in net.named_modules() if isinstance(module, MLPFusion)}
    for fusion in fusions.values():
        fusion.absorb_projections()
    state = round_to_steps(net.state_dict())
    for name, fusion in fusions.items():
        rounded = [_rounded(part.detach()) for part in fusion.parts()[::-1]]
        state[f"{name}.linear_fuse.weight"] = torch.cat(rounded, dim=1)[:, :, None, None]
    return state


def round_to_steps(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Round every weight with two or more dimensions to its channel's 8-bit steps; keep norms and biases.

    Args:
        state: a state dict; the first axis of a weight is the output channel.
    Returns:
        New float32 tensors for what was rounded, the given ones otherwise.
    """
    return {key: _rounded(value) if _is_weight(value) else value for key, value in state.items()}


def _is_weight(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.dim() > 1


def _rounded(weight: Tensor) -> Tensor:
    weight = weight.float()
    step = weight.abs().flatten(1).amax(1).reshape(-1, *[1] * (weight.dim() - 1)) / LARGEST
    whole = torch.round(weight / torch.where(step > 0, step, torch.ones_like(step)))
    return whole.clamp(-LARGEST, LARGEST) * step
