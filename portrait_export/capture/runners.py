"""Run a PyTorch module or an ONNX model on frames."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..artifacts import Frame, Prediction
from ..errors import CaptureError
from ..preprocessing import CARRIED_KEY, PortraitSpec
from ..utils.carrying import Carrying, Place, places_from_json
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
        self._places = carried_places(loaded)
        self._require_our_names()
        shapes = {value.name: value.shape for value in self._session.get_inputs()}
        self._carrying = Carrying({place.name: zeros(shapes[place.input]) for place in self._places})

    @property
    def carried(self) -> tuple[str, ...]:
        """Names of the values that it carries from frame to frame."""
        return tuple(place.name for place in self._places)

    def _require_our_names(self) -> None:
        inputs = [value.name for value in self._session.get_inputs()]
        outputs = [value.name for value in self._session.get_outputs()]
        wanted = [*self.spec.inputs, *(place.input for place in self._places)]
        returned = ["mask", *(place.output for place in self._places)]
        if set(inputs) != set(wanted) or not set(returned) <= set(outputs):
            raise CaptureError(
                f"This ONNX model has inputs {inputs} and outputs {outputs};"
                f" expected inputs {wanted} and outputs logits, {', '.join(returned)}."
            )

    def run(self, frames: Sequence[Frame]) -> list[Prediction]:
        """Segment each frame, in order. Frames must have the spec's size."""
        return [self._run_one(frame) for frame in frames]

    def _run_one(self, frame: Frame) -> Prediction:
        before = self._carrying.before(frame)
        states = {place.input: before[place.name] for place in self._places}
        outputs = run_session(self._session, {**feeds_of(frame, self.spec), **states})
        carried = {place.name: outputs[place.output] for place in self._places}
        self._carrying.after(carried)
        logits = outputs.get("logits")
        return Prediction(outputs["mask"][0, 0], None if logits is None else logits[0, 0], carried=carried)


def carried_places(model: onnx.ModelProto) -> tuple[Place, ...]:
    """The carried values of an exported model, as its metadata names them; empty unless it is recurrent."""
    for prop in model.metadata_props:
        if prop.key == CARRIED_KEY:
            return places_from_json(prop.value)
    return ()


def feeds_alone(frame: Frame, spec: PortraitSpec, model: onnx.ModelProto) -> Mapping[str, np.ndarray]:
    """The inputs of an exported model for a frame by itself: with its own carried values, or zeros."""
    shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in model.graph.input}
    places = carried_places(model)
    values = Carrying({place.name: zeros(shapes[place.input]) for place in places}).before(
        replace(frame, continues=False)
    )
    return {**feeds_of(frame, spec), **{place.input: values[place.name] for place in places}}


def zeros(shape: Sequence[int]) -> np.ndarray:
    """Carried float32 values before the first frame."""
    import numpy as np

    return np.zeros(shape, np.float32)


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
