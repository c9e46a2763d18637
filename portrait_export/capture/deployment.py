"""Add the mask head to a network: the person's `logits` and `mask`."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ..errors import CaptureError
from ..preprocessing import PortraitSpec

NET = "net"  # attribute of the wrapped network; its names lose this prefix in the exported graph


class MaskHead(nn.Module):
    """Logits to P(person) at the input's size.

    Args:
        height, width: the input size in pixels.
    """

    def __init__(self, *, height: int, width: int):
        super().__init__()
        self.size = (height, width)

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        """(1, 1, h, w) logits to (1, 1, H, W) probabilities: bilinear (align_corners=False), then sigmoid."""
        if tuple(logits.shape[-2:]) != self.size:
            logits = functional.interpolate(logits, size=self.size, mode="bilinear", align_corners=False)
        return torch.sigmoid(logits)


class Deployment(nn.Module):
    """The module that is deployed: normalised inputs to the person's logits and mask.

    Args:
        net: takes `image` (1, 3, H, W), and `depth` (1, 1, H, W) if the spec asks for it; returns (1, 1, h, w) logits.
        spec: sizes, inputs and which class the logits are about.
    """

    def __init__(self, net: nn.Module, *, spec: PortraitSpec):
        super().__init__()
        self.net = net
        self.mask_head = MaskHead(height=spec.height, width=spec.width)
        self.flip = spec.positive == "background"

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The spec's inputs in order, float32; returns `logits` (1, 1, h, w) and `mask` (1, 1, H, W)."""
        logits = _only_logits(self.net(*inputs))
        logits = -logits if self.flip else logits
        return logits, self.mask_head(logits)


def _only_logits(output: Any) -> torch.Tensor:
    """The logits tensor of a network's output: itself, or `.logits` of a transformers output."""
    logits = getattr(output, "logits", output)
    if not isinstance(logits, torch.Tensor):
        raise CaptureError(
            f"The network returned {type(output).__name__}, not a tensor of logits.",
            hint="wrap it so that forward returns the (1, 1, h, w) logits",
        )
    shape = tuple(int(size) for size in logits.shape)  # while tracing, sizes are tensors
    if len(shape) != 4 or shape[:2] != (1, 1):
        raise CaptureError(
            f"The network returned logits of shape {shape}; one label needs (1, 1, h, w).",
            hint="a network of several classes needs its person logit chosen first",
        )
    return logits
