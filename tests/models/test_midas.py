"""MiDaS small has the published keys and shapes, and computes what a second implementation computes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from portrait_export.errors import UsageError
from portrait_export.models.blocks.efficientnet_lite import SameConv, same_padding
from portrait_export.models.initialise import empty_net, randomize_
from portrait_export.models.midas import MidasSmall
from portrait_export.models.registry import list_models

from .oracle import resize
from .support import reference_keys, relative_error

State = dict[str, Tensor]
SAME = 1e-5  # float32 against float64, of the largest value; measured 9e-7
# (kernel, stride, blocks) of EfficientNet-Lite3's stages behind the stem, and in which of MiDaS' layers they are.
STAGES = {
    "layer1.4": (3, 2, 3),
    "layer2.0": (5, 2, 3),
    "layer3.0": (3, 2, 5),
    "layer3.1": (5, 1, 5),
    "layer4.0": (5, 2, 6),
    "layer4.1": (3, 1, 1),
}


@pytest.fixture(scope="module")
def net() -> MidasSmall:
    return randomize_(empty_net(lambda _: MidasSmall(), None), seed=3).eval()


# ---- a second implementation: formulas on the tensors of a state dict, in float64 ------------------------------------


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


def norm(s: State, key: str, x: Tensor) -> Tensor:
    mean, var, g, b = (s[f"{key}.{n}"][:, None, None] for n in ("running_mean", "running_var", "weight", "bias"))
    return (x - mean) / (var + 1e-3).sqrt() * g + b


def relu6(x: Tensor) -> Tensor:
    return x.clamp(0, 6)


def expand(s: State, key: str, x: Tensor, stride: int) -> Tensor:
    y = relu6(norm(s, f"{key}.bn1", conv(s, f"{key}.conv_pw", x)))
    y = relu6(norm(s, f"{key}.bn2", conv(s, f"{key}.conv_dw", y, stride=stride)))
    y = norm(s, f"{key}.bn3", conv(s, f"{key}.conv_pwl", y))
    return y + x if y.shape == x.shape and stride == 1 else y


def unit(s: State, key: str, x: Tensor) -> Tensor:
    return x + conv(s, f"{key}.conv2", conv(s, f"{key}.conv1", x.clamp(min=0)).clamp(min=0))


def midas(s: State, x: Tensor) -> Tensor:
    p = "pretrained.layer1"
    x = relu6(norm(s, f"{p}.1", conv(s, f"{p}.0", x, stride=2)))
    x = relu6(norm(s, f"{p}.3.0.bn1", conv(s, f"{p}.3.0.conv_dw", x)))
    x = norm(s, f"{p}.3.0.bn2", conv(s, f"{p}.3.0.conv_pw", x))
    maps = {}
    for layer, (_, stride, blocks) in STAGES.items():
        for i in range(blocks):
            x = expand(s, f"pretrained.{layer}.{i}", x, stride if i == 0 else 1)
        maps[layer[:6]] = x
    fused = None
    for i in (4, 3, 2, 1):
        skipped = conv(s, f"scratch.layer{i}_rn", maps[f"layer{i}"])
        r = f"scratch.refinenet{i}"
        fused = skipped if fused is None else fused + unit(s, f"{r}.resConfUnit1", skipped)
        fused = unit(s, f"{r}.resConfUnit2", fused)
        size = (2 * fused.shape[2], 2 * fused.shape[3])
        fused = conv(s, f"{r}.out_conv", resize(fused, size, align_corners=True))
    y = conv(s, "scratch.output_conv.0", fused)
    y = resize(y, (2 * y.shape[2], 2 * y.shape[3]), align_corners=False)
    y = conv(s, "scratch.output_conv.2", y).clamp(min=0)
    return conv(s, "scratch.output_conv.4", y).clamp(min=0)[:, 0]


# ---------------------------------------------------------------------------------------------------------------------


def test_keys_shapes_and_parameters_are_the_published_ones() -> None:
    """The list was read off timm's tf_efficientnet_lite3 under MiDaS' decoder, not off this package's network."""
    with torch.device("meta"):
        net = MidasSmall()
    keys, parameters = reference_keys("midas_small")
    assert {key: tuple(tensor.shape) for key, tensor in net.state_dict().items()} == keys
    assert sum(p.numel() for p in net.parameters()) == parameters == 21_320_545


def test_depth_equals_the_second_implementation(net: MidasSmall) -> None:
    image = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    state = {key: tensor.double() for key, tensor in net.state_dict().items()}
    with torch.no_grad():
        found, expected = net(image), midas(state, image.double())
    assert found.shape == (2, 64, 96)
    assert float(expected.max()) > 0.1
    assert float(expected.min()) == 0  # the last ReLU is at work
    assert relative_error(found, expected) < SAME


def test_sides_must_be_multiples_of_32(net: MidasSmall) -> None:
    with pytest.raises(UsageError, match="multiples of 32; found 64x80"):
        net(torch.zeros(1, 3, 64, 80))


@pytest.mark.parametrize("size", [7, 8, 9])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2), (1, 1)])
def test_same_padding_rounds_sizes_up(size: int, kernel: int, stride: int) -> None:
    before, after = same_padding(size, kernel, stride)
    assert (size + before + after - kernel) // stride + 1 == -(-size // stride)
    assert 0 <= after - before <= 1
    layer = SameConv(1, 1, kernel, stride=stride)
    assert layer(torch.zeros(1, 1, size, size + 1)).shape[2:] == (-(-size // stride), -(-(size + 1) // stride))


def test_it_is_no_portrait_model() -> None:
    assert list_models("*midas*") == []
