"""Refine a coarse mask to the photograph's size and edges with a guided filter."""

from __future__ import annotations

import numpy as np

from ..imaging.resize import resize_bilinear

WORKING_SIDE = 1024  # pixels; coefficients are found at this size and applied at the full one
RADIUS = 1.5  # in pixels of the mask: as far as its edge may be off
EPSILON = 1e-3  # of squared brightness: contrasts weaker than about 0.03 are not edges


def refine(mask: np.ndarray, photo: np.ndarray) -> np.ndarray:
    """The fast guided filter (He & Sun, 2015, arXiv:1505.00996) with the photograph's brightness as its guide.

    In each window the result is q = a·I + b, with
        a = cov(I, p) / (var(I) + ε),  b = mean(p) − a·mean(I)
    averaged over the windows that contain a pixel.

    Args:
        mask: (h, w) float32 in 0..1, of any size.
        photo: (H, W, 3) uint8.
    Returns:
        (H, W) float32 in 0..1.
    """
    H, W = photo.shape[:2]
    guide = photo.astype(np.float32) @ np.asarray([0.299, 0.587, 0.114], np.float32) / np.float32(255)
    scale = min(1.0, WORKING_SIDE / max(H, W))
    size = max(1, round(H * scale)), max(1, round(W * scale))
    radius = max(1, round(RADIUS * max(size) / max(mask.shape)))
    a, b = _coefficients(resize_bilinear(guide, size), resize_bilinear(mask.astype(np.float32), size), radius)
    refined: np.ndarray = resize_bilinear(a, (H, W)) * guide + resize_bilinear(b, (H, W))
    return np.clip(refined, 0, 1)


def _coefficients(guide: np.ndarray, mask: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray]:
    mean_guide, mean_mask = box_mean(guide, radius), box_mean(mask, radius)
    covariance = box_mean(guide * mask, radius) - mean_guide * mean_mask
    variance = box_mean(guide * guide, radius) - mean_guide * mean_guide
    a = covariance / (np.maximum(variance, 0) + EPSILON)
    b = mean_mask - a * mean_guide
    return box_mean(a, radius), box_mean(b, radius)


def box_mean(values: np.ndarray, radius: int) -> np.ndarray:
    """The mean over the (2r+1)² window around each pixel, cut at the borders; (H, W) float32."""
    sums = values.astype(np.float64)
    count = np.ones((), np.float64)
    for axis in (0, 1):
        length = values.shape[axis]
        running = np.concatenate([np.zeros_like(sums.take([0], axis)), np.cumsum(sums, axis)], axis)
        ends = np.minimum(np.arange(length) + radius + 1, length)
        starts = np.maximum(np.arange(length) - radius, 0)
        sums = running.take(ends, axis) - running.take(starts, axis)
        count = count * np.expand_dims((ends - starts).astype(np.float64), 1 - axis)
    return (sums / count).astype(np.float32)
