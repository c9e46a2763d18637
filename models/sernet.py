"""SERNet-Former: a convolutional network with gates, DbN and AfN.

Image (N, 3, H, W) → logits (N, K, H, W).
https://arxiv.org/abs/2401.15741, in the research system's form, whose encoder is a plain stack of convolutions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .blocks.abg import gate
from .blocks.afn import ContextAFN, SpatialAFN
from .blocks.dbn import DbN
from .blocks.upsample import UpsampleBlock
from .config import SernetConfig
from .segformer import ChannelLinear, check_inputs


class ConvBlock(nn.Module):
    """3×3 convolution, BatchNorm → y; PReLU(y) + y·σ(y): (N, C, h, w) → (N, D, ⌈h/stride⌉, ⌈w/stride⌉)."""

    def __init__(self, *, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        self.relu = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn(self.conv(x))
        return self.relu(y) + gate(y)


class SernetEncoder(nn.Module):
    """Image (N, 3, H, W) → (64 channels at 1/2, 64 at 1/4, 512 at 1/16)."""

    def __init__(self) -> None:
        super().__init__()
        self.initial_conv = ConvBlock(in_channels=3, out_channels=64, stride=2)
        self.conv1 = ConvBlock(in_channels=64, out_channels=64)
        self.conv2 = ConvBlock(in_channels=64, out_channels=128, stride=2)
        self.conv3 = ConvBlock(in_channels=128, out_channels=256, stride=2)
        self.conv4 = ConvBlock(in_channels=256, out_channels=512)
        self.dbn = DbN(channels=512)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        half = self.initial_conv(image)
        quarter = self.conv1(F.max_pool2d(half, 3, stride=2, padding=1))
        return half, quarter, self.dbn(self.conv4(self.conv3(self.conv2(quarter))))


class FusionBranch(nn.Module):
    """u = up(x); u + up(afn(u)): (N, in_channels, h, w) → (N, channels, scale·h, scale·w)."""

    def __init__(self, *, afn: SpatialAFN, in_channels: int, channels: int, scale: int):
        super().__init__()
        self.afn = afn
        self.upsample_block1 = UpsampleBlock(in_channels=in_channels, out_channels=channels, scale=scale)
        self.upsample_block2 = UpsampleBlock(in_channels=channels, out_channels=channels, scale=scale)

    def forward(self, x: Tensor) -> Tensor:
        up = self.upsample_block1(x)
        return up + self.upsample_block2(self.afn(up))


class SernetDecoder(nn.Module):
    """The encoder's three maps → logits (N, K, H, W)."""

    def __init__(self, *, num_labels: int):
        super().__init__()
        self.afn1 = FusionBranch(afn=SpatialAFN(channels=64), in_channels=64, channels=64, scale=1)
        self.afn2 = FusionBranch(afn=ContextAFN(channels=32), in_channels=512, channels=32, scale=4)
        self.conv1 = nn.Conv2d(160, 64, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu1 = nn.PReLU()
        self.upsample1 = UpsampleBlock(in_channels=64, out_channels=64, scale=2)
        self.upsample2 = UpsampleBlock(in_channels=128, out_channels=128, scale=2)
        self.cls_head = ChannelLinear(128, num_labels)

    def forward(self, half: Tensor, quarter: Tensor, deep: Tensor) -> Tensor:
        x = torch.cat([quarter, self.afn1(quarter), self.afn2(deep)], dim=1)
        x = self.upsample1(self.relu1(self.bn1(self.conv1(x))))
        return self.cls_head(self.upsample2(torch.cat([half, x], dim=1)))


class SernetFormer(nn.Module):
    """SERNet-Former. forward(image) → logits (N, K, H, W)."""

    def __init__(self, config: SernetConfig):
        super().__init__()
        self.config = config
        self.encoder = SernetEncoder()
        self.decoder = SernetDecoder(num_labels=config.num_labels)

    def forward(self, image: Tensor, depth: Tensor | None = None) -> Tensor:
        check_inputs(self.config, image, depth)
        return self.decoder(*self.encoder(image))
