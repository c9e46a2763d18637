"""Estimate the person's own colours where the mask is soft and the photo shows a mixture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .resize import resize_bilinear, resize_rows, strips

if TYPE_CHECKING:
    import numpy as np

WORKING_SIDE = 512  # pixels; the blurred colours are computed at this size, and used at the photo's
WIDE, NARROW = 12, 64  # the two blurs' radii are the working width divided by these


def person_colors(pixels: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Replace the mixed colours of soft edges by the person's own, so that no rim of the old background is kept.

    "Fast multi-level" blur fusion of Forte, Approximate fast foreground colour estimation, ICIP 2021, with α = P:
        F̂ = blur(F·α)/blur(α),  B̂ = blur(B·(1−α))/blur(1−α),  F = F̂ + α·(I − α·F̂ − (1−α)·B̂)
    first with a wide, then with a narrow blur. F̂ and B̂ are smooth, so they are found at a reduced size. The result is
    held between I and F̂: where the mask is softer than the photo's edge, F would overshoot into a bright or dark rim.

    Args:
        pixels: (H, W, 3) uint8.
        probability: (H, W) float32 in 0..1.
    Returns:
        (H, W, 3) uint8; `pixels` where P is 0 or 1.
    """
    import numpy as np

    out = pixels.copy()
    scale = min(1.0, WORKING_SIDE / max(probability.shape))
    size = max(1, round(probability.shape[0] * scale)), max(1, round(probability.shape[1] * scale))
    small = resize_bilinear(pixels, size).astype(np.float32) / np.float32(255)
    alpha = resize_bilinear(np.ascontiguousarray(probability, np.float32), size)
    means = [np.ascontiguousarray(colors[..., i]) for colors in _color_means(small, alpha) for i in range(3)]
    for rows in strips(probability.shape):
        soft = (probability[rows] > 0) & (probability[rows] < 1)
        if soft.any():
            own = pixels[rows][soft].astype(np.float32) / np.float32(255)
            colors = np.stack([resize_rows(plane, rows, probability.shape)[soft] for plane in means], axis=-1)
            near, behind = colors[:, :3], colors[:, 3:]
            fused = _fuse(own, probability[rows][soft][:, None], near, behind)
            held = np.clip(fused, np.minimum(own, near), np.maximum(own, near))
            out[rows][soft] = np.round(held * 255).clip(0, 255).astype(np.uint8)
    return out


def _color_means(image: np.ndarray, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """F̂ and B̂ after both blurs, (h, w, 3) float32 each."""
    width, alpha = image.shape[1], alpha[..., None]
    person, rest = _means(image, image, alpha, width / WIDE)
    return _means(_fuse(image, alpha, person, rest), rest, alpha, width / NARROW)


def _means(person: np.ndarray, rest: np.ndarray, alpha: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    near = blur(alpha, radius)
    return blur(person * alpha, radius) / (near + 1e-4), blur(rest * (1 - alpha), radius) / (1 - near + 1e-4)


def _fuse(own: np.ndarray, alpha: np.ndarray, person: np.ndarray, rest: np.ndarray) -> np.ndarray:
    fused: np.ndarray = (person + alpha * (own - alpha * person - (1 - alpha) * rest)).clip(0, 1)
    return fused


def blur(values: np.ndarray, radius: float) -> np.ndarray:
    """Three box blurs, which together are nearly Gaussian; (H, W, C) float32, edges repeated."""
    reach = max(1, min(round(radius), min(values.shape[:2]) - 1))
    for _ in range(3):
        for axis in (1, 0):
            values = _box(values, reach, axis)
    return values


def _box(values: np.ndarray, reach: int, axis: int) -> np.ndarray:
    """The mean of 2r + 1 neighbours along one axis, edges repeated, at a cost that does not grow with r."""
    import numpy as np

    around = [(0, 0)] * values.ndim
    around[axis] = (reach + 1, reach)
    sums = np.pad(values, around, mode="edge").cumsum(axis, dtype=np.float64)
    length, window = values.shape[axis], 2 * reach + 1
    along = np.moveaxis(sums, axis, 0)
    means: np.ndarray = (along[window:] - along[:length]) / np.float64(window)
    return np.ascontiguousarray(np.moveaxis(means, 0, axis), np.float32)
