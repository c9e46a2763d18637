"""Test that faster convolutions compute the same numbers under the same names."""

from __future__ import annotations

import copy

import torch

from portrait_export.models.registry import create_model
from portrait_export.training.speed import quicken_convolutions


def test_networks_keep_their_results_and_their_state_dict() -> None:
    net = create_model("lite0_fpn").eval()
    quick = copy.deepcopy(net)
    quicken_convolutions(quick)
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(quick(image), net(image), atol=1e-4)
    assert list(quick.state_dict()) == list(net.state_dict())


def test_depthwise_convolutions_compute_in_float32_under_autocast_and_others_do_not() -> None:
    depthwise, full = torch.nn.Conv2d(8, 8, 3, groups=8), torch.nn.Conv2d(8, 8, 3)
    net = torch.nn.ModuleList([depthwise, full])
    quicken_convolutions(net)
    copied = copy.deepcopy(net)
    with torch.autocast("cpu", torch.bfloat16):
        for module, dtype in zip(copied, (torch.float32, torch.bfloat16), strict=True):
            assert module(torch.ones(1, 8, 4, 4)).dtype == dtype
    assert isinstance(depthwise, torch.nn.Conv2d)
