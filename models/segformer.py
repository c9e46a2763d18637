"""SegFormer: a Mix Transformer with an all-MLP head.

Image (N, 3, H, W) → logits (N, K, H/4, W/4).
https://arxiv.org/abs/2105.15203, section 3.2. The state dict's keys are those of transformers' 4.x checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UsageError
from .blocks.mix_transformer import MixTransformer
from .blocks.upsample import resize
from .config import NetConfig, SegformerConfig


class ChannelLinear(nn.Linear):
    """A Linear on the channel axis of a map: (N, C, h, w) → (N, D, h, w).

    The weight is [D, C], as in the checkpoints; computed as a 1×1 convolution, which needs no transposes.
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight[:, :, None, None], self.bias)


class LinearProjection(nn.Module):
    """One stage's map to the head's width: (N, in_channels, h, w) → (N, width, h, w)."""

    def __init__(self, *, in_channels: int, width: int):
        super().__init__()
        self.proj = ChannelLinear(in_channels, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class MLPFusion(nn.Module):
    """The all-MLP fusion: four maps → one (N, decoder_width, h₀, w₀), at the first map's size.

    The maps are concatenated from the deepest to the shallowest: stage 3, 2, 1, 0.
    """

    def __init__(self, *, in_channels: Sequence[int], config: SegformerConfig):
        super().__init__()
        width = config.decoder_width
        self.projection_relu = config.projection_relu
        self.linear_c = nn.ModuleList(LinearProjection(in_channels=c, width=width) for c in in_channels)
        self.linear_fuse = nn.Conv2d(width * len(in_channels), width, 1, bias=False)
        self.batch_norm = nn.BatchNorm2d(width)
        self.dropout = nn.Dropout(config.head_dropout)

    def fuse(self, features: Sequence[Tensor]) -> Tensor:
        cheap = self.training and not self.projection_relu
        fused = self.mix_then_resize(features) if cheap else self.resize_then_mix(features)
        return self.dropout(F.relu(self.batch_norm(fused)))

    def resize_then_mix(self, features: Sequence[Tensor]) -> Tensor:
        """As the paper writes it, and as it is exported."""
        size = (features[0].shape[2], features[0].shape[3])
        projected = [linear(x) for linear, x in zip(self.linear_c, features, strict=True)]
        if self.projection_relu:
            projected = [F.relu(x) for x in projected]
        # The first map has the size already. Comparing sizes instead would depend on data while tracing.
        resized = [projected[0], *(resize(x, size) for x in projected[1:])]
        mixed: Tensor = self.linear_fuse(torch.cat(resized[::-1], dim=1))
        return mixed

    def parts(self) -> list[Tensor]:
        """What the fusion's weight has for each stage, from the first one on: views (width, width)."""
        return [*self.linear_fuse.weight[:, :, 0, 0].chunk(len(self.linear_c), dim=1)[::-1]]

    def mix_then_resize(self, features: Sequence[Tensor]) -> Tensor:
        """The same without the projections' ReLU, with a fraction of the arithmetic, which training does three times.

        A 1×1 convolution of a concatenation is a sum over its parts, and commutes with resizing:
        W·[resize(P_a·a), resize(P_b·b)] = resize(W_a·P_a·a) + resize(W_b·P_b·b).
        """
        size = (features[0].shape[2], features[0].shape[3])
        mixed = []
        for linear, x, part in zip(self.linear_c, features, self.parts(), strict=True):
            weight, bias = (part @ parameter for parameter in linear.parameters())
            mixed.append(F.conv2d(x, weight[:, :, None, None], bias))
        total = mixed[0]
        for x in mixed[1:]:
            total = total + resize(x, size)
        return total

    @torch.no_grad()
    def absorb_projections(self) -> None:
        """Multiply the projections into the fusion, which changes nothing but the rounding, and leave identities.

        Exports multiply them anyway; so the fusion's weights are those that a package stores. A stage with more
        channels than the head keeps its projection, and so do all before a ReLU.
        """
        if self.projection_relu:
            return
        mean = self.batch_norm.get_buffer("running_mean")
        for linear, part in zip(self.linear_c, self.parts(), strict=True):
            weight, bias = linear.parameters()
            width, channels = weight.shape
            if channels > width:
                continue
            mean -= part @ bias
            product = part @ weight
            part.zero_()
            part[:, :channels] = product
            nn.init.eye_(weight)
            bias.zero_()


class SegformerHead(MLPFusion):
    """Four maps → logits (N, K, h₀, w₀)."""

    def __init__(self, *, config: SegformerConfig):
        super().__init__(in_channels=config.hidden_sizes, config=config)
        self.classifier = ChannelLinear(config.decoder_width, config.num_labels)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return self.classifier(self.fuse(features))


class Backbone(nn.Module):
    """Holds the encoder under the name `encoder`, one level down, as the checkpoints have it."""

    def __init__(self, *, encoder: MixTransformer):
        super().__init__()
        self.encoder = encoder

    def forward(self, image: Tensor, depths: Sequence[Tensor] = ()) -> list[Tensor]:
        return self.encoder(image, depths)


class Segformer(nn.Module):
    """SegFormer. forward(image) → logits (N, K, h, w) at 1/4 of the image's size."""

    def __init__(self, config: SegformerConfig):
        super().__init__()
        self.config = config
        self.segformer = Backbone(encoder=MixTransformer(config=config))
        self.decode_head = SegformerHead(config=config)

    def forward(self, image: Tensor, depth: Tensor | None = None) -> Tensor:
        check_inputs(self.config, image, depth)
        return self.decode_head(self.segformer(image))


def check_inputs(config: NetConfig, image: Tensor, depth: Tensor | None) -> None:
    """Raise UsageError for a missing or superfluous depth map, or a size that the network cannot take."""
    if (depth is None) == config.takes_depth:
        found = "none was given" if depth is None else "one was given"
        needs = "needs a" if config.takes_depth else "takes no"
        raise UsageError(f"This network {needs} depth map in addition to the image; {found}.")
    if torch.jit.is_tracing():  # sizes are traced values there; the example has been checked by running it
        return
    height, width, multiple = image.shape[2], image.shape[3], config.size_multiple
    if height % multiple or width % multiple:
        raise UsageError(f"The input is {height}x{width}; both sides must be multiples of {multiple} for this network.")
    if depth is not None and tuple(depth.shape) != (image.shape[0], 1, height, width):
        raise UsageError(f"The depth map is {tuple(depth.shape)}; expected {(image.shape[0], 1, height, width)}.")
