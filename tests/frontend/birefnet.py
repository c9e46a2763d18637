"""BiRefNet: two scales of a Swin, deformable pyramids in the decoder, and patches of the picture at each of its steps.

arXiv:2401.03407; https://github.com/ZhengPeng7/BiRefNet (MIT). Written down without torchvision: a deformable
convolution is one grid_sample of all of its points, weighted, and one 1x1 convolution.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def resized(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=True)


class DeformableConv(nn.Module):
    """Modulated deformable convolution, stride 1."""

    def __init__(self, inside: int, outside: int, kernel: int):
        super().__init__()
        self.kernel, padding = kernel, kernel // 2
        self.offset = nn.Conv2d(inside, 2 * kernel**2, kernel, padding=padding)
        self.modulator = nn.Conv2d(inside, kernel**2, kernel, padding=padding)
        self.weight = nn.Conv2d(inside * kernel**2, outside, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        points = self.kernel**2
        near = torch.arange(self.kernel) - self.kernel // 2
        dy, dx = (d.reshape(1, points, 1, 1) for d in torch.meshgrid(near, near, indexing="ij"))
        offset = self.offset(x).reshape(n, points, 2, h, w)
        y = offset[:, :, 0] + dy + torch.arange(h).reshape(1, 1, h, 1)
        x_ = offset[:, :, 1] + dx + torch.arange(w).reshape(1, 1, 1, w)
        grid = torch.stack([2 * x_ / (w - 1) - 1, 2 * y / (h - 1) - 1], -1).reshape(n, points * h, w, 2)
        sampled = F.grid_sample(x, grid, align_corners=True).reshape(n, c, points, h, w)
        weighted = sampled * (2 * torch.sigmoid(self.modulator(x))).unsqueeze(1)
        return self.weight(weighted.reshape(n, c * points, h, w))


def deformable(inside: int, outside: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(DeformableConv(inside, outside, kernel), nn.BatchNorm2d(outside), nn.ReLU())


class DeformablePyramid(nn.Module):
    """ASPPDeformable: kernels of several sizes and the mean, joined."""

    def __init__(self, width: int, kernels: tuple[int, ...]):
        super().__init__()
        self.parts = nn.ModuleList(deformable(width, width, kernel) for kernel in (1, *kernels))
        self.mean = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, width, 1), nn.BatchNorm2d(width), nn.ReLU())
        self.join = nn.Sequential(
            nn.Conv2d((len(kernels) + 2) * width, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.join(torch.cat([*(part(x) for part in self.parts), resized(self.mean(x), x)], 1))


class DecoderBlock(nn.Module):
    def __init__(self, inside: int, outside: int, width: int, kernels: tuple[int, ...]):
        super().__init__()
        self.enter = nn.Sequential(nn.Conv2d(inside, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.attend = DeformablePyramid(width, kernels)
        self.leave = nn.Sequential(nn.Conv2d(width, outside, 3, padding=1), nn.BatchNorm2d(outside))

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(self.attend(self.enter(x)))


def patches(image: Tensor, like: Tensor) -> Tensor:
    """The picture cut into tiles of a map's size, as channels."""
    n, c, height, width = image.shape
    h, w = like.shape[2:]
    tiles = image.reshape(n, c, height // h, h, width // w, w).permute(0, 1, 2, 4, 3, 5)
    return tiles.reshape(n, -1, h, w)


class BiRefNet(nn.Module):
    """forward(image) → logits (N, 1, H, W).

    Args:
        backbone: gives four maps at strides 4, 8, 16 and 32 of `widths` channels.
        inner: width inside of the decoder's blocks. kernels: of their deformable convolutions.
    """

    def __init__(
        self, backbone: nn.Module, widths: tuple[int, ...], *, inner: int = 64, kernels: tuple[int, ...] = (1, 3, 7)
    ):
        super().__init__()
        self.backbone = backbone
        both = [2 * width for width in widths]
        self.squeeze = DecoderBlock(sum(both), both[3], inner, kernels)
        outputs = [both[2], both[1], both[0], both[0] // 2]
        inputs = [both[3], *outputs[:3]]
        tiles = [3 * side**2 for side in (32, 16, 8, 4)]
        self.pictures = nn.ModuleList(
            nn.Conv2d(n, inside // 8, 3, padding=1) for n, inside in zip(tiles, inputs, strict=True)
        )
        self.blocks = nn.ModuleList(
            DecoderBlock(inside + inside // 8, outside, inner, kernels)
            for inside, outside in zip(inputs, outputs, strict=True)
        )
        self.gradients = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 1, 1))
            for width in outputs[:3]
        )
        self.laterals = nn.ModuleList(nn.Conv2d(width, width, 1) for width in outputs[:3])
        self.last = nn.Conv2d(outputs[3] + 3, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        maps = self.backbone(image).feature_maps
        half = F.interpolate(
            image, size=(image.shape[2] // 2, image.shape[3] // 2), mode="bilinear", align_corners=True
        )
        smaller = self.backbone(half).feature_maps
        maps = [torch.cat([x, resized(y, x)], 1) for x, y in zip(maps, smaller, strict=True)]
        x = self.squeeze(torch.cat([*(resized(each, maps[3]) for each in maps[:3]), maps[3]], 1))
        for index, block in enumerate(self.blocks):
            x = block(torch.cat([x, self.pictures[index](patches(image, x))], 1))
            if index < len(self.gradients):
                x = x * torch.sigmoid(self.gradients[index](x))
                lateral = maps[2 - index]
                x = resized(x, lateral) + self.laterals[index](lateral)
        return self.last(torch.cat([resized(x, image), image], 1))
