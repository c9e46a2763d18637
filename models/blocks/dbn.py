"""DbN, the dilation-based network of SERNet-Former: feature map (N, C, h, w) → the same shape.

https://arxiv.org/abs/2401.15741, section III: parallel dilated convolutions, added.
"""

from __future__ import annotations

from torch import Tensor, nn

DILATIONS = (12, 16, 18)


class DilatedConv(nn.Module):
    """Dilated 3×3 convolution, BatchNorm, PReLU: (N, C, h, w) → (N, C, h, w)."""

    def __init__(self, *, channels: int, dilation: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)))


class DbN(nn.Module):
    """The sum of three dilated convolutions: (N, C, h, w) → (N, C, h, w)."""

    def __init__(self, *, channels: int):
        super().__init__()
        first, second, third = DILATIONS
        self.dilated_conv1 = DilatedConv(channels=channels, dilation=first)
        self.dilated_conv2 = DilatedConv(channels=channels, dilation=second)
        self.dilated_conv3 = DilatedConv(channels=channels, dilation=third)

    def forward(self, x: Tensor) -> Tensor:
        return self.dilated_conv1(x) + self.dilated_conv2(x) + self.dilated_conv3(x)
