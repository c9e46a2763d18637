"""The Mix Transformer encoder of SegFormer.

Image (N, 3, H, W), optionally depth → feature maps at 1/4, 1/8, 1/16 and 1/32.
SegFormer, https://arxiv.org/abs/2105.15203, section 3.1. Attribute names follow transformers' 4.x checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import SegformerConfig
from .abg import boost, gate


def to_tokens(x: Tensor) -> Tensor:
    """(N, C, h, w) → (N, L, C) with L = h·w, row by row."""
    return x.flatten(2).transpose(1, 2)


def to_map(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, L, C) → (N, C, h, w) for size (h, w)."""
    n, _, c = tokens.shape
    return tokens.transpose(1, 2).reshape(n, c, *size)


class DropPath(nn.Module):
    """Stochastic depth: drops a whole sample's residual with probability `rate`; identity at inference.

    https://arxiv.org/abs/1603.09382
    """

    def __init__(self, *, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        mask = torch.empty((x.shape[0],) + (1,) * (x.dim() - 1), dtype=x.dtype, device=x.device).bernoulli_(keep)
        return x * (mask / keep)


class OverlapPatchEmbed(nn.Module):
    """Overlapping patches as tokens: (N, in_channels, h, w) → ((N, L, C), (h', w'))."""

    def __init__(
        self, *, in_channels: int, width: int, patch_size: int, stride: int, layer_norm_eps: float, abg: bool = False
    ):
        super().__init__()
        self.abg = abg
        self.proj = nn.Conv2d(in_channels, width, patch_size, stride=stride, padding=patch_size // 2)
        self.layer_norm = nn.LayerNorm(width, eps=layer_norm_eps)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        x = self.proj(x)
        size = (x.shape[2], x.shape[3])
        tokens = self.layer_norm(to_tokens(x))
        return (boost(tokens) if self.abg else tokens), size


class EfficientSelfAttention(nn.Module):
    """softmax(q kᵀ / √d) v, with keys and values from a map reduced R times a side. (N, L, C) → (N, L, C).

    Section 3.1, "Efficient Self-Attention".
    """

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        sr_ratio: int,
        layer_norm_eps: float,
        dropout: float = 0.0,
        abg: bool = False,
    ):
        super().__init__()
        self.heads = heads
        self.sr_ratio = sr_ratio
        self.abg = abg
        self.scale = 1 / math.sqrt(width // heads)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        if sr_ratio > 1:
            self.sr = nn.Conv2d(width, width, sr_ratio, stride=sr_ratio)
            self.layer_norm = nn.LayerNorm(width, eps=layer_norm_eps)

    def forward(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        source = tokens
        if self.sr_ratio > 1:
            source = self.layer_norm(to_tokens(self.sr(to_map(tokens, size))))
            if self.abg:
                source = boost(source)
        q, k, v = self._split(self.query(tokens)), self._split(self.key(source)), self._split(self.value(source))
        weights = self.dropout(torch.softmax(q @ k.transpose(-1, -2) * self.scale, dim=-1))
        return (weights @ v).transpose(1, 2).flatten(2)

    def _split(self, x: Tensor) -> Tensor:
        """(N, L, C) → (N, heads, L, C / heads)."""
        n, length, c = x.shape
        return x.reshape(n, length, self.heads, c // self.heads).transpose(1, 2)


class AttentionOutput(nn.Module):
    """The projection after the heads are concatenated: (N, L, C) → (N, L, C)."""

    def __init__(self, *, width: int, dropout: float):
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.dropout(self.dense(tokens))


class Attention(nn.Module):
    """Attention and its projection, under the names that the checkpoints use: (N, L, C) → (N, L, C)."""

    def __init__(self, *, attention: EfficientSelfAttention, output: AttentionOutput):
        super().__init__()
        self.self = attention
        self.output = output

    def forward(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        return self.output(self.self(tokens, size))


class DepthwiseConv(nn.Module):
    """Depthwise 3×3 convolution on the token grid, which replaces positional encoding: (N, L, C) → (N, L, C)."""

    def __init__(self, *, width: int):
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        return to_tokens(self.dwconv(to_map(tokens, size)))


class MixFFN(nn.Module):
    """dense1, depthwise convolution, GELU (erf), dense2: (N, L, C) → (N, L, C). Section 3.1, "Mix-FFN".

    With AbG the activation is GELU(h) + h·σ(h).
    """

    def __init__(self, *, width: int, hidden: int, dropout: float = 0.0, abg: bool = False):
        super().__init__()
        self.abg = abg
        self.dense1 = nn.Linear(width, hidden)
        self.dwconv = DepthwiseConv(width=hidden)
        self.dense2 = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        h = self.dwconv(self.dense1(tokens), size)
        active = F.gelu(h) + gate(h) if self.abg else F.gelu(h)
        return self.dropout(self.dense2(self.dropout(active)))


class Block(nn.Module):
    """t += attention(LN(t)); t += ffn(LN(t)). (N, L, C) → (N, L, C)."""

    def __init__(self, *, config: SegformerConfig, stage: int, drop_path: float, abg: bool):
        super().__init__()
        width, eps = config.hidden_sizes[stage], config.layer_norm_eps
        self.layer_norm_1 = nn.LayerNorm(width, eps=eps)
        self.attention = Attention(
            attention=EfficientSelfAttention(
                width=width,
                heads=config.heads[stage],
                sr_ratio=config.sr_ratios[stage],
                layer_norm_eps=config.embed_norm_eps,
                dropout=config.attention_dropout,
                abg=abg,
            ),
            output=AttentionOutput(width=width, dropout=config.hidden_dropout),
        )
        self.drop_path = DropPath(rate=drop_path)
        self.layer_norm_2 = nn.LayerNorm(width, eps=eps)
        self.mlp = MixFFN(width=width, hidden=width * config.mlp_ratios[stage], dropout=config.hidden_dropout, abg=abg)

    def forward(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        tokens = tokens + self.drop_path(self.attention(self.layer_norm_1(tokens), size))
        return tokens + self.drop_path(self.mlp(self.layer_norm_2(tokens), size))


class MixTransformer(nn.Module):
    """The four stages. forward(image, depths) → four maps (N, C_i, H/s_i, W/s_i) with s = 4, 8, 16, 32 for B0.

    Args of forward:
        image: (N, in_channels, H, W).
        depths: empty, or the depth pyramid (N, 1, ., .) with one level per stage, each of that stage's input size.
            Then every stage's patch convolution has one more input channel, the last one.
    """

    def __init__(self, *, config: SegformerConfig, abg: bool = False, depth: bool = False):
        super().__init__()
        widths, extra = config.hidden_sizes, int(depth)
        inputs = (config.in_channels, *widths[:-1])
        self.patch_embeddings = nn.ModuleList(
            OverlapPatchEmbed(
                in_channels=inputs[i] + extra,
                width=widths[i],
                patch_size=config.patch_sizes[i],
                stride=config.strides[i],
                layer_norm_eps=config.embed_norm_eps,
                abg=abg,
            )
            for i in range(4)
        )
        rates = iter(drop_path_rates(config))
        self.block = nn.ModuleList(
            nn.ModuleList(
                Block(config=config, stage=i, drop_path=next(rates), abg=abg) for _ in range(config.depths[i])
            )
            for i in range(4)
        )
        self.layer_norm = nn.ModuleList(nn.LayerNorm(c, eps=config.layer_norm_eps) for c in widths)

    def forward(self, image: Tensor, depths: Sequence[Tensor] = ()) -> list[Tensor]:
        x, outputs = image, []
        for i, (embed, blocks, norm) in enumerate(zip(self.patch_embeddings, self.block, self.layer_norm, strict=True)):
            tokens, size = embed(torch.cat([x, depths[i]], dim=1) if depths else x)
            for block in cast(nn.ModuleList, blocks):
                tokens = block(tokens, size)
            x = to_map(norm(tokens), size)
            outputs.append(x)
        return outputs


def drop_path_rates(config: SegformerConfig) -> list[float]:
    """The rate of each block, linear from 0 to `config.drop_path` over the whole depth."""
    count = sum(config.depths)
    return [config.drop_path * i / max(count - 1, 1) for i in range(count)]
