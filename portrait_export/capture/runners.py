"""Run a PyTorch module or an ONNX model on frames."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..artifacts import Frame, Prediction
from ..errors import CaptureError
from ..preprocessing import PortraitSpec
from .onnx.check import make_session, run_session

if TYPE_CHECKING:
    import numpy as np
    import onnx
    import torch


class TorchRunner:
    """Segments frames with PyTorch.

    Args:
        module: takes the spec's inputs, gives (1, 1, h, w) logits about `spec.positive`.
        spec: preprocessing, and which class the logits are about.
        name: what reports call it.
    """

    def __init__(self, module: torch.nn.Module, spec: PortraitSpec, *, name: str = "pytorch"):
        from .deployment import Deployment

        self.name = name
        self.spec = spec
        self._deployment = Deployment(module.eval(), spec=spec).eval()

    def run(self, frames: Sequence[Frame]) -> list[Prediction]:
        """Segment each frame, in order. Frames must have the spec's size."""
        import torch

        predictions = []
        for frame in frames:
            tensors = [torch.from_numpy(array) for array in feeds_of(frame, self.spec).values()]
            with torch.no_grad():
                logits, mask = self._deployment(*tensors)
            predictions.append(Prediction(probability=mask[0, 0].numpy(), logits=logits[0, 0].numpy()))
        return predictions


class OnnxRunner:
    """Segments frames with ONNX Runtime on the CPU.

    Args:
        model: a model as `export_onnx` writes it, or the path of one.
        spec: preprocessing; by default the one that the model carries.
        name: what reports call it.
    """

    def __init__(
        self, model: onnx.ModelProto | str | os.PathLike[str], spec: PortraitSpec | None = None, *, name: str = "onnx"
    ):
        from .export import spec_of
        from .onnx.load import load_onnx

        loaded = load_onnx(model) if isinstance(model, (str, os.PathLike)) else model
        found = spec or spec_of(loaded)
        if found is None:
            raise CaptureError("This ONNX model stores no PortraitSpec, and none was passed.")
        self.name = name
        self.spec = found
        self._session = make_session(loaded)
        self._require_our_names()

    def _require_our_names(self) -> None:
        inputs = [value.name for value in self._session.get_inputs()]
        outputs = [value.name for value in self._session.get_outputs()]
        if set(inputs) != set(self.spec.inputs) or "mask" not in outputs:
            raise CaptureError(
                f"This ONNX model has inputs {inputs} and outputs {outputs};"
                f" expected inputs {list(self.spec.inputs)} and outputs logits, mask."
            )

    def run(self, frames: Sequence[Frame]) -> list[Prediction]:
        """Segment each frame, in order. Frames must have the spec's size."""
        predictions = []
        for frame in frames:
            outputs = run_session(self._session, feeds_of(frame, self.spec))
            logits = outputs.get("logits")
            predictions.append(
                Prediction(probability=outputs["mask"][0, 0], logits=None if logits is None else logits[0, 0])
            )
        return predictions


def feeds_of(frame: Frame, spec: PortraitSpec) -> Mapping[str, np.ndarray]:
    """A frame as the network's inputs by name, in the spec's order, float32, batch of one."""
    import numpy as np

    feeds: dict[str, np.ndarray] = {"image": spec.normalise(frame)}
    if "depth" in spec.inputs:
        if frame.depth is None or frame.depth.shape != (spec.height, spec.width):
            found = None if frame.depth is None else frame.depth.shape
            raise CaptureError(
                f"Frame {frame.name!r} has depth {found}; the model takes {(spec.height, spec.width)}.",
                code="no-depth",
            )
        feeds["depth"] = np.ascontiguousarray(frame.depth, np.float32)[None, None]
    for picture in spec.pictures:
        pixels = frame.pictures.get(picture.name)
        if pixels is None or pixels.shape[:2] != (spec.height, spec.width):
            has = "none" if pixels is None else f"one of {pixels.shape[0]}x{pixels.shape[1]}"
            raise CaptureError(
                f"The model takes a picture {picture.name!r} of {spec.height}x{spec.width} besides the photograph;"
                f" frame {frame.name!r} has {has}.",
                code="no-picture",
            )
        feeds[picture.name] = picture.normalise(pixels)
    return feeds
