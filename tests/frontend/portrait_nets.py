"""Portrait and mobile segmentation nets as their papers describe them, small or full-sized, in plain torch modules.

What makes each of them hard to convert is kept: pooling that rounds up, instance norms next to batch norms, gates from
pooled features, dilated branches, recurrent states and a resize by a factor that is an input. Widths shrink with
`width`, the number of channels of the first stage.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def resize_like(x: Tensor, other: Tensor, *, align_corners: bool = False) -> Tensor:
    """Bilinear, to another map's size."""
    return F.interpolate(x, size=other.shape[-2:], mode="bilinear", align_corners=align_corners)


def conv_bn(
    inside: int,
    outside: int,
    kernel: int = 3,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    act: nn.Module | None = None,
) -> nn.Sequential:
    """Convolution, batch norm and an activation (ReLU), as large as the input at stride 1."""
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(inside, outside, kernel, stride, padding, dilation, groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outside), nn.ReLU() if act is None else act)


def separable(inside: int, outside: int, *, stride: int = 1, act: nn.Module | None = None) -> nn.Sequential:
    """A depthwise 3x3 and a pointwise convolution."""
    return nn.Sequential(
        conv_bn(inside, inside, stride=stride, groups=inside, act=act), conv_bn(inside, outside, 1, act=act)
    )


class SqueezeExcite(nn.Module):
    """Channels weighted by what their means say (arXiv:1709.01507), with linear layers as MODNet has them."""

    def __init__(self, width: int):
        super().__init__()
        self.gate = nn.Sequential(
            nn.Linear(width, width // 4), nn.ReLU(), nn.Linear(width // 4, width), nn.Hardsigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        gate = self.gate(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return x * gate[:, :, None, None].expand_as(x)


# MODNet, arXiv:2011.11961: semantic, detail and fusion branch; half of the channels batch-, half instance-normalised


class IBNorm(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.batch = nn.BatchNorm2d(width // 2)
        self.instance = nn.InstanceNorm2d(width - width // 2)
        self.split = width // 2

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.batch(x[:, : self.split]), self.instance(x[:, self.split :].contiguous())], 1)


def conv_ibn(inside: int, outside: int, kernel: int = 3, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, kernel, stride, kernel // 2), IBNorm(outside), nn.ReLU(inplace=True)
    )


class ModNet(nn.Module):
    """forward(image) → matte (N, 1, H, W) in 0..1."""

    def __init__(self, *, width: int):
        super().__init__()
        w = width
        widths = (w, 2 * w, 3 * w, 6 * w, 8 * w)
        inputs = (3, *widths[:-1])
        self.stages = nn.ModuleList(
            separable(a, b, stride=2, act=nn.ReLU6()) for a, b in zip(inputs, widths, strict=True)
        )
        self.attend = SqueezeExcite(8 * w)
        self.low1, self.low2 = conv_ibn(8 * w, 4 * w, 5), conv_ibn(4 * w, 2 * w, 5)
        self.detail2, self.detail_image = conv_ibn(w, w, 1), conv_ibn(2 * w + 3, w)
        self.detail_semantic = nn.Sequential(conv_ibn(3 * w + 3, 2 * w), conv_ibn(2 * w, w))
        self.fuse1, self.fuse2 = conv_ibn(3 * w, 2 * w), nn.Conv2d(2 * w + 3, 1, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        maps, x = [], image
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        half = F.interpolate(image, scale_factor=0.5, mode="bilinear", align_corners=False)
        quarter = F.interpolate(image, scale_factor=0.25, mode="bilinear", align_corners=False)
        semantic = self.low1(F.interpolate(self.attend(x), scale_factor=2.0, mode="bilinear", align_corners=False))
        semantic = self.low2(F.interpolate(semantic, scale_factor=2.0, mode="bilinear", align_corners=False))
        fine = torch.cat([self.detail2(maps[0]), maps[0]], 1)
        fine = self.detail_image(torch.cat([resize_like(fine, quarter), quarter], 1))
        detail = self.detail_semantic(torch.cat([fine, resize_like(semantic, fine), quarter], 1))
        joined = torch.cat([resize_like(semantic, half), resize_like(detail, half)], 1)
        fused = F.interpolate(self.fuse1(joined), scale_factor=2.0, mode="bilinear", align_corners=False)
        return torch.sigmoid(self.fuse2(torch.cat([fused, image], 1)))


# U²-Net, arXiv:2005.09007: U-shaped blocks inside a U; pools round up, side outputs are fused


class Rsu(nn.Module):
    """A residual U block of some depth; without `pool` it dilates instead."""

    def __init__(self, depth: int, inside: int, middle: int, outside: int, *, pool: bool = True):
        super().__init__()
        self.pool = pool
        rate = (lambda i: 1) if pool else (lambda i: 2**i)
        self.enter = conv_bn(inside, outside)
        self.down = nn.ModuleList(
            conv_bn(outside if i == 0 else middle, middle, dilation=rate(i)) for i in range(depth - 1)
        )
        self.bottom = conv_bn(middle, middle, dilation=2 if pool else rate(depth - 1))
        self.up = nn.ModuleList(
            conv_bn(2 * middle, outside if i == 0 else middle, dilation=rate(i)) for i in range(depth - 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = entered = self.enter(x)
        maps = []
        for index, block in enumerate(self.down):
            if index and self.pool:
                x = F.max_pool2d(x, 2, 2, ceil_mode=True)
            x = block(x)
            maps.append(x)
        x = self.bottom(x)
        for block, skip in zip(reversed(self.up), reversed(maps), strict=True):
            x = block(torch.cat([resize_like(x, skip), skip], 1))
        return x + entered


RSU_PLAN = ((7, True), (6, True), (5, True), (4, True), (4, False), (4, False))  # depth, and whether it pools


class U2Net(nn.Module):
    """forward(image) → probability maps (N, 1, H, W): the fused one, then one of each stage."""

    def __init__(self, *, width: int, plan: tuple[tuple[int, bool], ...] = RSU_PLAN):
        super().__init__()
        middle, w = max(width // 4, 2), width
        self.encoder = nn.ModuleList(
            Rsu(depth, 3 if i == 0 else w, middle, w, pool=pool) for i, (depth, pool) in enumerate(plan)
        )
        self.decoder = nn.ModuleList(Rsu(depth, 2 * w, middle, w, pool=pool) for depth, pool in plan[:-1])
        self.sides = nn.ModuleList(nn.Conv2d(w, 1, 3, padding=1) for _ in plan)
        self.fuse = nn.Conv2d(len(plan), 1, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        maps, x = [], image
        for index, block in enumerate(self.encoder):
            x = block(F.max_pool2d(x, 2, 2, ceil_mode=True) if index else x)
            maps.append(x)
        decoded = [maps[-1]]
        for block, skip in zip(reversed(self.decoder), reversed(maps[:-1]), strict=True):
            decoded.append(block(torch.cat([resize_like(decoded[-1], skip), skip], 1)))
        sides = [side(x) for side, x in zip(self.sides, reversed(decoded), strict=True)]
        sides = [sides[0], *(resize_like(side, sides[0]) for side in sides[1:])]
        return tuple(torch.sigmoid(x) for x in (self.fuse(torch.cat(sides, 1)), *sides))


# BiSeNet, arXiv:1808.00897: a spatial path parallel to a context path with attention, and their fusion


class AttentionRefinement(nn.Module):
    def __init__(self, inside: int, outside: int):
        super().__init__()
        self.conv = conv_bn(inside, outside)
        self.gate = nn.Sequential(nn.Conv2d(outside, outside, 1, bias=False), nn.BatchNorm2d(outside), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * self.gate(F.avg_pool2d(x, x.shape[2:]))


class BiSeNet(nn.Module):
    """forward(image) → logits (N, 2, H, W)."""

    def __init__(self, *, width: int):
        super().__init__()
        w = width
        self.spatial = nn.Sequential(conv_bn(3, w, 7, stride=2), conv_bn(w, w, stride=2), conv_bn(w, 2 * w, stride=2))
        self.context = nn.ModuleList(
            separable(a, b, stride=2) for a, b in ((3, w), (w, w), (w, 2 * w), (2 * w, 4 * w), (4 * w, 8 * w))
        )
        self.refine16, self.refine32 = AttentionRefinement(4 * w, 2 * w), AttentionRefinement(8 * w, 2 * w)
        self.tail, self.head16, self.head32 = conv_bn(8 * w, 2 * w, 1), conv_bn(2 * w, 2 * w), conv_bn(2 * w, 2 * w)
        self.mix = conv_bn(4 * w, 4 * w, 1)
        self.gate = nn.Sequential(nn.Conv2d(4 * w, w, 1), nn.ReLU(), nn.Conv2d(w, 4 * w, 1), nn.Sigmoid())
        self.classify = nn.Sequential(conv_bn(4 * w, 2 * w), nn.Conv2d(2 * w, 2, 1, bias=False))

    def forward(self, image: Tensor) -> Tensor:
        maps, x = [], image
        for stage in self.context:
            x = stage(x)
            maps.append(x)
        tail = F.interpolate(self.tail(x.mean((2, 3), keepdim=True)), size=x.shape[2:], mode="nearest")
        deep = self.head32(F.interpolate(self.refine32(x) + tail, scale_factor=2.0, mode="nearest"))
        context = self.head16(F.interpolate(self.refine16(maps[3]) + deep, scale_factor=2.0, mode="nearest"))
        mixed = self.mix(torch.cat([self.spatial(image), context], 1))
        fused = mixed * self.gate(F.adaptive_avg_pool2d(mixed, 1)) + mixed
        return resize_like(self.classify(fused), image, align_corners=True)


# PP-HumanSeg's lite net, arXiv:2112.07146, and the pyramid pooling of PSPNet that it keeps


class PpHumanSeg(nn.Module):
    """forward(image) → softmax (N, 2, H, W): shuffled separable blocks, pyramid pooling, a decoder of one skip."""

    def __init__(self, *, width: int):
        super().__init__()
        w = width
        self.stem = conv_bn(3, w, stride=2)
        self.stage1, self.stage2 = Shuffle(w, 2 * w), Shuffle(2 * w, 4 * w)
        self.pools = nn.ModuleList(conv_bn(4 * w, w, 1) for _ in (1, 2, 4))
        self.join = separable(7 * w, 2 * w, act=nn.PReLU(1))
        self.skip, self.classify = conv_bn(2 * w, w, 1), nn.ConvTranspose2d(3 * w, 2, 2, stride=2)

    def forward(self, image: Tensor) -> Tensor:
        low = self.stage1(self.stem(image))
        deep = self.stage2(low)
        pooled = [
            resize_like(conv(F.adaptive_avg_pool2d(deep, bins)), deep)
            for bins, conv in zip((1, 2, 4), self.pools, strict=True)
        ]
        x = resize_like(self.join(torch.cat([deep, *pooled], 1)), low)
        logits = self.classify(torch.cat([x, self.skip(low)], 1))
        return resize_like(logits, image).softmax(1)


class Shuffle(nn.Module):
    """ShuffleNetV2's downsampling block and one basic block (arXiv:1807.11164): channel split and channel shuffle."""

    def __init__(self, inside: int, outside: int):
        super().__init__()
        half = outside // 2
        self.left = nn.Sequential(conv_bn(inside, inside, stride=2, groups=inside), conv_bn(inside, half, 1))
        self.right = nn.Sequential(conv_bn(inside, half, 1), conv_bn(half, half, stride=2, groups=half))
        self.basic = nn.Sequential(conv_bn(half, half, 1), conv_bn(half, half, groups=half), conv_bn(half, half, 1))

    @staticmethod
    def shuffled(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)

    def forward(self, x: Tensor) -> Tensor:
        x = self.shuffled(torch.cat([self.left(x), self.right(x)], 1))
        kept, changed = x.chunk(2, dim=1)
        return self.shuffled(torch.cat([kept, self.basic(changed)], 1))


# LR-ASPP as the MobileNetV3 paper has it, arXiv:1905.02244: a large strided average pool feeds the gate


class LrAspp(nn.Module):
    """forward(image) → logits (N, 2, H, W); hard-swish inverted residuals with squeeze-and-excite."""

    def __init__(self, *, width: int):
        super().__init__()
        w, swish = width, nn.Hardswish()
        self.stem = conv_bn(3, w, stride=2, act=swish)
        self.low = nn.Sequential(separable(w, 2 * w, stride=2, act=nn.ReLU()), separable(2 * w, 2 * w, stride=2))
        self.expand = nn.Sequential(conv_bn(2 * w, 6 * w, 1, act=swish), conv_bn(6 * w, 6 * w, 5, groups=6 * w))
        self.excite, self.project = SqueezeExcite(6 * w), nn.Conv2d(6 * w, 4 * w, 1)
        self.deep = conv_bn(4 * w, 4 * w, stride=2, dilation=2, act=swish)
        self.value, self.gate = conv_bn(4 * w, 8 * w, 1), nn.Conv2d(4 * w, 8 * w, 1, bias=False)
        self.high_class, self.low_class = nn.Conv2d(8 * w, 2, 1), nn.Conv2d(2 * w, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        low = self.low(self.stem(image))
        deep = self.deep(self.project(self.excite(self.expand(low))))
        kernel = max(deep.shape[-1] * 3 // 4, 1)
        gate = torch.sigmoid(self.gate(F.avg_pool2d(deep, kernel, stride=max(kernel // 3, 1))))
        x = self.value(deep) * resize_like(gate, deep, align_corners=True)
        return resize_like(self.high_class(resize_like(x, low)) + self.low_class(low), image)


# DeepLabV3+, arXiv:1802.02611: atrous pyramid with image pooling over an output stride of 16, and a low-level skip


class DeepLabV3Plus(nn.Module):
    """forward(image) → logits (N, 2, H, W)."""

    def __init__(self, *, width: int):
        super().__init__()
        w = width
        self.low = nn.Sequential(conv_bn(3, w, stride=2), separable(w, 2 * w, stride=2))
        self.deep = nn.Sequential(separable(2 * w, 4 * w, stride=2), separable(4 * w, 8 * w, stride=2))
        self.branches = nn.ModuleList([conv_bn(8 * w, 4 * w, 1)])
        self.branches.extend(conv_bn(8 * w, 4 * w, dilation=rate) for rate in (6, 12, 18))
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv_bn(8 * w, 4 * w, 1))
        self.join, self.skip = conv_bn(20 * w, 4 * w, 1), conv_bn(2 * w, w, 1)
        self.classify = nn.Sequential(separable(5 * w, 4 * w), nn.Dropout(0.1), nn.Conv2d(4 * w, 2, 1))

    def forward(self, image: Tensor) -> Tensor:
        low = self.low(image)
        deep = self.deep(low)
        joined = torch.cat([*(branch(deep) for branch in self.branches), resize_like(self.pooled(deep), deep)], 1)
        x = torch.cat([resize_like(self.join(joined), low), self.skip(low)], 1)
        return resize_like(self.classify(x), image)


# PSPNet, arXiv:1612.01105: means over 1x1, 2x2, 3x3 and 6x6 regions, resized and read beside the map itself


class PspNet(nn.Module):
    """forward(image) → logits (N, 2, H, W). Sides are multiples of 48, so that regions are of one size."""

    def __init__(self, *, width: int, bins: tuple[int, ...] = (1, 2, 3, 6)):
        super().__init__()
        w = width
        self.stem = nn.Sequential(conv_bn(3, w, stride=2), conv_bn(w, w), nn.MaxPool2d(3, 2, padding=1))
        self.deep = nn.Sequential(conv_bn(w, 2 * w, stride=2), conv_bn(2 * w, 4 * w, dilation=2))
        self.regions = nn.ModuleList(nn.Sequential(nn.AdaptiveAvgPool2d(side), conv_bn(4 * w, w, 1)) for side in bins)
        self.classify = nn.Sequential(conv_bn((4 + len(bins)) * w, 2 * w), nn.Dropout2d(0.1), nn.Conv2d(2 * w, 2, 1))

    def forward(self, image: Tensor) -> Tensor:
        deep = self.deep(self.stem(image))
        means = [resize_like(region(deep), deep, align_corners=True) for region in self.regions]
        return resize_like(self.classify(torch.cat([deep, *means], 1)), image, align_corners=True)


# RVM, arXiv:2108.11515: recurrent decoder; its states and the factor of its first resize are inputs of the ONNX file


class _ResizeByInput(torch.autograd.Function):
    """Bilinear resize whose factor is a tensor in the ONNX graph, as RVM's own export has it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ratio: Tensor) -> Tensor:
        return F.interpolate(
            x, scale_factor=float(ratio), mode="bilinear", align_corners=False, recompute_scale_factor=False
        )

    @staticmethod
    def symbolic(g: Any, x: Any, ratio: Any) -> Any:
        ones = g.op("Constant", value_t=torch.ones(2))
        none = g.op("Constant", value_t=torch.tensor([], dtype=torch.float32))
        scales = g.op("Concat", ones, ratio, ratio, axis_i=0)
        return g.op("Resize", x, none, scales, mode_s="linear", coordinate_transformation_mode_s="half_pixel")


class ConvGru(nn.Module):
    """A gated recurrent unit whose products are convolutions; half of the channels pass by."""

    def __init__(self, width: int):
        super().__init__()
        self.gates = nn.Sequential(nn.Conv2d(2 * width, 2 * width, 3, padding=1), nn.Sigmoid())
        self.candidate = nn.Sequential(nn.Conv2d(2 * width, width, 3, padding=1), nn.Tanh())

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        state = state.expand_as(x)
        reset, update = self.gates(torch.cat([x, state], 1)).chunk(2, dim=1)
        candidate = self.candidate(torch.cat([x, reset * state], 1))
        return (1 - update) * state + update * candidate


class RecurrentStep(nn.Module):
    """Upsample, join with the encoder's map and the reduced picture, and remember half of it."""

    def __init__(self, inside: int, skip: int, outside: int):
        super().__init__()
        self.conv = conv_bn(inside + skip + 3, 2 * outside)
        self.gru = ConvGru(outside)

    def forward(self, x: Tensor, skip: Tensor, picture: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)[
            :, :, : skip.shape[2], : skip.shape[3]
        ]
        passing, kept = self.conv(torch.cat([x, skip, picture], 1)).chunk(2, dim=1)
        state = self.gru(kept, state)
        return torch.cat([passing, state], 1), state


class Rvm(nn.Module):
    """forward(src, r1, r2, r3, downsample_ratio) → foreground (N, 3, H, W), matte (N, 1, H, W), and the new states."""

    def __init__(self, *, width: int):
        super().__init__()
        w, swish = width, nn.Hardswish()
        self.encoder = nn.ModuleList(
            separable(a, b, stride=2, act=swish) for a, b in ((3, w), (w, 2 * w), (2 * w, 4 * w), (4 * w, 8 * w))
        )
        self.value = conv_bn(8 * w, 4 * w, 1)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8 * w, 4 * w, 1, bias=False), nn.Sigmoid())
        self.steps = nn.ModuleList(
            [RecurrentStep(4 * w, 4 * w, 2 * w), RecurrentStep(4 * w, 2 * w, w), RecurrentStep(2 * w, w, w)]
        )
        self.out = nn.Sequential(conv_bn(2 * w + 3, w), conv_bn(w, w))
        self.project = nn.Conv2d(w, 4, 1)
        self.box = nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False)
        self.refine = nn.Sequential(nn.Conv2d(3 + 3 + 4, w, 1), nn.ReLU(), nn.Conv2d(w, 4, 1))

    def forward(self, src: Tensor, r1: Tensor, r2: Tensor, r3: Tensor, downsample_ratio: Tensor) -> tuple[Tensor, ...]:
        small = _ResizeByInput.apply(src, downsample_ratio)
        maps, x = [], small
        for stage in self.encoder:
            x = stage(x)
            maps.append(x)
        x = self.value(x) * self.gate(x)
        pictures = [F.avg_pool2d(small, 2**k, 2**k, ceil_mode=True, count_include_pad=False) for k in (3, 2, 1)]
        states = []
        for step, skip, picture, state in zip(self.steps, reversed(maps[:-1]), pictures, (r3, r2, r1), strict=True):
            x, new = step(x, skip, picture, state)
            states.append(new)
        x = self.out(torch.cat([F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False), small], 1))
        coarse = self.project(x)
        mean = self.box(coarse)
        full = torch.cat([src, resize_like(small, src), resize_like(coarse - mean, src)], 1)
        refined = self.refine(full)
        foreground = (refined[:, :3] + src).clamp(0.0, 1.0)
        matte = (0.15 * refined[:, 3:] + 0.5).clamp(0.0, 1.0)
        return foreground, matte, states[2], states[1], states[0]
