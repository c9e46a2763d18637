"""The dual attention module (DAM): channel attention, then spatial attention.

(N, C, h, w) → the same shape.
After DANet (https://arxiv.org/abs/1809.02983) and CBAM (https://arxiv.org/abs/1807.06521).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ChannelAttention(nn.Module):
    """y = conv(x); y + y·a, with one weight a in 0..1 per channel: (N, C, h, w) → (N, D, h, w)."""

    def __init__(self, *, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.attn = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(out_channels, out_channels, 1),
            nn.PReLU(),
            nn.Conv2d(out_channels, out_channels, 1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return y + y * self.attn(y)


class ChannelMean(nn.Module):
    """(N, C, h, w) → (N, 1, h, w)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=1, keepdim=True)


class SpatialAttention(nn.Module):
    """y = conv(x); y + y·a, with one weight a in 0..1 per pixel: (N, C, h, w) → (N, D, h, w)."""

    def __init__(self, *, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.attn = nn.Sequential(
            ChannelMean(),
            nn.Conv2d(1, 1, 7, padding=3),
            nn.PReLU(),
            nn.Conv2d(1, 1, 7, padding=6, dilation=2),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return y + y * self.attn(y)


class DualAttention(nn.Module):
    """Channel and spatial attention in parallel, concatenated: (N, C, h, w) → (N, C, h, w), ⌊C/2⌋ + ⌈C/2⌉ channels."""

    def __init__(self, *, channels: int):
        super().__init__()
        half = channels // 2
        self.cam = ChannelAttention(in_channels=channels, out_channels=half)
        self.sam = SpatialAttention(in_channels=channels, out_channels=channels - half)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.cam(x), self.sam(x)], dim=1)


class DAM(nn.Module):
    """Two dual attentions in sequence: (N, C, h, w) → (N, C, h, w)."""

    def __init__(self, *, channels: int):
        super().__init__()
        half = channels // 2
        self.dam = nn.Sequential(DualAttention(channels=channels), DualAttention(channels=channels))
        # The research checkpoints contain these two, but its forward never uses them. They are here so that keys and
        # parameter counts match; exports do not contain them.
        self.conv_cam = nn.Conv2d(channels, half, 3, padding=1)
        self.conv_sam = nn.Conv2d(channels, channels - half, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.dam(x)
