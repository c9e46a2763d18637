"""Test that MiDaS small has the published keys and shapes and computes what an independent oracle computes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from portrait_export.errors import UsageError
from portrait_export.models.blocks.efficientnet_lite import SameConv, same_padding
from portrait_export.models.initialise import empty_net, randomize_
from portrait_export.models.midas import MidasSmall
from portrait_export.models.registry import list_models

from . import lite_oracle
from .lite_oracle import conv
from .oracle import resize
from .support import reference_keys, relative_error

State = dict[str, Tensor]
SAME = 1e-5  # float32 against float64, of the largest value; measured 9e-7


@pytest.fixture(scope="module")
def net() -> MidasSmall:
    return randomize_(empty_net(lambda _: MidasSmall(), None), seed=3).eval()


# ---- a second implementation ----------------------------------------------------------------------------------------


def unit(s: State, key: str, x: Tensor) -> Tensor:
    return x + conv(s, f"{key}.conv2", conv(s, f"{key}.conv1", x.clamp(min=0)).clamp(min=0))


def midas(s: State, x: Tensor) -> Tensor:
    maps = lite_oracle.encoder(s, "pretrained", x, lite_oracle.LITE3)
    fused = None
    for i in (4, 3, 2, 1):
        skipped = conv(s, f"scratch.layer{i}_rn", maps[i])
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


def test_depth_equals_the_oracle(net: MidasSmall) -> None:
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


@pytest.mark.parametrize("size", [8, 12])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2), (1, 1)])
def test_same_padding_gives_one_place_per_stride(size: int, kernel: int, stride: int) -> None:
    before, after = same_padding(kernel, stride)
    assert (size + before + after - kernel) // stride + 1 == size // stride
    assert 0 <= after - before <= 1
    layer = SameConv(1, 1, kernel, stride=stride)
    assert layer(torch.zeros(1, 1, size, size + 2)).shape[2:] == (size // stride, (size + 2) // stride)


def test_it_is_not_a_portrait_model() -> None:
    assert list_models("*midas*") == []
