"""A small SegFormer with mmseg's names, head and eps: an oracle for loading its checkpoints.

Facts from mmsegmentation's models/backbones/mit.py and models/decode_heads/segformer_head.py: attention is PyTorch's
own MultiheadAttention; the Mix-FFN is a Sequential of convolutions; each projection is convolution, BatchNorm, ReLU;
the stages are concatenated from the first to the last; every LayerNorm has eps 1e-6.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPS = 1e-6


def _tokens(x: Tensor) -> Tensor:
    return x.flatten(2).permute(0, 2, 1)


def _map(t: Tensor, size: torch.Size) -> Tensor:
    return t.permute(0, 2, 1).unflatten(2, size)


class Attn(nn.Module):
    def __init__(self, width: int, heads: int, reduction: int):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads)
        if reduction > 1:
            self.sr = nn.Conv2d(width, width, reduction, stride=reduction)
            self.norm = nn.LayerNorm(width, eps=EPS)

    def forward(self, t: Tensor, size: torch.Size) -> Tensor:
        kv = self.norm(_tokens(self.sr(_map(t, size)))) if hasattr(self, "sr") else t
        q, kv = t.transpose(0, 1), kv.transpose(0, 1)
        return self.attn(query=q, key=kv, value=kv)[0].transpose(0, 1)


class Ffn(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        drop = nn.Dropout(0.0)
        self.layers = nn.Sequential(
            nn.Conv2d(width, 4 * width, 1),
            nn.Conv2d(4 * width, 4 * width, 3, padding=1, groups=4 * width),
            nn.GELU(),
            drop,
            nn.Conv2d(4 * width, width, 1),
            drop,
        )

    def forward(self, t: Tensor, size: torch.Size) -> Tensor:
        return _tokens(self.layers(_map(t, size)))


class Layer(nn.Module):
    def __init__(self, width: int, heads: int, reduction: int):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width, eps=EPS), Attn(width, heads, reduction)
        self.norm2, self.ffn = nn.LayerNorm(width, eps=EPS), Ffn(width)

    def forward(self, t: Tensor, size: torch.Size) -> Tensor:
        t = t + self.attn(self.norm1(t), size)
        return t + self.ffn(self.norm2(t), size)


class PatchEmbed(nn.Module):
    def __init__(self, channels: int, width: int, kernel: int, stride: int):
        super().__init__()
        self.projection = nn.Conv2d(channels, width, kernel, stride=stride, padding=kernel // 2)
        self.norm = nn.LayerNorm(width, eps=EPS)


def conv_module(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(conv=nn.Conv2d(channels, width, 1, bias=False), bn=nn.BatchNorm2d(width), activate=nn.ReLU())
    )


class MmsegSegformer(nn.Module):
    """forward(image) → logits (N, K, H/4, W/4)."""

    def __init__(self, *, widths: tuple[int, ...], depths: tuple[int, ...], channels: int, num_classes: int):
        super().__init__()
        inputs, heads, reductions = (3, *widths[:-1]), (1, 2, 5, 8), (8, 4, 2, 1)
        self.backbone = nn.Module()
        self.backbone.layers = nn.ModuleList(
            nn.ModuleList(
                [
                    PatchEmbed(inputs[i], widths[i], 7 if i == 0 else 3, 4 if i == 0 else 2),
                    nn.ModuleList(Layer(widths[i], heads[i], reductions[i]) for _ in range(depths[i])),
                    nn.LayerNorm(widths[i], eps=EPS),
                ]
            )
            for i in range(4)
        )
        self.decode_head = nn.Module()
        self.decode_head.convs = nn.ModuleList(conv_module(width, channels) for width in widths)
        self.decode_head.fusion_conv = conv_module(4 * channels, channels)
        self.decode_head.conv_seg = nn.Conv2d(channels, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = []
        for embed, blocks, norm in self.backbone.layers:
            x = embed.projection(x)
            size = x.shape[2:]
            t = embed.norm(_tokens(x))
            for block in blocks:
                t = block(t, size)
            x = _map(norm(t), size)
            maps.append(x)
        head = self.decode_head
        outs = [
            F.interpolate(conv(x), size=maps[0].shape[2:], mode="bilinear", align_corners=False)
            for conv, x in zip(head.convs, maps, strict=True)
        ]
        return head.conv_seg(head.fusion_conv(torch.cat(outs, dim=1)))


def authors_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict of a SegFormer under the names of https://github.com/NVlabs/SegFormer, joined as there."""
    result: dict[str, Tensor] = {}
    for key, tensor in state.items():
        parts = key.split(".")
        if parts[0] == "decode_head":
            tail = ".".join(parts[2:])
            if parts[1] == "linear_c":
                result[f"decode_head.linear_c{int(parts[2]) + 1}.{'.'.join(parts[3:])}"] = tensor
            elif parts[1] == "classifier":
                weight = tensor[:, :, None, None] if tail == "weight" else tensor
                result[f"decode_head.linear_pred.{tail}"] = weight
                result[f"decode_head.conv_seg.{tail}"] = torch.zeros_like(weight)  # inherited there and unused
            else:
                result[f"decode_head.linear_fuse.{'conv' if parts[1] == 'linear_fuse' else 'bn'}.{tail}"] = tensor
            continue
        kind, stage, rest = parts[2], int(parts[3]) + 1, ".".join(parts[4:])
        if kind == "patch_embeddings":
            result[f"backbone.patch_embed{stage}.{rest.replace('layer_norm', 'norm')}"] = tensor
        elif kind == "layer_norm":
            result[f"backbone.norm{stage}.{rest}"] = tensor
        elif "attention.self.value" in rest:
            continue  # joined with the key
        elif "attention.self.key" in rest:
            both = torch.cat([tensor, state[key.replace("self.key", "self.value")]])
            result[f"backbone.block{stage}.{rest.replace('attention.self.key', 'attn.kv')}"] = both
        else:
            for ours, theirs in (
                ("attention.self.query", "attn.q"),
                ("attention.self.sr", "attn.sr"),
                ("attention.self.layer_norm", "attn.norm"),
                ("attention.output.dense", "attn.proj"),
                ("layer_norm_", "norm"),
                ("mlp.dense", "mlp.fc"),
            ):
                rest = rest.replace(ours, theirs)
            result[f"backbone.block{stage}.{rest}"] = tensor
    return result
