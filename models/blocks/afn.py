"""AfN, the attention-fusion networks of SERNet-Former: feature map (N, C, h, w) → attention features.

https://arxiv.org/abs/2401.15741, section III. The spatial one keeps the size, the context one shrinks it to a quarter.
"""

from __future__ import annotations

from torch import Tensor, nn

from .abg import gate


class SpatialAFN(nn.Module):
    """Three times: 3×3 convolution, BatchNorm → y; PReLU(y) + y·σ(y). (N, C, h, w) → (N, C, h, w)."""

    strides = (1, 1, 1)

    def __init__(self, *, channels: int):
        super().__init__()
        s1, s2, s3 = self.strides
        self.conv1, self.bn1, self.relu1 = _conv(channels, s1), nn.BatchNorm2d(channels), nn.PReLU()
        self.conv2, self.bn2, self.relu2 = _conv(channels, s2), nn.BatchNorm2d(channels), nn.PReLU()
        self.conv3, self.bn3, self.relu3 = _conv(channels, s3), nn.BatchNorm2d(channels), nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(x))
        y = self.bn2(self.conv2(self.relu1(y) + gate(y)))
        y = self.bn3(self.conv3(self.relu2(y) + gate(y)))
        return self.relu3(y) + gate(y)


class ContextAFN(SpatialAFN):
    """The same with stride 2 in the first two convolutions: (N, C, h, w) → (N, C, ⌈h/4⌉, ⌈w/4⌉)."""

    strides = (2, 2, 1)


def _conv(channels: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, stride=stride, padding=1, bias=False)
