"""A saved segmentation package in; a Runner out: frames → predictions, computed from the bytes on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..artifacts import Frame, Prediction
from ..errors import ExecutionError
from ..mil.features import Feature
from ..preprocessing import PortraitSpec
from .model import CoreMLProgram
from .parallel import each

SPEC_KEY = "portrait_export.spec"  # where our packages keep their PortraitSpec
LOGITS = "logits"


class PackageRunner:
    """Segments frames with a package. Implements `artifacts.Runner`.

    The probability comes from the package's own output: an 8-bit mask divided by 255, an array of P(person), or
    logits resized (bilinear, align_corners=False) to the frame and put through the logistic function. The logits are
    read from inside the program, whatever its output is; they are None if no value is named `logits`. A package that
    lists several sizes runs each frame at the frame's own.
    """

    def __init__(self, path: Path | str, *, arithmetic: str = "as_typed", device: str = "cpu"):
        self.program = CoreMLProgram.load(path, arithmetic=arithmetic, device=device)
        self.name = f"{Path(path).name} ({arithmetic})"
        self.output = self._pick_output()
        self.logits_name = self._pick_logits()
        text = self.program.metadata.user_defined.get(SPEC_KEY)
        self.spec = PortraitSpec.from_json(text) if text else None

    def run(self, frames: Sequence[Frame]) -> list[Prediction]:
        """Segment each frame, in order. Raises ExecutionError for frames that are not of the package's size."""
        return each(self._run_one, frames, workers=None if self.program.parallel else 1)

    def _run_one(self, frame: Frame) -> Prediction:
        seen: dict[str, np.ndarray] = {}

        def keep(name: str, value: Any) -> None:
            if name == self.logits_name:
                seen[name] = value.detach().float().cpu().numpy()

        outputs = self.program.predict(self.inputs_of(frame), hook=keep)
        logits = seen.get(self.logits_name or "")
        if logits is not None:
            logits = logits.reshape(logits.shape[-2:])
        size = frame.image.shape[:2]
        return Prediction(self._probability(outputs[self.output.name], size), logits)

    def inputs_of(self, frame: Frame) -> dict[str, Any]:
        """What the package's `predict` takes for a frame. Raises ExecutionError where that cannot be told."""
        from PIL import Image

        given: dict[str, Any] = {}
        for feature in self.program.inputs:
            if feature.name == "depth":
                if frame.depth is None:
                    raise ExecutionError(f"{self.name} takes a depth map; frame {frame.name!r} has none.")
                depth = np.asarray(frame.depth, np.float32)
                given["depth"] = depth.reshape(*feature.shape[:-2], *depth.shape)
            elif feature.kind == "image":
                given[feature.name] = Image.fromarray(frame.image)
            elif self.spec is not None:
                given[feature.name] = self.spec.with_size(*frame.image.shape[:2]).normalise(frame)
            else:
                raise ExecutionError(
                    f"{self.name} takes {feature.name!r} as an array, and does not say how pixels become one"
                    f" (no {SPEC_KEY} in its metadata)."
                )
        return given

    def _probability(self, value: Any, size: tuple[int, int]) -> np.ndarray:
        if self.output.kind == "image":
            return np.asarray(value, dtype=np.float32) / np.float32(255)
        array = np.asarray(value, dtype=np.float32)
        if self.output.name != LOGITS:
            return array.reshape(array.shape[-2:])
        logits = torch.from_numpy(array.reshape(1, 1, *array.shape[-2:]))
        full = torch.nn.functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        return torch.sigmoid(full)[0, 0].numpy()

    def _pick_output(self) -> Feature:
        """The output that is the mask: `mask`, else `logits`, else the only one."""
        by_name = {feature.name: feature for feature in self.program.outputs}
        for name in ("mask", LOGITS):
            if name in by_name:
                return by_name[name]
        if len(by_name) != 1:
            raise ExecutionError(
                f"{self.program.program.path.name} has several outputs, none named mask: {', '.join(by_name)}."
            )
        return next(iter(by_name.values()))

    def _pick_logits(self) -> str | None:
        """The value that holds the logits; the pass to half precision renames it to `logits_cast_fp16`."""
        names = self.program.names
        found = [name for name in names if name == LOGITS] or [n for n in names if n.startswith(f"{LOGITS}_cast")]
        return found[0] if found else None
