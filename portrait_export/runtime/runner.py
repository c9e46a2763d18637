"""Run a saved segmentation package on frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..artifacts import Frame, Prediction
from ..errors import ExecutionError
from ..mil.features import Feature
from ..preprocessing import LOGITS_KEY, SPEC_KEY, PortraitSpec
from ..utils.carrying import Carrying
from .carried import carried_of
from .executor import Hook
from .model import CoreMLProgram, State
from .parallel import each

LOGITS = "logits"


class PackageRunner:
    """Segments frames with a package. Implements `artifacts.Runner`.

    The probability is computed from the package's output: an 8-bit mask divided by 255, an array of P(person), or
    the sigmoid of logits resized (bilinear, align_corners=False) to the frame. The logits are read from inside the
    program, whatever its output is; they are None if no value is named `logits`. A package that lists several sizes
    runs each frame at the frame's own size. A recurrent package carries its values over frames that continue a
    sequence, as inputs and outputs or in its states.
    """

    def __init__(self, path: Path | str, *, arithmetic: str = "as_typed", device: str = "cpu"):
        self.program = CoreMLProgram.load(path, arithmetic=arithmetic, device=device)
        self.name = f"{Path(path).name} ({arithmetic})"
        self.output = self._pick_output()
        self.logits_name = self._pick_logits()
        text = self.program.metadata.user_defined.get(SPEC_KEY)
        self.spec = PortraitSpec.from_json(text, source=Path(path).name) if text else None
        self.carried = carried_of(self.program)
        self._carrying = Carrying({p.name: np.zeros(feature.shape, np.float32) for p, feature in self.carried.items()})
        self._state: State | None = None

    def run(self, frames: Sequence[Frame]) -> list[Prediction]:
        """Segment each frame, in order. Raises ExecutionError for frames of a size that the package does not take."""
        return each(self._run_one, frames, workers=None if self.program.parallel and not self.carried else 1)

    def predict(self, frame: Frame, *, hook: Hook | None = None) -> dict[str, Any]:
        """The package's outputs for one frame by itself: with its own carried values, or zeros."""
        outputs: dict[str, Any] = self.program.predict(self.inputs_of(frame), self.state_of(frame), hook=hook)
        return outputs

    def _run_one(self, frame: Frame) -> Prediction:
        state = self._state_before(frame)
        whole = replace(frame, carried=self._carrying.before(frame)) if self.carried else frame
        wanted = () if self.logits_name is None else (self.logits_name,)
        outputs, kept = self.program.predict_and_keep(self.inputs_of(whole), wanted, state)
        carried = {
            place.name: np.asarray(outputs[place.output]) if state is None else state.read_state(place.state)
            for place in self.carried
        }
        self._carrying.after(carried)
        logits = kept.get(self.logits_name or "")
        if logits is not None:
            logits = logits.reshape(logits.shape[-2:])
        size = frame.image.shape[:2]
        return Prediction(self.probability(outputs[self.output.name], size), logits, carried=carried)

    def _state_before(self, frame: Frame) -> State | None:
        """The states to run a frame with: those of the frame that it continues are the same object, as in an app."""
        if frame.carried is not None or not frame.continues or self._state is None:
            self._state = self.state_of(frame)
        return self._state

    def state_of(self, frame: Frame) -> State | None:
        """New states for a frame by itself: its own carried values, or zeros; None if the package has no states."""
        if not self.program.states:
            return None
        state = self.program.make_state()
        for place in self.carried:
            if place.state and frame.carried is not None:
                state.write_state(place.state, frame.carried[place.name])
        return state

    def inputs_of(self, frame: Frame) -> dict[str, Any]:
        """The inputs of the package's `predict` for a frame. Raises ExecutionError if one cannot be made from it."""
        from PIL import Image

        inputs: dict[str, Any] = {}
        own = self._carrying.before(replace(frame, continues=False))
        states = {place.input: own[place.name] for place in self.carried if place.input}
        for feature in self.program.inputs:
            if feature.name in states:
                inputs[feature.name] = states[feature.name]
            elif feature.name == "depth":
                if frame.depth is None:
                    raise ExecutionError(f"{self.name} takes a depth map; frame {frame.name!r} has none.")
                depth = np.asarray(frame.depth, np.float32)
                inputs["depth"] = depth.reshape(*feature.shape[:-2], *depth.shape)
            elif feature.kind == "image":
                picture = Image.fromarray(self._pixels(feature.name, frame))
                inputs[feature.name] = picture.convert("L") if feature.color == "grayscale" else picture
            elif self.spec is not None:
                inputs[feature.name] = self.spec.with_size(*frame.image.shape[:2]).normalise(frame)
            else:
                raise ExecutionError(
                    f"{self.name} takes {feature.name!r} as an array, but its metadata does not describe how to make"
                    f" one from pixels ({SPEC_KEY} is missing)."
                )
        return inputs

    def _pixels(self, name: str, frame: Frame) -> np.ndarray:
        """The photograph, or the further picture that an input takes."""
        further = {picture.name for picture in self.spec.pictures} if self.spec is not None else set()
        if name not in further:
            return frame.image
        if name not in frame.pictures:
            raise ExecutionError(
                f"{self.name} takes a picture {name!r} besides the photograph; frame {frame.name!r} has none.",
                code="no-picture",
            )
        return frame.pictures[name]

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
