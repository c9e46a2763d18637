"""Round weights to 8-bit steps.

An int8 package then stores the network exactly.
Each output channel has its own step, as in Core ML's linear quantization of weights: w = k·s with whole k,
|k| ≤ 127 and s = max|w| / 127. A norm that is folded into the convolution before it scales whole channels, and the
folded weights are on steps again: k·(s·g/√v).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

LARGEST = 127


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
