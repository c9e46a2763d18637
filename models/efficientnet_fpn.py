"""A mobile CNN: an EfficientNet-Lite0 encoder with a small feature pyramid.

Encoder: https://arxiv.org/abs/1905.11946 (Lite: without squeeze-and-excitation, with ReLU6). Decoder: a feature pyramid
(https://arxiv.org/abs/1612.03144) of depthwise separable convolutions, with the gated deepest map of LR-ASPP
(https://arxiv.org/abs/1905.02244, section 6.4). Every operation runs on the Neural Engine.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from .blocks.efficientnet_lite import LITE0, EfficientNetLite
from .blocks.upsample import resize
from .config import EfficientNetFPNConfig
from .segformer import ChannelLinear, check_inputs


def conv_norm(in_channels: int, out_channels: int, kernel: int = 1, *, groups: int = 1) -> nn.Sequential:
    """A convolution that keeps the size, and BatchNorm."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


class SeparableBlock(nn.Module):
    """Depthwise, 1×1, each with BatchNorm, and ReLU6 at the end: (N, C, h, w) → (N, C, h, w)."""

    def __init__(self, *, channels: int, kernel: int):
        super().__init__()
        self.depthwise = conv_norm(channels, channels, kernel, groups=channels)
        self.pointwise = conv_norm(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu6(self.pointwise(self.depthwise(x)))


class Context(nn.Module):
    """LR-ASPP's head on the deepest map: relu(W·x) · σ(V·mean(x)): (N, in_channels, h, w) → (N, channels, h, w)."""

    def __init__(self, *, in_channels: int, channels: int):
        super().__init__()
        self.project = conv_norm(in_channels, channels)
        self.gate = nn.Conv2d(in_channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.gate(x.mean(dim=(2, 3), keepdim=True)).sigmoid()
        return F.relu6(self.project(x)) * gate


class Level(nn.Module):
    """One step up the pyramid: relu(resize(U·below) + L·lateral), then separable convolutions.

    below (N, C, h, w) and lateral (N, D, 2h, 2w) → (N, channels, 2h, 2w).
    """

    def __init__(self, *, below: int, lateral: int, channels: int, blocks: int, kernel: int):
        super().__init__()
        self.up = conv_norm(below, channels)
        self.lateral = conv_norm(lateral, channels)
        self.blocks = nn.Sequential(*(SeparableBlock(channels=channels, kernel=kernel) for _ in range(blocks)))

    def forward(self, below: Tensor, lateral: Tensor) -> Tensor:
        up = resize(self.up(below), (lateral.shape[2], lateral.shape[3]))
        return self.blocks(F.relu6(up + self.lateral(lateral)))


class PyramidHead(nn.Module):
    """The encoder's five maps → logits (N, K, H/2, W/2)."""

    def __init__(self, *, in_channels: Sequence[int], config: EfficientNetFPNConfig):
        super().__init__()
        widths = config.widths
        self.context = Context(in_channels=in_channels[-1], channels=widths[-1])
        self.levels = nn.ModuleList(
            Level(
                below=widths[i + 1],
                lateral=in_channels[i],
                channels=widths[i],
                blocks=config.blocks[i],
                kernel=config.kernels[i],
            )
            for i in reversed(range(len(widths) - 1))
        )
        self.dropout = nn.Dropout(config.head_dropout)
        self.classifier = ChannelLinear(widths[0], config.num_labels)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        x = self.context(maps[-1])
        for level, lateral in zip(self.levels, reversed(maps[:-1]), strict=True):
            x = level(x, lateral)
        return self.classifier(self.dropout(x))


class EfficientNetFPN(nn.Module):
    """EfficientNet-Lite0 with a feature pyramid. forward(image) → logits (N, K, h, w) at 1/2 of the image's size."""

    def __init__(self, config: EfficientNetFPNConfig):
        super().__init__()
        self.config = config
        self.encoder = EfficientNetLite(variant=LITE0)
        self.decode_head = PyramidHead(in_channels=LITE0.channels, config=config)

    def forward(self, image: Tensor, depth: Tensor | None = None) -> Tensor:
        check_inputs(self.config, image, depth)
        return self.decode_head(self.encoder(image))
