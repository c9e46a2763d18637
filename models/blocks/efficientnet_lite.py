"""EfficientNet-Lite encoders without their classifiers.

https://arxiv.org/abs/1905.11946 without squeeze-and-excitation and with ReLU6 (Lite, TensorFlow's tpu repository,
Apache-2.0). The keys and the TensorFlow conventions (SAME padding, BatchNorm's eps 1e-3) are those of timm's
`tf_efficientnet_lite*`, in the grouping of MiDaS, whose checkpoints hold Lite3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

BATCH_NORM_EPS = 1e-3
STEM_CHANNELS = 32


@dataclass(frozen=True)
class Stage:
    """Blocks of one width. The first of them has the stride and changes the width.

    Attributes:
        blocks: how many.
        kernel: side of the depthwise convolutions.
        stride: of the first block.
        channels: width of the result.
    """

    blocks: int
    kernel: int
    stride: int
    channels: int


@dataclass(frozen=True)
class Variant:
    """One member of the family.

    Attributes:
        first: the stage at 1/2, which has no expansion.
        stages: the inverted residuals: at 1/4, 1/8, 1/16 (two), 1/32 (two).
    """

    first: Stage
    stages: tuple[Stage, Stage, Stage, Stage, Stage, Stage]

    @property
    def channels(self) -> tuple[int, int, int, int, int]:
        """Widths of the maps at 1/2, 1/4, 1/8, 1/16 and 1/32."""
        quarter, eighth, _, sixteenth, _, last = (stage.channels for stage in self.stages)
        return self.first.channels, quarter, eighth, sixteenth, last


LITE0 = Variant(
    Stage(1, 3, 1, 16),
    (
        Stage(2, 3, 2, 24),
        Stage(2, 5, 2, 40),
        Stage(3, 3, 2, 80),
        Stage(3, 5, 1, 112),
        Stage(4, 5, 2, 192),
        Stage(1, 3, 1, 320),
    ),
)
# Lite0's stages with widths times 1.2, rounded to multiples of 8 but by no more than a tenth down, and block counts
# times 1.4, rounded up; Lite keeps the stem's width and the first and last stage's block counts.
LITE3 = Variant(
    Stage(1, 3, 1, 24),
    (
        Stage(3, 3, 2, 32),
        Stage(3, 5, 2, 48),
        Stage(5, 3, 2, 96),
        Stage(5, 5, 1, 136),
        Stage(6, 5, 2, 232),
        Stage(1, 3, 1, 384),
    ),
)
EXPANSION = 6


def same_padding(kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after a side in TensorFlow's SAME padding, for sides that the stride divides.

    The result has size/stride places; the odd zero comes last.

    >>> same_padding(3, 1), same_padding(3, 2), same_padding(5, 2), same_padding(1, 1)
    ((1, 1), (0, 1), (1, 2), (0, 0))
    """
    total = kernel - stride
    return total // 2, total - total // 2


class SameConv(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow does: (N, C, h, w) → (N, D, h/stride, w/stride)."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 1, *, stride: int = 1, groups: int = 1):
        before, after = same_padding(kernel, stride)
        padding = before if before == after else 0
        super().__init__(in_channels, out_channels, kernel, stride, padding, groups=groups, bias=False)
        self.uneven = (before, after) if before != after else None

    def forward(self, x: Tensor) -> Tensor:
        if self.uneven is not None:
            x = F.pad(x, (*self.uneven, *self.uneven))
        return super().forward(x)


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """BatchNorm with TensorFlow's eps."""
    return nn.BatchNorm2d(channels, eps=BATCH_NORM_EPS)


class SeparableConv(nn.Module):
    """Depthwise, BatchNorm, ReLU6, then 1×1 and BatchNorm: (N, C, h, w) → (N, D, h, w)."""

    def __init__(self, *, in_channels: int, stage: Stage):
        super().__init__()
        self.conv_dw = SameConv(in_channels, in_channels, stage.kernel, stride=stage.stride, groups=in_channels)
        self.bn1 = batch_norm(in_channels)
        self.conv_pw = SameConv(in_channels, stage.channels)
        self.bn2 = batch_norm(stage.channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn2(self.conv_pw(F.relu6(self.bn1(self.conv_dw(x)))))


class InvertedResidual(nn.Module):
    """1×1 to EXPANSION·C, depthwise, 1×1 to D, each with BatchNorm, the first two with ReLU6; x is added if it fits.

    (N, C, h, w) → (N, D, h/stride, w/stride).
    """

    def __init__(self, *, in_channels: int, out_channels: int, kernel: int, stride: int):
        super().__init__()
        wide = EXPANSION * in_channels
        self.adds_input = stride == 1 and in_channels == out_channels
        self.conv_pw = SameConv(in_channels, wide)
        self.bn1 = batch_norm(wide)
        self.conv_dw = SameConv(wide, wide, kernel, stride=stride, groups=wide)
        self.bn2 = batch_norm(wide)
        self.conv_pwl = SameConv(wide, out_channels)
        self.bn3 = batch_norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self.bn1(self.conv_pw(x)))
        y = F.relu6(self.bn2(self.conv_dw(y)))
        y = self.bn3(self.conv_pwl(y))
        return x + y if self.adds_input else y


class EfficientNetLite(nn.Module):
    """Image (N, 3, H, W) → five maps, `variant.channels` wide, at 1/2, 1/4, 1/8, 1/16 and 1/32.

    H and W are multiples of 32.
    """

    def __init__(self, *, variant: Variant):
        super().__init__()
        first = nn.Sequential(SeparableConv(in_channels=STEM_CHANNELS, stage=variant.first))
        quarter, eighth, *sixteenth, half_of_it, last = _stages(variant)
        stem = SameConv(3, STEM_CHANNELS, 3, stride=2)
        self.layer1 = nn.Sequential(stem, batch_norm(STEM_CHANNELS), nn.ReLU6(), first, quarter)
        self.layer2 = nn.Sequential(eighth)
        self.layer3 = nn.Sequential(*sixteenth)
        self.layer4 = nn.Sequential(half_of_it, last)

    def forward(self, image: Tensor) -> list[Tensor]:
        stem, norm, relu, first, quarter = self.layer1
        maps = [first(relu(norm(stem(image))))]
        for layer in (quarter, self.layer2, self.layer3, self.layer4):
            maps.append(layer(maps[-1]))
        return maps


def _stages(variant: Variant) -> Iterator[nn.Sequential]:
    in_channels = variant.first.channels
    for stage in variant.stages:
        blocks = []
        for index in range(stage.blocks):
            stride = stage.stride if index == 0 else 1
            blocks.append(
                InvertedResidual(
                    in_channels=in_channels, out_channels=stage.channels, kernel=stage.kernel, stride=stride
                )
            )
            in_channels = stage.channels
        yield nn.Sequential(*blocks)
