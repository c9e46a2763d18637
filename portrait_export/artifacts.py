"""The frozen values that the stages hand to one another, and the Runner protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Frame:
    """One picture as a model takes it.

    Attributes:
        image: (H, W, 3) uint8, sRGB, already at the model's input size.
        depth: (H, W) float32 for models with a depth input, else None.
        name: what to call it in reports (usually the file's name).
    """

    image: np.ndarray
    depth: np.ndarray | None = None
    name: str = ""


@dataclass(frozen=True)
class LabelledFrame:
    """A frame with the mask that people would draw for it.

    Attributes:
        frame: the picture.
        mask: (H, W) float32 in 0..1, 1 = person, at the frame's size; None where nobody has drawn one.
        split: `calibrate`, `evaluate`, or empty.
    """

    frame: Frame
    mask: np.ndarray | None = None
    split: str = ""


@dataclass(frozen=True)
class Prediction:
    """What a model says about one frame. Always about the person, whatever class the network calls positive.

    Attributes:
        probability: (H, W) float32, P(person) in 0..1, at the frame's size.
        logits: (h, w) float32 at the network's own resolution; None where only a finished mask is to be had.
    """

    probability: np.ndarray
    logits: np.ndarray | None = None


@runtime_checkable
class Runner(Protocol):
    """Anything that segments frames: PyTorch, ONNX Runtime, our runtime, Core ML."""

    name: str

    def run(self, frames: Sequence[Frame]) -> list[Prediction]:
        """Segment each frame, in order."""
        ...
