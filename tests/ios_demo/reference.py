"""NumPy versions of what only the demo does: mask components and temporal smoothing. Written for reading, not speed."""

from __future__ import annotations

import numpy as np

from portrait_export.imaging.guided import box_mean


def without_islands(mask: np.ndarray, share: float, threshold: float = 0.5, rim: float = 0.05) -> np.ndarray:
    """Keep the components (8-connected pixels of at least `rim`) of at least `share` of the largest one's size."""
    labels = _labels(mask >= np.float32(rim))
    counted = labels[(labels > 0) & (mask >= np.float32(threshold))]
    sizes = np.bincount(counted, minlength=labels.max() + 1)
    if sizes.max() == 0:
        return mask.copy()
    stays = (sizes > 0) & (sizes >= share * sizes.max())
    stays[0] = True
    return np.where(stays[labels], mask, np.float32(0))


def _labels(pixels: np.ndarray) -> np.ndarray:
    """0 outside, 1, 2, … inside the 8-connected components, by flooding each from its first pixel."""
    labels = np.zeros(pixels.shape, int)
    for start in zip(*np.nonzero(pixels), strict=True):
        if labels[start]:
            continue
        labels[start] = number = labels.max() + 1
        waiting = [start]
        while waiting:
            row, column = waiting.pop()
            rows = slice(max(0, row - 1), row + 2)
            columns = slice(max(0, column - 1), column + 2)
            fresh = pixels[rows, columns] & (labels[rows, columns] == 0)
            for r, c in zip(*np.nonzero(fresh), strict=True):
                place = (rows.start + r, columns.start + c)
                labels[place] = number
                waiting.append(place)
    return labels


class Smoother:
    """`TemporalSmoother` of PortraitKit: rate = rest + (1 − rest)·motion, s = s + rate·(p − s)."""

    def __init__(self, rest: float = 0.2, motion_contrast: float = 0.06, cut_contrast: float = 0.15):
        self._rest, self._motion, self._cut = np.float32(rest), np.float32(motion_contrast), cut_contrast
        self._previous: tuple[np.ndarray, np.ndarray] | None = None

    def smooth(self, mask: np.ndarray, frame: np.ndarray) -> tuple[np.ndarray, bool]:
        """(H, W) float32 and (H, W, 3) uint8 → the smoothed mask, and whether a scene begins."""
        bright = brightness(frame)
        if self._previous is not None:
            before, bright_before = self._previous
            change = np.abs(bright - bright_before)
            if change.mean(dtype=np.float64) <= self._cut:
                motion = np.minimum(np.float32(1), box_mean(change, 2) / self._motion)
                rate = self._rest + (1 - self._rest) * motion
                smoothed = np.clip(before + rate * (mask - before), 0, 1)
                self._previous = smoothed, bright
                return smoothed, False
        self._previous = mask, bright
        return mask, True


def brightness(frame: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 → (H, W) float32 in 0..1, ITU-R 601."""
    return frame.astype(np.float32) @ np.asarray([0.299, 0.587, 0.114], np.float32) / np.float32(255)
