"""Test that faster networks compute the same numbers."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from portrait_export.models.registry import create_model
from portrait_export.training.speed import quicken_convolutions, without_norms


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


class Shared(nn.Module):
    """A convolution that a norm reads, and the output, too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.norm.running_mean = torch.ones(4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y + self.norm(y)


def test_a_teacher_without_norms_computes_the_same() -> None:
    teacher = create_model("lite0_fpn")
    image = torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(0))
    folded = without_norms(teacher)
    with torch.no_grad():
        wanted = teacher.eval()(image)
        assert torch.allclose(folded(image), wanted, atol=1e-3 * float(wanted.abs().max()))
        assert len(folded.encoder(image)) == 5  # its parts keep their names: features are read from its encoder
    assert any(isinstance(module, nn.BatchNorm2d) for module in teacher.modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())


def test_a_norm_stays_where_something_else_reads_the_convolution() -> None:
    net = Shared().eval()
    image = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        assert torch.allclose(without_norms(net)(image), net(image), atol=1e-5)
