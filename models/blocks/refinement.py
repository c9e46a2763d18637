"""RefineNet's fusion of two feature maps.

A coarse map and the encoder's map of its size → one map of twice the size.
https://arxiv.org/abs/1611.06612, in the form that MiDaS v2.1 has (https://arxiv.org/abs/1907.01341), with its keys.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class ResidualConvUnit(nn.Module):
    """x + conv(relu(conv(relu(x)))), of one shape."""

    def __init__(self, *, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class FeatureFusion(nn.Module):
    """(N, C, h, w) and perhaps an encoder's map of that shape → (N, D, 2h, 2w), bilinear with aligned corners.

    `resConfUnit1` is for the encoder's map; the deepest fusion has none, and yet the unit is in the checkpoints.
    """

    def __init__(self, *, channels: int, out_channels: int):
        super().__init__()
        self.out_conv = nn.Conv2d(channels, out_channels, 1)
        self.resConfUnit1 = ResidualConvUnit(channels=channels)
        self.resConfUnit2 = ResidualConvUnit(channels=channels)

    def forward(self, x: Tensor, skipped: Tensor | None = None) -> Tensor:
        fused = x if skipped is None else x + self.resConfUnit1(skipped)
        size = (2 * fused.shape[2], 2 * fused.shape[3])
        larger = F.interpolate(self.resConfUnit2(fused), size=size, mode="bilinear", align_corners=True)
        return self.out_conv(larger)
