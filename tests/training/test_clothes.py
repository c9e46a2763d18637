"""Test that changed clothes cover only the body below the neck and stay in range."""

from __future__ import annotations

import torch

from portrait_export.training.clothes import below_neck, redress

SIDE = 96
NECK_ROW = 48


def bust(count: int = 1) -> torch.Tensor:
    """A head, 24 pixels wide, on a neck of 12, on shoulders of 72 that begin at NECK_ROW."""
    mask = torch.zeros(count, 1, SIDE, SIDE)
    mask[:, :, 10:40, 36:60] = 1
    mask[:, :, 40:NECK_ROW, 42:54] = 1
    mask[:, :, NECK_ROW:, 12:84] = 1
    return mask


def photographs(count: int) -> torch.Tensor:
    return torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def test_the_neck_is_found_where_the_person_widens() -> None:
    body = below_neck(bust())[0, 0, :, SIDE // 2]
    assert float(body[: NECK_ROW - 10].max()) < 0.05
    assert float(body[NECK_ROW + 8 :].min()) > 0.95


def test_without_a_neck_the_lower_part_is_taken() -> None:
    mask = torch.zeros(1, 1, SIDE, SIDE)
    mask[:, :, :, 30:60] = 1
    rows = below_neck(mask)[0, 0, :, 0]
    assert float(rows[SIDE // 3]) < 0.05
    assert float(rows[SIDE * 2 // 3]) > 0.95


def test_head_and_background_stay_and_clothes_change() -> None:
    torch.manual_seed(0)
    image, mask = photographs(8), bust(8)
    out = redress(image, mask)
    change = (out - image).abs().mean(1)
    assert float(change[:, : NECK_ROW - 10].max()) < 0.05
    assert float(change[:, :, :8].max()) == 0
    assert float(change[:, NECK_ROW + 12 :, 20:76].mean((1, 2)).min()) > 0.1
    assert float(out.min()) >= 0
    assert float(out.max()) <= 1


def test_clothes_differ_from_photograph_to_photograph() -> None:
    torch.manual_seed(0)
    image = photographs(1).expand(8, -1, -1, -1)
    colours = redress(image, bust(8))[:, :, NECK_ROW + 12 :, 20:76].mean((2, 3))
    assert float(torch.cdist(colours, colours)[~torch.eye(8, dtype=torch.bool)].min()) > 0.01


def test_empty_mask_changes_nothing() -> None:
    torch.manual_seed(0)
    image = photographs(2)
    assert torch.equal(redress(image, torch.zeros(2, 1, SIDE, SIDE)), image)
