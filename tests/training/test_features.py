"""Test that an encoder learns another one's feature maps, and that networks without such maps are refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from portrait_export.errors import TrainingError
from portrait_export.models.registry import create_model
from portrait_export.training.features import FeatureLoss
from portrait_export.training.fit import normalised


def pictures(seed: int, count: int = 4) -> torch.Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def test_every_common_stride_is_compared() -> None:
    student = create_model("segformer_b0", seed=1)
    teacher = normalised(create_model("lite0_fpn", seed=2), [0.5] * 3, [0.5] * 3)
    projections = FeatureLoss(student, teacher).projections
    assert {name: tuple(p.weight.shape[:2]) for name, p in projections.items()} == {
        "4": (24, 32),
        "8": (40, 64),
        "16": (112, 160),
        "32": (320, 256),
    }


def test_maps_deeper_than_the_students_are_compared_with_its_deepest() -> None:
    """Averaged down, and only those: its maps at 2 and 8 have their own partners."""
    student, teacher = WithEncoder(8), create_model("lite0_fpn", seed=2).eval()
    features = FeatureLoss(student, teacher)
    assert {name: tuple(p.weight.shape[:2]) for name, p in features.projections.items()} == {
        "8": (40, 2),
        "16": (112, 2),
        "32": (320, 2),
    }
    with torch.no_grad():
        student(pictures(3, count=16))
        teacher(pictures(3, count=16))
        features.fit(64)
        told = features.told(64)["32"]
        x = features.maps(64)[8]
        coarse = x.reshape(16, 2, 2, 4, 2, 4).mean((3, 5))
        unexplained = [((features.projections["32"](coarse) - told) ** 2).mean()]
        for stride, size in (("8", 1), ("16", 2)):
            own = torch.nn.functional.avg_pool2d(x, size)
            unexplained.append(((features.projections[stride](own) - features.told(64)[stride]) ** 2).mean())
        assert features(64).item() == pytest.approx(float(torch.stack(unexplained).mean()), rel=1e-5)
        assert unexplained[0] < 1


def test_loss_is_the_unexplained_share_of_the_teachers_variance() -> None:
    """The right projection of the teacher's own maps explains all of it, a projection of zeros nothing."""
    net = create_model("segformer_b0", seed=1).eval()
    loss = FeatureLoss(net, net)
    with torch.no_grad():
        net(pictures(3))
        maps = loss._heard[0].maps
        for project in loss.projections.values():
            nn.init.zeros_(project.weight)
            nn.init.zeros_(project.bias)
        assert loss(64).item() == pytest.approx(1, abs=1e-3)
        for project, x in zip(loss.projections.values(), maps, strict=True):
            deviation, mean = torch.std_mean(x, dim=(0, 2, 3), correction=0)
            scale = (deviation**2 + 1e-5).rsqrt()
            project.weight.copy_(torch.diag(scale)[:, :, None, None])
            project.bias.copy_(-mean * scale)
        assert loss(64).item() == pytest.approx(0, abs=1e-5)


def test_fitted_projections_explain_what_a_linear_map_can() -> None:
    net = create_model("segformer_b0", seed=1).eval()
    same = FeatureLoss(net, net)
    net(pictures(3, count=16))
    same.fit(64)
    assert same(64).item() < 0.05
    other = create_model("lite0_fpn", seed=2).eval()
    loss = FeatureLoss(net, other)
    net(pictures(3, count=16))
    other(pictures(3, count=16))
    random = loss(64).item()
    loss.fit(64)
    fitted = loss(64).item()
    assert fitted < 1 < random
    for project in loss.projections.values():  # no other map is better
        with torch.no_grad():
            kept = project.weight.clone()
            project.weight *= 0.9
            assert loss(64).item() > fitted
            project.weight.copy_(kept)


def test_projections_are_fitted_in_single_precision_under_autocast() -> None:
    net = create_model("segformer_b0", seed=1).eval()
    loss = FeatureLoss(net, net)
    net(pictures(3, count=16))
    loss.fit(64)
    expected = [project.weight.detach().clone() for project in loss.projections.values()]
    with torch.autocast("cpu", torch.bfloat16):
        loss.fit(64)
    assert all(
        torch.equal(project.weight, weight) for project, weight in zip(loss.projections.values(), expected, strict=True)
    )


def descend(value: Callable[[], torch.Tensor], *parts: nn.Module) -> list[float]:
    """The values of 12 steps that lower one by changing the parts' parameters."""
    optimizer = torch.optim.AdamW([parameter for part in parts for parameter in part.parameters()], lr=2e-3)
    seen = []
    for _ in range(12):
        now = value()
        optimizer.zero_grad()
        now.backward()
        optimizer.step()
        seen.append(now.item())
    return seen


def test_training_on_the_loss_teaches_the_encoder() -> None:
    student, teacher = create_model("segformer_b0", seed=1), create_model("lite0_fpn", seed=2).eval()
    loss = FeatureLoss(student, teacher, seed=4)

    def unexplained() -> torch.Tensor:
        with torch.no_grad():
            teacher(pictures(7))
        student(pictures(7))
        return loss(64)

    seen = descend(unexplained, student, loss)
    assert seen[-1] < 0.8 * seen[0]
    assert all(p.grad is None for p in teacher.parameters())


class WithEncoder(nn.Module):
    """An encoder with one map, at a stride."""

    def __init__(self, stride: int):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 2, stride, stride), Listed())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.encoder(x)[0]


class Listed(nn.Module):
    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [x]


def test_networks_without_comparable_maps_are_refused() -> None:
    with pytest.raises(TrainingError, match="the teacher has none"):
        FeatureLoss(WithEncoder(4), nn.Conv2d(3, 1, 1))
    with pytest.raises(TrainingError, match=r"strides \[4\], the teacher's at \[2\]"):
        FeatureLoss(WithEncoder(4), WithEncoder(2))
