"""Recolour the clothes of people in photographs: plain, striped, checked, patched, with straps.

A small set of photographs shows few garments, and a network that has only seen dark suits mistakes a bright shirt in
front of a bright wall for the wall. The mask does not change: only colours below the neck do.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .foreground import foreground

NECK_SEARCH = (0.12, 0.75)  # of the person's height, from the crown
NARROWER = 0.95  # the neck is narrower than the head above it
SHOULDERS = 1.15  # the neck ends where the person gets this much wider ...
SHOULDERS_BELOW = 0.08  # ... within this share of the picture's height
WITHOUT_NECK = 0.62  # of the person's height, where no neck is found
SOFT = 0.02  # of the picture's height: width of the edge between skin and cloth
# Of how many garments: plain of any colour, plain and bright, stripes, checks, patches.
KINDS = (0.25, 0.25, 0.2, 0.12, 0.18)
SHADING = 0.2  # spread of the folds' brightness on the new cloth
PARTLY, WITH_STRAPS = 0.4, 0.3  # shares


def redress(image: Tensor, mask: Tensor) -> Tensor:
    """Give everybody new clothes, with the old ones' folds; draws from torch's global stream.

    Args:
        image: (N, 3, H, W) in 0..1.
        mask: (N, 1, H, W) in 0..1.
    Returns:
        (N, 3, H, W) in 0..1. An empty mask leaves its photograph alone.
    """
    person = foreground(image, mask)
    body = below_neck(mask)
    folds = _folds(person, body * mask)
    cloth = _cloth(image) * (1 + folds) + 0.08 * folds
    share = body * torch.where(_chance(image, PARTLY), _blotches(image), torch.ones_like(body))
    dressed = person + share * (cloth.clamp(0, 1) - person)
    straps = body * torch.where(_chance(image, WITH_STRAPS), _straps(body * mask), torch.zeros_like(body))
    leather = _colours(image) * torch.where(_chance(image, 0.6), 0.3, 1.0) * (1 + folds / 2)
    dressed = dressed + straps * (leather.clamp(0, 1) - dressed)
    # The photograph is person · mask + background · (1 − mask): exchange the person alone.
    return (image + mask * (dressed - person)).clamp(0, 1)


def below_neck(mask: Tensor) -> Tensor:
    """(N, 1, H, W): 1 below the neck of whoever the mask shows, 0 above it, soft between.

    The neck is the last row before the person widens into shoulders; where there is none, a share of the height.
    """
    H = mask.shape[2]
    widths = (mask > 0.5).float().sum(3)[:, 0]  # (N, H)
    widths = F.avg_pool1d(widths[:, None], 9, 1, 4, count_include_pad=False)[:, 0]
    rows = torch.arange(H, device=mask.device, dtype=mask.dtype)
    there = widths > 0.5
    top = torch.where(there, rows, float(H)).amin(1, keepdim=True)
    tall = (torch.where(there, rows, -1.0).amax(1, keepdim=True) - top).clamp(min=1)
    ahead = max(1, round(SHOULDERS_BELOW * H))
    later = F.pad(widths[:, None], (0, ahead), mode="replicate")[:, 0, ahead:]
    height = (rows - top) / tall
    under_a_head = widths < NARROWER * widths.cummax(1).values
    widens = (later > SHOULDERS * widths) & under_a_head & (height > NECK_SEARCH[0]) & (height < NECK_SEARCH[1])
    # Of those rows, the last at which the person is narrowest.
    open_widths = torch.where(widens, widths, float("inf"))
    narrowest = torch.where(open_widths <= open_widths.amin(1, keepdim=True), rows, -1.0).amax(1, keepdim=True)
    neck = torch.where(widens.any(1, keepdim=True), narrowest, top + WITHOUT_NECK * tall) + SOFT * H
    return torch.sigmoid((rows - neck) / (SOFT / 4 * H))[:, None, :, None].expand_as(mask)


def _folds(person: Tensor, body: Tensor) -> Tensor:
    """Brightness on the body relative to its mean, with spread SHADING: it makes cloth look worn."""
    light = person.mean(1, keepdim=True)
    weight = body.sum((2, 3), keepdim=True) + 1e-3
    mean = (light * body).sum((2, 3), keepdim=True) / weight
    spread = ((light - mean) ** 2 * body).sum((2, 3), keepdim=True).div(weight).sqrt() + 0.02
    return ((light - mean) / spread * SHADING * (0.25 + torch.rand_like(mean))).clamp(-0.6, 0.6)


def _cloth(image: Tensor) -> Tensor:
    one, two = _colours(image), _colours(image)
    bright = (0.7 + 0.3 * torch.rand_like(one[:, :1]) + 0.05 * torch.randn_like(one)).clamp(0, 1)
    waves, more = _waves(image), _waves(image)
    kinds = [one, bright, *(one + k * (two - one) for k in (waves, (waves + more) / 2, _blotches(image, finest=40)))]
    chosen = torch.multinomial(torch.tensor(KINDS), len(image), replacement=True)
    spread = torch.broadcast_to
    return torch.stack([spread(kinds[k][i], image.shape[1:]) for i, k in enumerate(chosen.tolist())])


def _waves(image: Tensor) -> Tensor:
    """(N, 1, H, W) in 0..1: stripes of any width, direction and sharpness."""
    N, _, H, W = image.shape
    y = torch.linspace(0, 1, H, device=image.device).view(1, 1, H, 1)
    x = torch.linspace(0, 1, W, device=image.device).view(1, 1, 1, W)
    angle, pace, start, sharp, share = torch.rand(5, N, 1, 1, 1, device=image.device)
    turns = 4 * 15**pace  # 4 to 60 stripes a picture
    phase = 2 * math.pi * (turns * (x * torch.cos(math.pi * angle) + y * torch.sin(math.pi * angle)) + start)
    return torch.sigmoid((torch.sin(phase) - (share - 0.5)) * (2 + 10 * sharp))


def _blotches(image: Tensor, finest: int = 6) -> Tensor:
    """(N, 1, H, W) in 0..1: areas with sharp edges, as many along a side as `finest`, or fewer."""
    cells = int(torch.randint(2, finest + 1, ()))
    field = torch.rand(len(image), 1, cells, cells, device=image.device)
    smooth = F.interpolate(field, size=image.shape[-2:], mode="bicubic", align_corners=False)
    return torch.sigmoid((smooth - 0.5) * 30)


def _straps(body: Tensor) -> Tensor:
    """(N, 1, H, W) in 0..1: two bands down the body, left and right of its middle."""
    N, _, H, W = body.shape
    y = torch.linspace(0, 1, H, device=body.device).view(1, 1, H, 1)
    x = torch.linspace(0, 1, W, device=body.device).view(1, 1, 1, W)
    weight = body.sum((2, 3), keepdim=True) + 1e-3
    middle = (x * body).sum((2, 3), keepdim=True) / weight
    wide = ((x - middle) ** 2 * body).sum((2, 3), keepdim=True).div(weight).sqrt()
    apart, slant, thick = torch.rand(3, N, 1, 1, 1, device=body.device)
    place = (0.4 + 0.9 * apart) * wide + (y - 0.7) * (slant - 0.5)
    from_band = ((x - middle).abs() - place).abs()
    return torch.sigmoid((0.01 + 0.035 * thick - from_band) * W * 1.5)


def _colours(image: Tensor) -> Tensor:
    return torch.rand(len(image), 3, 1, 1, device=image.device)


def _chance(image: Tensor, share: float) -> Tensor:
    return torch.rand(len(image), 1, 1, 1, device=image.device) < share
