"""Test separating a photograph into the person's colours and the scene, and the blur that both use."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from portrait_export.training.foreground import blur, foreground, without_person

from .test_augment import disk


def test_foreground_has_no_halo_of_the_old_background() -> None:
    y, x = torch.meshgrid(torch.linspace(-1, 1, 96), torch.linspace(-1, 1, 96), indexing="ij")
    alpha = torch.sigmoid((0.5 - (x**2 + y**2).sqrt()) * 40)[None, None]
    red, green = torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1), torch.tensor([0, 1.0, 0]).view(1, 3, 1, 1)
    mixed = alpha * red + (1 - alpha) * green
    edge = ((alpha > 0.2) & (alpha < 0.8))[0, 0]
    halo_before = float(mixed[0, 1, edge].mean())
    halo = float(foreground(mixed, alpha)[0, 1, edge].mean())
    assert halo_before > 0.4
    assert halo < 0.1


def test_background_without_person_shows_nothing_of_them() -> None:
    batch = disk(1)
    assert float(without_person(batch["image"], batch["mask"]).max()) < 0.25
    covered = without_person(batch["image"], torch.ones_like(batch["mask"]))
    assert bool(torch.isfinite(covered).all())


def test_blur_keeps_constants_and_spreads_points() -> None:
    assert torch.allclose(blur(torch.full((1, 1, 9, 9), 0.3), 2), torch.full((1, 1, 9, 9), 0.3))
    point = torch.zeros(1, 1, 33, 33)
    point[..., 16, 16] = 1
    spread = blur(point, 2)
    assert float(spread.sum()) == pytest.approx(1, abs=1e-5)
    assert float(spread.max()) < 0.1


@pytest.mark.parametrize("radius", [1, 3, 9])
def test_blur_is_three_box_means_with_repeated_edges(radius: int) -> None:
    picture = torch.rand(2, 3, 20, 31, generator=torch.Generator().manual_seed(0))
    expected = picture
    for _ in range(3):
        padded = F.pad(expected, (radius,) * 4, mode="replicate")
        expected = F.avg_pool2d(padded, 2 * radius + 1, stride=1)
    assert torch.allclose(blur(picture, radius), expected, atol=1e-5)
