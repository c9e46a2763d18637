"""Core ML itself as a Runner. Needs macOS: not run on this platform, and never counted as verified by our tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..artifacts import Frame, Prediction
from ..errors import PackageError
from . import coreml


class CoreMLRunner:
    """Segments frames with Core ML. Raises PackageError off a Mac.

    Args:
        package: a package with output `mask` (image or MultiArray).
        compute_units: ALL, CPU_ONLY, CPU_AND_GPU or CPU_AND_NE.
    """

    def __init__(self, package: Path, compute_units: str = "ALL"):
        self.name = f"Core ML ({compute_units})"
        self._model = coreml.load_on_mac(package, compute_units)

    def run(self, frames: Sequence[Frame]) -> list[Prediction]:
        """Segment each frame, in order."""
        return [self._predict(frame) for frame in frames]

    def _predict(self, frame: Frame) -> Prediction:
        import numpy as np
        from PIL import Image

        inputs: dict[str, Any] = {"image": Image.fromarray(frame.image)}
        if frame.depth is not None:
            inputs["depth"] = frame.depth[None, None]
        outputs = self._model.predict(inputs)
        if "mask" not in outputs:
            raise PackageError(f"This package gives {sorted(outputs)}; comparing under Core ML needs an output `mask`.")
        mask = outputs["mask"]
        if isinstance(mask, Image.Image):
            return Prediction(probability=np.asarray(mask, np.float32) / 255)
        return Prediction(probability=np.asarray(mask, np.float32).reshape(frame.image.shape[:2]))
