"""Run a Core AI asset on frames, with Apple's runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from ..artifacts import Frame, Prediction
from ..errors import ExecutionError
from ..preprocessing import PortraitSpec
from .asset import read_asset
from .process import Process


class CoreAIRunner:
    """Segments frames with an asset. Implements `artifacts.Runner`.

    The process that runs it starts with the first frame.

    Raises:
        PackageError: the asset is damaged.
        ExecutionError: it does not state its preprocessing.
    """

    def __init__(self, path: Path):
        self.asset = read_asset(path)
        self.name = f"{path.name} (Core AI)"
        spec = self.asset.spec
        if spec is None:
            raise ExecutionError(
                f"{path.name} does not state its preprocessing, so it is not known how it takes a photo.",
                hint="use an asset written by `portrait-export coreai`.",
            )
        self.spec: PortraitSpec = spec

    def run(self, frames: Sequence[Frame]) -> list[Prediction]:
        """Segment each frame, in order. Frames must have the spec's size."""
        return [self._run_one(frame) for frame in frames]

    def close(self) -> None:
        """End the process; the next frame starts another."""
        process = self.__dict__.pop("_process", None)
        if process is not None:
            process.close()

    def __del__(self) -> None:
        self.close()

    def _run_one(self, frame: Frame) -> Prediction:
        outputs = self._process.ask(self._inputs_of(frame))
        size = (self.spec.height, self.spec.width)
        logits = outputs.get("logits")
        if logits is None or logits.ndim < 2:
            raise ExecutionError(f"{self.name} returns {', '.join(sorted(outputs))}, and no `logits`.")
        plane = logits.reshape(logits.shape[-2:]).astype(np.float32)
        if "mask" not in outputs:
            return Prediction(_probability_of(plane, size), plane)
        mask = outputs["mask"].reshape(size)
        whole = np.float32(255) if mask.dtype == np.uint8 else np.float32(1)
        return Prediction(mask.astype(np.float32) / whole, plane)

    def _inputs_of(self, frame: Frame) -> Mapping[str, np.ndarray]:
        size = (self.spec.height, self.spec.width)
        if frame.image.shape != (*size, 3) or frame.image.dtype != np.uint8:
            found = f"{frame.image.dtype} {frame.image.shape}"
            raise ExecutionError(f"Frame {frame.name!r} is {found}; {self.name} takes uint8 {(*size, 3)}.")
        inputs = {"image": frame.image[None]}
        if "depth" in self.spec.inputs:
            if frame.depth is None or frame.depth.shape != size:
                raise ExecutionError(f"{self.name} takes a depth map of {size}; frame {frame.name!r} has none.")
            inputs["depth"] = np.asarray(frame.depth, np.float32)[None, None]
        return inputs

    @cached_property
    def _process(self) -> Process:
        return Process(f"Core AI cannot run {self.asset.path.name}", "run", self.asset.path.resolve())


def _probability_of(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """P(person) of logits, resized (bilinear, align_corners=False) to the frame."""
    import torch

    tensor = torch.from_numpy(logits)[None, None]
    full = torch.nn.functional.interpolate(tensor, size=size, mode="bilinear", align_corners=False)
    return torch.sigmoid(full)[0, 0].numpy()
