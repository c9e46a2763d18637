"""Photographs to compare on: a folder or the calibration set in, frames at a model's input size out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .artifacts import LabelledFrame
from .preprocessing import PortraitSpec

if TYPE_CHECKING:
    import numpy as np


def load_frames(data: Path | None, spec: PortraitSpec) -> list[LabelledFrame]:
    """Frames with their masks where there are any.

    Args:
        data: a folder; None takes the calibration set that comes along.
        spec: gives the size, and whether a depth map is needed.
    Raises:
        DataError: with everything that is wrong with the folder.
    """
    from .calibration.dataset import load_calibration, load_folder

    size = (spec.height, spec.width)
    frames = load_calibration(size=size) if data is None else load_folder(data, size=size)
    return [_with_depth(labelled) for labelled in frames] if "depth" in spec.inputs else frames


def _with_depth(labelled: LabelledFrame) -> LabelledFrame:
    if labelled.frame.depth is not None:
        return labelled
    return replace(labelled, frame=replace(labelled.frame, depth=stand_in_depth(labelled.frame.image)))


def stand_in_depth(image: np.ndarray) -> np.ndarray:
    """A depth map for photographs that have none, for comparing two runs of one model: brightness over a ramp.

    It has a photograph's edges and a scene's slope, so it exercises every operation that reads depth. It is not a
    depth estimate, and a mask computed from it says nothing about a model's quality.

    Args:
        image: (H, W, 3) uint8.
    Returns:
        (H, W) float32 in 0..1.
    """
    import numpy as np

    brightness = image.astype(np.float32).mean(axis=2) / 255
    ramp = np.linspace(0, 1, image.shape[0], dtype=np.float32)[:, None]
    return (0.5 * brightness + 0.5 * ramp).astype(np.float32)
