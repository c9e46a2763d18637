"""Enlarge feature maps: the UpsampleBlock of the DConv decoder, and resizing to a given size."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize of (N, C, h, w) to `size`, with half-pixel centres (align_corners=False)."""
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class UpsampleBlock(nn.Module):
    """Bilinear upsampling with aligned corners, then a 3×3 convolution, BatchNorm and PReLU.

    (N, in_channels, h, w) → (N, out_channels, scale·h, scale·w). Scale 1 leaves out the resize, which is the identity.
    """

    def __init__(self, *, in_channels: int, out_channels: int, scale: int):
        super().__init__()
        self.scale = scale
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        self.relu = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        if self.scale != 1:
            size = (x.shape[2] * self.scale, x.shape[3] * self.scale)
            x = F.interpolate(x, size=size, mode="bilinear", align_corners=True)
        return self.relu(self.bn(self.conv(x)))
