"""The attention-boosting gate (AbG) of SERNet-Former.

It adds a gated copy of a feature map to the map.
https://arxiv.org/abs/2401.15741, section III. The research system's gate has neither weights nor BatchNorm.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def gate(x: Tensor) -> Tensor:
    """x·σ(x), of any shape."""
    return F.silu(x)


def boost(x: Tensor) -> Tensor:
    """x + x·σ(x), of any shape."""
    return x + F.silu(x)
