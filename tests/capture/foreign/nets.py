"""Build small networks like the public portrait networks, with random weights, and their ONNX files."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

SIDE = 64


def conv(inside: int, outside: int, stride: int = 1, dilation: int = 1, groups: int = 1) -> nn.Sequential:
    padding = dilation
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, stride, padding, dilation, groups, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(),
    )


def bilinear(x: Tensor, size: list[int]) -> Tensor:
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=False)


class Matting(nn.Module):
    """MODNet's shape: a semantic, a detail and a fused branch; three sigmoids, the matte last."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.deep = conv(3, 8, 2), conv(8, 12, 2)
        self.semantic, self.detail = nn.Conv2d(12, 1, 1), nn.Conv2d(8, 1, 1)
        self.fuse = nn.Conv2d(20, 1, 3, padding=1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        low = self.encode(image)
        deep = self.deep(low)
        fused = torch.cat([low, bilinear(deep, low.shape[-2:])], 1)
        matte = bilinear(self.fuse(fused), image.shape[-2:])
        return self.semantic(deep).sigmoid(), self.detail(low).sigmoid(), matte.sigmoid()


class Nested(nn.Module):
    """U²-Net's shape: an encoder and decoder whose side outputs are all sigmoids at full size, the fused one first."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = conv(3, 6), conv(6, 8)
        self.up1 = conv(14, 6)
        self.side1, self.side2, self.fuse = (
            nn.Conv2d(6, 1, 3, padding=1),
            nn.Conv2d(8, 1, 3, padding=1),
            nn.Conv2d(2, 1, 1),
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        one = self.down1(image)
        two = self.down2(functional.max_pool2d(one, 2, 2, ceil_mode=True))
        side2 = bilinear(self.side2(two), image.shape[-2:])
        side1 = self.side1(self.up1(torch.cat([one, bilinear(two, one.shape[-2:])], 1)))
        return torch.sigmoid(self.fuse(torch.cat([side1, side2], 1))), torch.sigmoid(side1), torch.sigmoid(side2)


class LrAspp(nn.Module):
    """A depthwise backbone with LR-ASPP: a pooled gate times features, plus a skip; K logits, resized last."""

    def __init__(self, classes: int):
        super().__init__()
        self.stem, self.depthwise = conv(3, 8, 2), conv(8, 8, 2, groups=8)
        self.project, self.gate = nn.Conv2d(8, 16, 1), nn.Conv2d(8, 16, 1)
        self.low, self.high = nn.Conv2d(8, classes, 1), nn.Conv2d(16, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        low = self.stem(image)
        high = functional.hardswish(self.depthwise(low))
        gated = self.project(high) * self.gate(functional.adaptive_avg_pool2d(high, 1)).sigmoid()
        logits = self.low(low) + self.high(bilinear(gated, low.shape[-2:]))
        return bilinear(logits, image.shape[-2:])


class DeepLab(nn.Module):
    """Dilated branches and a global one; 21 classes and an auxiliary head, in a dictionary as torchvision's."""

    def __init__(self, classes: int = 21):
        super().__init__()
        self.body = nn.Sequential(conv(3, 8, 2), conv(8, 12, 2))
        self.branches = nn.ModuleList([conv(12, 6, dilation=rate) for rate in (1, 2, 4)])
        self.head, self.aux = nn.Conv2d(18, classes, 1), nn.Conv2d(12, classes, 1)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        body, size = self.body(image), image.shape[-2:]
        joined = torch.cat([branch(body) for branch in self.branches], 1)
        return {"aux": bilinear(self.aux(body), size), "out": bilinear(self.head(joined), size)}


class After(nn.Module):
    """A net with operations after or before it."""

    def __init__(
        self, net: nn.Module, after: Callable[[Tensor], Tensor], before: Callable[[Tensor], Tensor] | None = None
    ):
        super().__init__()
        self.net, self.after, self.before = net, after, before

    def forward(self, image: Tensor) -> Tensor:
        return self.after(self.net(image if self.before is None else self.before(image)))


class Normalising(nn.Module):
    """A net that takes pixels, and normalises them itself."""

    def __init__(self, net: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]):
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.tensor(mean).reshape(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).reshape(1, -1, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        return self.net((image - self.mean) / self.std)


class ChannelsLast(nn.Module):
    """A net as TensorFlow would have it: (N, H, W, 3) in, (N, H, W, K) out."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        return self.net(image.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def seeded(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """A net in evaluation mode whose weights and batch norms are random, and whose logits are worth comparing."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = build().eval()
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 1.5)
            elif isinstance(module, nn.Conv2d):
                module.weight.data.mul_(2)
    return net


def to_onnx(
    net: nn.Module, example: Tensor, outputs: list[str], *, dynamic: bool = False, opset: int = 17
) -> onnx.ModelProto:
    """What torch's own exporter writes of a net."""
    buffer = io.BytesIO()
    axes = {"input": {0: "batch", 2: "height", 3: "width"}, outputs[0]: {0: "batch"}} if dynamic else None
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net, (example,), buffer, dynamo=False, opset_version=opset,
            input_names=["input"], output_names=outputs, dynamic_axes=axes,
        )  # fmt: skip
    return onnx.load_from_string(buffer.getvalue())


def save(model: onnx.ModelProto, path: Path) -> Path:
    onnx.save(model, path)
    return path
