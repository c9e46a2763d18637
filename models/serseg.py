"""SERSeg and SERSegFormer, with a switch for each idea.

Image (N, 3, H, W), optionally depth (N, 1, H, W) → logits.
SegFormer with the attention ideas of SERNet-Former (https://arxiv.org/abs/2401.15741): AbG in the encoder; DbN, AfN,
depth and DAM on the stages' outputs, in this order; DConv upsampling after the fusion.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .blocks.afn import ContextAFN, SpatialAFN
from .blocks.dam import DAM
from .blocks.dbn import DbN
from .blocks.mix_transformer import MixTransformer
from .blocks.upsample import UpsampleBlock
from .config import SersegConfig
from .segformer import Backbone, ChannelLinear, MLPFusion, check_inputs


def head_widths(config: SersegConfig) -> tuple[int, ...]:
    """D_0..D_3, the channels of the four maps when they reach `linear_c`."""
    c0, c1, c2, c3 = config.hidden_sizes
    if config.dbn:
        c0, c1 = 2 * c0, 2 * c1
    if config.afn:
        c0, c1 = 2 * c0, 2 * c1
        c2, c3 = c0 + 2 * c2, c1 + 2 * c3
    extra = int(config.depth)
    return c0 + extra, c1 + extra, c2 + extra, c3


class SersegHead(MLPFusion):
    """Four maps, and with depth the depth pyramid's levels 1..3 → logits (N, K, h, w).

    (h, w) is the first map's size, or with `upsample` four times that.
    """

    def __init__(self, *, config: SersegConfig):
        widths = head_widths(config)
        super().__init__(in_channels=widths, config=config)
        self.config = config
        c0, c1, c2, c3 = config.hidden_sizes
        if config.dbn:
            self.dbn1, self.dbn2 = DbN(channels=c0), DbN(channels=c1)
            c0, c1 = 2 * c0, 2 * c1
        if config.afn:
            self.afn11, self.afn22 = SpatialAFN(channels=c0), SpatialAFN(channels=c1)
            self.afn13, self.afn24 = ContextAFN(channels=2 * c0), ContextAFN(channels=2 * c1)
            self.afn33, self.afn44 = SpatialAFN(channels=c2), SpatialAFN(channels=c3)
        if config.dam:
            self.dam = DAM(channels=widths[0])
        if config.upsample:
            u = config.upsample_width
            self.upsample1 = UpsampleBlock(in_channels=config.decoder_width, out_channels=u, scale=2)
            self.upsample2 = UpsampleBlock(in_channels=u, out_channels=u, scale=2)
            if config.afn:
                self.afn_final = nn.Sequential(
                    ContextAFN(channels=u), UpsampleBlock(in_channels=u, out_channels=u, scale=4)
                )
        self.classifier = ChannelLinear(
            config.upsample_width if config.upsample else config.decoder_width, config.num_labels
        )

    def forward(self, features: Sequence[Tensor], depths: Sequence[Tensor] = ()) -> Tensor:
        x = self.fuse(self._attend(features, depths))
        if self.config.upsample:
            x = self.upsample1(x)
            if self.config.afn:
                x = x + self.afn_final(x)
            x = self.upsample2(x)
        return self.classifier(x)

    def _attend(self, features: Sequence[Tensor], depths: Sequence[Tensor]) -> list[Tensor]:
        """The optional modules on the stages' outputs. Each module's result comes first in its concatenation."""
        e0, e1, e2, e3 = features
        if self.config.dbn:
            e0, e1 = _join(self.dbn1(e0), e0), _join(self.dbn2(e1), e1)
        if self.config.afn:
            e0, e1 = _join(self.afn11(e0), e0), _join(self.afn22(e1), e1)
            e2 = _join(self.afn13(e0), self.afn33(e2), e2)  # from the new e0
            e3 = _join(self.afn24(e1), self.afn44(e3), e3)
        if self.config.depth:
            e0, e1, e2 = (_join(e, d) for e, d in zip((e0, e1, e2), depths, strict=True))
        if self.config.dam:
            e0 = self.dam(e0)
        return [e0, e1, e2, e3]


class Serseg(nn.Module):
    """SERSeg. forward(image, depth) → logits (N, K, h, w), at the image's size with `upsample`, else at 1/4."""

    def __init__(self, config: SersegConfig):
        super().__init__()
        self.config = config
        self.sersegformer = Backbone(encoder=MixTransformer(config=config, abg=config.abg, depth=config.depth))
        self.decode_head = SersegHead(config=config)

    def forward(self, image: Tensor, depth: Tensor | None = None) -> Tensor:
        check_inputs(self.config, image, depth)
        pyramid = [] if depth is None else depth_pyramid(depth)
        return self.decode_head(self.sersegformer(image, pyramid), pyramid[1:])


def depth_pyramid(depth: Tensor) -> list[Tensor]:
    """The depth map (N, 1, H, W) itself and at 1/4, 1/8 and 1/16, each resized from the full map.

    Bilinear with half-pixel centres and no antialiasing: it reads the 2×2 pixels at a cell's centre; not an average.
    """
    height, width = depth.shape[2], depth.shape[3]
    small = [
        F.interpolate(depth, size=(height // r, width // r), mode="bilinear", align_corners=False) for r in (4, 8, 16)
    ]
    return [depth, *small]


def _join(*maps: Tensor) -> Tensor:
    return torch.cat(maps, dim=1)
