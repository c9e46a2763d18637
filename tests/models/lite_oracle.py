"""EfficientNet-Lite reimplemented as formulas on the tensors of a state dict, in float64."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .oracle import channel_linear, resize, sigmoid

State = dict[str, Tensor]
# (stride, blocks) of the stages after the stem, and in which layer they are.
LITE0 = {
    "layer1.4": (2, 2),
    "layer2.0": (2, 2),
    "layer3.0": (2, 3),
    "layer3.1": (1, 3),
    "layer4.0": (2, 4),
    "layer4.1": (1, 1),
}
LITE3 = {
    "layer1.4": (2, 3),
    "layer2.0": (2, 3),
    "layer3.0": (2, 5),
    "layer3.1": (1, 5),
    "layer4.0": (2, 6),
    "layer4.1": (1, 1),
}


def conv(s: State, key: str, x: Tensor, *, stride: int = 1) -> Tensor:
    """With TensorFlow's SAME padding, as sums over the kernel's places."""
    w = s[f"{key}.weight"]
    k, (rows, columns) = w.shape[2], x.shape[2:]
    out = [-(-side // stride) for side in (rows, columns)]
    need = [max((n - 1) * stride + k - side, 0) for n, side in zip(out, (rows, columns), strict=True)]
    x = F.pad(x, (need[1] // 2, need[1] - need[1] // 2, need[0] // 2, need[0] - need[0] // 2))
    depthwise = w.shape[1] == 1 and x.shape[1] > 1
    total: Tensor | float = 0.0
    for i in range(k):
        for j in range(k):
            seen = x[:, :, i : i + (out[0] - 1) * stride + 1 : stride, j : j + (out[1] - 1) * stride + 1 : stride]
            place = w[:, :, i, j]
            total = total + (
                seen * place.T[..., None, None] if depthwise else torch.einsum("nchw,dc->ndhw", seen, place)
            )
    bias = s.get(f"{key}.bias")
    return total if bias is None else total + bias[:, None, None]


def norm(s: State, key: str, x: Tensor, *, eps: float = 1e-3) -> Tensor:
    mean, var, g, b = (s[f"{key}.{n}"][:, None, None] for n in ("running_mean", "running_var", "weight", "bias"))
    return (x - mean) / (var + eps).sqrt() * g + b


def relu6(x: Tensor) -> Tensor:
    return x.clamp(0, 6)


def expand(s: State, key: str, x: Tensor, stride: int) -> Tensor:
    y = relu6(norm(s, f"{key}.bn1", conv(s, f"{key}.conv_pw", x)))
    y = relu6(norm(s, f"{key}.bn2", conv(s, f"{key}.conv_dw", y, stride=stride)))
    y = norm(s, f"{key}.bn3", conv(s, f"{key}.conv_pwl", y))
    return y + x if y.shape == x.shape and stride == 1 else y


def encoder(s: State, p: str, x: Tensor, stages: dict[str, tuple[int, int]]) -> list[Tensor]:
    """Maps at 1/2, 1/4, 1/8, 1/16 and 1/32."""
    x = relu6(norm(s, f"{p}.layer1.1", conv(s, f"{p}.layer1.0", x, stride=2)))
    x = relu6(norm(s, f"{p}.layer1.3.0.bn1", conv(s, f"{p}.layer1.3.0.conv_dw", x)))
    half = norm(s, f"{p}.layer1.3.0.bn2", conv(s, f"{p}.layer1.3.0.conv_pw", x))
    maps, x = {}, half
    for layer, (stride, blocks) in stages.items():
        for i in range(blocks):
            x = expand(s, f"{p}.{layer}.{i}", x, stride if i == 0 else 1)
        maps[layer[:6]] = x
    return [half, *maps.values()]


def fpn(s: State, image: Tensor) -> Tensor:
    """lite0_fpn: the pyramid's norms have PyTorch's eps, the encoder's TensorFlow's."""
    s = {key: tensor.double() for key, tensor in s.items()}
    *laterals, deepest = encoder(s, "encoder", image.double(), LITE0)
    p = "decode_head.context"
    gate = sigmoid(conv(s, f"{p}.gate", deepest.mean((2, 3), keepdim=True)))
    x = relu6(conv_norm(s, f"{p}.project", deepest)) * gate
    for i, lateral in enumerate(reversed(laterals)):
        p = f"decode_head.levels.{i}"
        up = resize(conv_norm(s, f"{p}.up", x), (2 * x.shape[2], 2 * x.shape[3]), align_corners=False)
        x = relu6(up + conv_norm(s, f"{p}.lateral", lateral))
        for block in range(sum(key.startswith(f"{p}.blocks.") and key.endswith("depthwise.0.weight") for key in s)):
            x = conv_norm(s, f"{p}.blocks.{block}.depthwise", x)
            x = relu6(conv_norm(s, f"{p}.blocks.{block}.pointwise", x))
    return channel_linear(s, "decode_head.classifier", x)


def conv_norm(s: State, key: str, x: Tensor) -> Tensor:
    return norm(s, f"{key}.1", conv(s, f"{key}.0", x), eps=1e-5)
