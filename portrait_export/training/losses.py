"""Losses for logits and soft masks: BCE, Dice, a mean-field CRF's smoothness, and an adversarial critic."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CRF_RADIUS = 3  # pixels; neighbours in a 7x7 window
CRF_SIDE = 128  # larger pictures are scaled down to this side first: the term is about regions, not about pixels
CRF_SIGMA_COLOUR = 0.1  # of pixels in 0..1
CRF_SIGMA_PLACE = 3.0  # pixels
DICE_SMOOTH = 1.0
FIRM_RADIUS = 0.012  # of the picture's side: doubt is allowed this close to an edge
FIRM_RANGE = 0.1  # of targets around a pixel that is certainly inside or outside


def at_size(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Logits (N, 1, h, w) at the labels' size, bilinear, align_corners=False: as the exported mask is made."""
    if tuple(logits.shape[-2:]) == tuple(size):
        return logits
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)


def bce(logits: Tensor, target: Tensor, trust: Tensor) -> Tensor:
    """Binary cross-entropy with a soft target: −t·log p − (1−t)·log(1−p), mean over the trusted pixels.

    Args:
        logits, target, trust: (N, 1, H, W); target in 0..1, trust 0 or 1.
    """
    each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (each * trust).sum() / trust.sum().clamp(min=1)


def firm(probability: Tensor, target: Tensor, trust: Tensor) -> Tensor:
    """Doubt away from the drawn edges: the mean of 4p(1−p) over pixels with no soft or opposite target near them.

    Gray inside a person is not trusted, and doubt is wrong there all the same. Images of which nothing is trusted are
    left out: they are blends.

    Args:
        probability, target, trust: (N, 1, H, W) in 0..1.
    """
    radius = max(1, round(FIRM_RADIUS * target.shape[-1]))
    highest = F.max_pool2d(target, 2 * radius + 1, 1, radius)
    lowest = -F.max_pool2d(-target, 2 * radius + 1, 1, radius)
    inside = ((highest - lowest) < FIRM_RANGE).to(probability.dtype) * trust.amax((1, 2, 3), keepdim=True)
    doubt = 4 * probability * (1 - probability)
    return (doubt * inside).sum() / inside.sum().clamp(min=1)


def dice(probability: Tensor, target: Tensor, trust: Tensor) -> Tensor:
    """Soft Dice per image, mean over images (Milletari et al., V-Net, 3DV 2016, section 3, with squares below).

        1 − (2·Σpt + s) / (Σp² + Σt² + s), over the trusted pixels

    With squares below, a soft target is met exactly by p = t.
    """
    axes = (1, 2, 3)
    probability, target = probability * trust, target * trust
    shared = (probability * target).sum(axes)
    total = (probability**2).sum(axes) + (target**2).sum(axes)
    return (1 - (2 * shared + DICE_SMOOTH) / (total + DICE_SMOOTH)).mean()


def crf(probability: Tensor, image: Tensor) -> Tensor:
    """The smoothness term of a mean-field CRF (Krähenbühl & Koltun, NIPS 2011, eq. 3), in a window.

    For each pixel i and the neighbours j in its window, with mean-field marginals p,
        k_ij = exp(−|c_i − c_j|² / 2σ_c² − |i − j|² / 2σ_p²)
        loss = Σ k_ij · (p_i(1−p_j) + (1−p_i)p_j) / Σ k_ij
    the expected disagreement between pixels that look alike and are close together. 0 for a constant 0 or 1.

    Args:
        probability: (N, 1, H, W).
        image: (N, 3, H, W) in 0..1.
    """
    longest = max(probability.shape[-2:])
    if longest > CRF_SIDE:
        H, W = (max(1, round(side * CRF_SIDE / longest)) for side in probability.shape[-2:])
        probability, image = F.adaptive_avg_pool2d(probability, (H, W)), F.adaptive_avg_pool2d(image, (H, W))
    H, W = probability.shape[-2:]
    disagreement = probability.new_zeros(())
    weight = probability.new_zeros(())
    # Each pair once: the half of the window below, and to the right in the same row.
    for dy in range(min(CRF_RADIUS, H - 1) + 1):
        for dx in range(-min(CRF_RADIUS, W - 1), min(CRF_RADIUS, W - 1) + 1):
            if dy == 0 and dx <= 0:
                continue
            here = (slice(None), slice(None), slice(0, H - dy), slice(max(0, -dx), W - max(0, dx)))
            there = (slice(None), slice(None), slice(dy, H), slice(max(0, dx), W - max(0, -dx)))
            apart = (image[here] - image[there]).square().sum(1, keepdim=True) / (2 * CRF_SIGMA_COLOUR**2)
            kernel = torch.exp(-apart - (dx * dx + dy * dy) / (2 * CRF_SIGMA_PLACE**2))
            p, q = probability[here], probability[there]
            disagreement = disagreement + (kernel * (p * (1 - q) + (1 - p) * q)).sum()
            weight = weight + kernel.sum()
    return disagreement / weight.clamp(min=1e-6)


class Critic(nn.Module):
    """Scores, patch by patch, whether the mask of a photograph was drawn (high) or predicted (low).

    Three stride-2 convolutions and a 1x1, as in the PatchGAN of Isola et al., CVPR 2017, section 3.2.2, without
    normalisation.
    """

    def __init__(self, width: int = 32):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(4, width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 4 * width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(4 * width, 1, 1),
        )

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """Image (N, 3, H, W) in 0..1 and mask (N, 1, H, W) → scores (N, 1, H/8, W/8)."""
        return self.layers(torch.cat([image, mask], dim=1))


def critic_loss(drawn: Tensor, predicted: Tensor) -> Tensor:
    """What the critic minimises (hinge): drawn masks above 1, predicted ones below −1."""
    return F.relu(1 - drawn).mean() + F.relu(1 + predicted).mean()


def adversarial_loss(predicted: Tensor) -> Tensor:
    """What the network minimises: the critic should take its masks for drawn."""
    return -predicted.mean()
