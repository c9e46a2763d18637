"""Test that augmented batches stay in range, keep photograph and mask aligned, and depend only on the seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from portrait_export.training.augment import Augment, load_backgrounds, smooth_colours
from portrait_export.training.config import AugmentConfig

STILL = {
    **dict.fromkeys(
        ("colour", "gray", "noise", "blur", "sharpen", "clahe", "clothes", "replace", "rotate", "flip", "dark"), 0.0
    ),
    "scale": 1.0,
}


def disk(count: int = 4, side: int = 48) -> dict[str, torch.Tensor]:
    """Bright disks with soft edges before dark noise."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij")
    mask = torch.sigmoid((0.5 - (x**2 + y**2).sqrt()) * 30).expand(count, 1, side, side).clone()
    dark = 0.2 * torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))
    return {"image": mask * 0.9 + (1 - mask) * dark, "mask": mask, "trust": torch.ones_like(mask), "depth": mask * 0.8}


@pytest.mark.parametrize("replace", [0.0, 1.0])
def test_batches_keep_shapes_and_ranges_and_the_global_stream(replace: float) -> None:
    before = torch.random.get_rng_state()
    out = Augment(AugmentConfig(replace=replace, noise=1, blur=1, clahe=1, gray=0.5))(disk(), (1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    for name, tensor in disk().items():
        assert out[name].shape == tensor.shape
        assert out[name].dtype == torch.float32
        assert float(out[name].min()) >= 0
        assert float(out[name].max()) <= 1


def test_same_seed_same_changes_other_seed_others() -> None:
    augment = Augment(AugmentConfig())
    one, same, other = (augment(disk(), seed)["image"] for seed in ((0, 5), (0, 5), (0, 6)))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_no_augmentation_changes_nothing() -> None:
    out = Augment(AugmentConfig(**STILL))(disk(), (0,))
    for name, tensor in disk().items():
        assert torch.allclose(out[name], tensor, atol=1e-6)


def test_geometry_moves_photograph_mask_and_depth_alike() -> None:
    moved = Augment(AugmentConfig(**{**STILL, "rotate": 30.0, "scale": 1.5, "flip": 0.5}))(disk(8), (3,))
    assert not torch.allclose(moved["mask"], disk(8)["mask"], atol=0.05)
    assert float((moved["depth"] - 0.8 * moved["mask"]).abs().max()) < 1e-5
    bright = moved["image"].mean(1, keepdim=True) > 0.55
    assert float((bright == (moved["mask"] > 0.5)).float().mean()) > 0.97
    soft = (moved["mask"] > 0.1) & (moved["mask"] < 0.9)
    assert bool(soft.any())  # soft edges stay soft


def test_replacement_changes_the_background_and_leaves_the_person() -> None:
    batch = disk()
    out = Augment(AugmentConfig(**{**STILL, "replace": 1.0}))(batch, (4,))
    person, far = batch["mask"] > 0.98, batch["mask"] < 0.02
    change = (out["image"] - batch["image"]).abs().mean(1, keepdim=True)
    assert float(change[person].max()) < 0.05
    assert float(change[far].mean()) > 0.04
    assert float(out["depth"][far].max()) < 0.02
    assert torch.equal(out["mask"], batch["mask"])


def test_other_clothes_change_the_person_and_nothing_else() -> None:
    batch = disk()
    out = Augment(AugmentConfig(**{**STILL, "clothes": 1.0}))(batch, (5,))
    change = (out["image"] - batch["image"]).abs().mean(1, keepdim=True)
    low = (batch["mask"] > 0.98) & (torch.arange(48).view(1, 1, -1, 1) > 29)  # of disks that span rows 12 to 36
    assert float(change[low].mean()) > 0.05
    assert float(change[batch["mask"] < 0.02].max()) < 0.02
    assert torch.equal(out["mask"], batch["mask"])


def test_trust_moves_with_its_photograph_and_stays_binary() -> None:
    batch = disk(8)
    batch["trust"] = (batch["mask"] < 0.9).float()  # the disks' insides are not to be learnt from
    moved = Augment(AugmentConfig(**{**STILL, "rotate": 30.0, "scale": 1.5}))(batch, (3,))
    assert set(moved["trust"].unique().tolist()) == {0.0, 1.0}
    assert bool((moved["trust"][moved["mask"] > 0.97] == 0).all())
    assert float(moved["trust"][moved["mask"] < 0.1].mean()) > 0.99


def test_low_light_darkens_the_photograph_and_leaves_the_mask() -> None:
    batch = disk()
    out = Augment(AugmentConfig(**{**STILL, "dark": 1.0}))(batch, (6,))
    assert float(out["image"].mean()) < 0.9 * float(batch["image"].mean())
    assert torch.equal(out["mask"], batch["mask"])


def test_smooth_colours_are_smooth() -> None:
    torch.manual_seed(0)
    field = smooth_colours(6, 64, torch.device("cpu"))
    assert float((field[..., 1:] - field[..., :-1]).abs().max()) < 0.15


def test_backgrounds_are_the_middle_squares_of_a_folders_pictures(tmp_path: Path) -> None:
    wide = np.zeros((40, 80, 3), np.uint8)
    wide[:, 20:60] = 200
    Image.fromarray(wide).save(tmp_path / "wide.png")
    pictures = load_backgrounds(tmp_path)
    assert pictures.shape == (1, 3, 512, 512)
    assert int(pictures.min()) == 200
    out = Augment(AugmentConfig(**{**STILL, "replace": 1.0}, backgrounds=str(tmp_path)))(disk(16), (0,))
    far = out["image"][disk(16)["mask"].expand(-1, 3, -1, -1) < 0.01]
    assert float(((far - 200 / 255).abs() < 0.02).float().mean()) > 0.2


def test_blends_lie_between_two_photographs_and_their_masks_are_not_trusted() -> None:
    batch = disk(16)
    batch["image"] = torch.linspace(0, 1, 16).view(16, 1, 1, 1).expand(16, 3, 48, 48).clone()
    out = Augment(AugmentConfig(**STILL, blend=0.5))(batch, (2,))
    blended = out["trust"].amax((1, 2, 3)) == 0
    assert 2 <= int(blended.sum()) <= 14
    assert torch.equal(out["image"][~blended], batch["image"][~blended])
    assert torch.equal(out["trust"][~blended], batch["trust"][~blended])
    change = (out["image"] - batch["image"])[blended].abs().amax((1, 2, 3))
    assert float(change.max()) > 0.1
    assert float(out["image"].std((1, 2, 3)).max()) < 1e-6  # one share for the whole photograph
    assert 0 <= float(out["image"].min()) <= float(out["image"].max()) <= 1
