"""Separate photographs with soft masks into the people's own colours and the scenes without them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MIDDLE = 0.5  # gray, where nothing of the scene is seen


def blur(x: Tensor, radius: float) -> Tensor:
    """Three box blurs, which together are nearly Gaussian; (N, C, H, W), edges repeated."""
    r = max(1, min(round(radius), min(x.shape[-2:]) - 1))
    for _ in range(3):  # a box is separable: rows, then columns
        x = _box(_box(x, r, -1), r, -2)
    return x


def _box(x: Tensor, r: int, axis: int) -> Tensor:
    """The mean of 2r+1 neighbours along one axis, edges repeated, at a cost that does not grow with r."""
    first, last = x.narrow(axis, 0, 1), x.narrow(axis, -1, 1)
    sums = torch.cat([torch.zeros_like(first), *[first] * r, x, *[last] * r], axis).cumsum(axis)
    size = x.shape[axis]
    return (sums.narrow(axis, 2 * r + 1, size) - sums.narrow(axis, 0, size)) / (2 * r + 1)


def foreground(image: Tensor, alpha: Tensor) -> Tensor:
    """The person's own colours, also where the mask is soft and the photograph shows a mixture.

    "Fast multi-level" blur-fusion of Forte, Approximate fast foreground colour estimation, ICIP 2021:
        F̂ = blur(F·α)/blur(α), B̂ = blur(B·(1−α))/blur(1−α), F = F̂ + α·(I − α·F̂ − (1−α)·B̂)
    first with a wide, then with a narrow blur. Cutting out `image` itself would keep some of the old background as a
    halo, and a network would learn to look for halos.

    Args:
        image: (N, 3, H, W) in 0..1.
        alpha: (N, 1, H, W) in 0..1.
    """
    person, rest = image, image
    for radius in (image.shape[-1] / 12, image.shape[-1] / 64):
        near = blur(alpha, radius)
        person_mean = blur(person * alpha, radius) / (near + 1e-4)
        rest_mean = blur(rest * (1 - alpha), radius) / (1 - near + 1e-4)
        person = (person_mean + alpha * (image - alpha * person_mean - (1 - alpha) * rest_mean)).clamp(0, 1)
        rest = rest_mean
    return person


def without_person(image: Tensor, alpha: Tensor) -> Tensor:
    """The photograph with the person filled in from its surroundings, more and more blurred towards the middle."""
    size = image.shape[-1]
    free = 1 - F.max_pool2d((alpha > 0.05).to(image.dtype), 2 * max(1, size // 64) + 1, 1, max(1, size // 64))
    filled, covered = image * free, free.clone()
    for share in (64, 16, 6, 2):
        near = blur(free, size / share)
        guess = blur(image * free, size / share) / (near + 1e-6)
        take = (near * 3).clamp(max=1) * (1 - covered)
        filled, covered = filled + guess * take, covered + take
    return torch.where(covered > 1e-3, filled / covered.clamp(min=1e-3), torch.full_like(filled, MIDDLE)).clamp(0, 1)
