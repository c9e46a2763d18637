"""Run a saved segmentation package on frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..artifacts import Frame, Prediction
from ..errors import ExecutionError
from ..mil.features import Feature
from ..preprocessing import LOGITS_KEY, SPEC_KEY, PortraitSpec
from .model import CoreMLProgram
from .parallel import each

LOGITS = "logits"


class PackageRunner:
    """Segments frames with a package. Implements `artifacts.Runner`.

    The probability is computed from the package's output: an 8-bit mask divided by 255, an array of P(person), or
    the sigmoid of logits resized (bilinear, align_corners=False) to the frame. The logits are read from inside the
    program, whatever its output is; they are None if no value is named `logits`. A package that lists several sizes
    runs each frame at the frame's own size.
    """

    def __init__(self, path: Path | str, *, arithmetic: str = "as_typed", device: str = "cpu"):
        self.program = CoreMLProgram.load(path, arithmetic=arithmetic, device=device)
        self.name = f"{Path(path).name} ({arithmetic})"
        self.output = self._pick_output()
        self.logits_name = self._pick_logits()
        text = self.program.metadata.user_defined.get(SPEC_KEY)
        self.spec = PortraitSpec.from_json(text) if text else None

    def run(self, frames: Sequence[Frame]) -> list[Prediction]:
        """Segment each frame, in order. Raises ExecutionError for frames of a size that the package does not take."""
        return each(self._run_one, frames, workers=None if self.program.parallel else 1)

    def _run_one(self, frame: Frame) -> Prediction:
        wanted = () if self.logits_name is None else (self.logits_name,)
        outputs, kept = self.program.predict_and_keep(self.inputs_of(frame), wanted)
        logits = kept.get(self.logits_name or "")
        if logits is not None:
            logits = logits.reshape(logits.shape[-2:])
        size = frame.image.shape[:2]
        return Prediction(self.probability(outputs[self.output.name], size), logits)

    def inputs_of(self, frame: Frame) -> dict[str, Any]:
        """The inputs of the package's `predict` for a frame. Raises ExecutionError if one cannot be made from it."""
        from PIL import Image

        inputs: dict[str, Any] = {}
        for feature in self.program.inputs:
            if feature.name == "depth":
                if frame.depth is None:
                    raise ExecutionError(f"{self.name} takes a depth map; frame {frame.name!r} has none.")
                depth = np.asarray(frame.depth, np.float32)
                inputs["depth"] = depth.reshape(*feature.shape[:-2], *depth.shape)
            elif feature.kind == "image":
                inputs[feature.name] = Image.fromarray(frame.image)
            elif self.spec is not None:
                inputs[feature.name] = self.spec.with_size(*frame.image.shape[:2]).normalise(frame)
            else:
                raise ExecutionError(
                    f"{self.name} takes {feature.name!r} as an array, but its metadata does not describe how to make"
                    f" one from pixels ({SPEC_KEY} is missing)."
                )
        return inputs

    def probability(self, value: Any, size: tuple[int, int]) -> np.ndarray:
        """P(person), (H, W) float32, of what `predict` returned for the output that holds the mask.

        Args:
            size: (height, width) of the frame, to which logits are resized.
        """
        if self.output.kind == "image":
            return np.asarray(value, dtype=np.float32) / np.float32(255)
        array = np.asarray(value, dtype=np.float32)
        if self.output.name != LOGITS:
            return array.reshape(array.shape[-2:])
        logits = torch.from_numpy(array.reshape(1, 1, *array.shape[-2:]))
        full = torch.nn.functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        return torch.sigmoid(full)[0, 0].numpy()

    def _pick_output(self) -> Feature:
        """The output that holds the mask: `mask`, else `logits`, else the only output."""
        by_name = {feature.name: feature for feature in self.program.outputs}
        for name in ("mask", LOGITS):
            if name in by_name:
                return by_name[name]
        if len(by_name) != 1:
            raise ExecutionError(
                f"{self.program.program.path.name} has several outputs, and none is named `mask`: {', '.join(by_name)}."
            )
        return next(iter(by_name.values()))

    def _pick_logits(self) -> str | None:
        """The name of the value that holds the logits: the one recorded at export.

        In a package without the record it is the value named `logits`, or `logits_cast_fp16` after coremltools' fp16
        pass.
        """
        names = self.program.names
        recorded = self.program.metadata.user_defined.get(LOGITS_KEY)
        if recorded in names:
            return recorded
        found = [name for name in names if name == LOGITS] or [n for n in names if n.startswith(f"{LOGITS}_cast")]
        return found[0] if found else None
