"""Run the user's own network, untouched, as a Runner.

It is the reference of every parity check, so it shares no code with the graph surgery: numpy in double precision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...artifacts import Carried, Frame, Prediction
from ...preprocessing import PortraitSpec
from ...utils.carrying import Carrying
from ..runners import feeds_of
from .field import Field
from .head import Head
from .original import Call
from .pictures import PictureInput, arranged


class ForeignReference:
    """Segments frames with the network as the user gave it.

    Args:
        call: pictures and carried values in the network's own layouts and types → outputs by name: `head.output`, those
            of the carried values, and perhaps `head.source`, the value before the activation; without it there are no
            logits to compare.
        inputs: the network's pictures.
        head: where the person is.
        spec: preprocessing.
        name: what reports call it.
        carried: what it returns with one frame and takes with the next.
        start: the carried inputs before the first frame.
    """

    def __init__(
        self,
        call: Call,
        inputs: Sequence[PictureInput],
        head: Head,
        spec: PortraitSpec,
        *,
        name: str,
        carried: Sequence[Carried] = (),
        start: Mapping[str, np.ndarray] | None = None,
    ):
        self.name = name
        self.spec = spec
        self._call = call
        self._inputs = inputs
        self._head = head
        self._carried = carried
        self.carrying = Carrying(start or {})

    def run(self, frames: Sequence[Frame]) -> list[Prediction]:
        """Segment each frame, in order. Frames must have the spec's size."""
        return [self._run_one(frame) for frame in frames]

    def _run_one(self, frame: Frame) -> Prediction:
        prediction = self.predict(feeds_of(frame, self.spec), self.carrying.before(frame))
        self.carrying.after(prediction.carried)
        return prediction

    def predict(self, pictures: Mapping[str, np.ndarray], carried: Mapping[str, np.ndarray]) -> Prediction:
        """Normalised pictures (1, C, H, W) float32 by the package's names, and the carried inputs → the person."""
        outputs = self._call({**arranged(self._inputs, pictures), **carried})
        flip = self.spec.positive == "background"
        size = (self.spec.height, self.spec.width)
        logits = person_logits(outputs, self._head, flip=flip)
        probability = person_probability(outputs[self._head.output], self._head, flip=flip)
        if probability is None or (logits is not None and probability.shape != size):
            assert logits is not None
            probability = logistic(resize_bilinear(logits, size))
        probability = np.clip(resize_bilinear(probability, size), 0, 1)
        return Prediction(
            probability.astype(np.float32),
            None if logits is None else logits.astype(np.float32),
            raw=raw_values(outputs[self._head.output], self._head).astype(np.float32),
            carried={value.name: outputs[value.output] for value in self._carried},
        )


def raw_values(output: np.ndarray, head: Head) -> np.ndarray:
    """(h, w) float64: what the output holds of the person, unread: the largest where it has several classes."""
    values = planes(output, head.field)
    return values[list(head.person_in_output)].max(axis=0) if len(values) > 1 else values[0]


def planes(array: np.ndarray, field: Field) -> np.ndarray:
    """A field of classes over pixels as (K, h, w) float64."""
    return field.planes(array.astype(np.float64))


def person_logits(outputs: Mapping[str, np.ndarray], head: Head, *, flip: bool) -> np.ndarray | None:
    """(h, w) float64; None where the value before the activation is not available."""
    if head.source is None or head.source not in outputs:
        return None
    assert head.source_field is not None
    values = planes(outputs[head.source], head.source_field)
    person = list(head.person)
    rest = [k for k in range(len(values)) if k not in person]
    if not rest or head.kind in ("sigmoid", "multilabel"):
        logits = values[person[0]]
    elif head.kind == "argmax":
        logits = values[person].max(axis=0) - values[rest].max(axis=0)
    else:
        logits = np.logaddexp.reduce(values[person], axis=0) - np.logaddexp.reduce(values[rest], axis=0)
    logits = head.slope * logits
    return -logits if flip else logits


def person_probability(output: np.ndarray, head: Head, *, flip: bool) -> np.ndarray | None:
    """(h, w) float64 in 0..1 at the output's own size; None where the output holds logits."""
    if head.kind in ("logits", "multilabel"):
        return None
    values = planes(output, head.field)
    if head.kind == "argmax":
        probability = np.isin(values[0], head.person).astype(np.float64)
    else:
        chosen = values[list(head.person_in_output)] if len(values) > 1 else values
        shares = np.exp(chosen) if head.kind == "logsoftmax" else (chosen - head.zero) / (head.one - head.zero)
        probability = shares.sum(axis=0)
    return 1 - probability if flip else probability


def logistic(x: np.ndarray) -> np.ndarray:
    """σ(x), without overflow: ½ + ½ tanh(x / 2)."""
    return 0.5 + 0.5 * np.tanh(0.5 * x)


def resize_bilinear(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w) → (H, W): output pixel i reads the input at (i + ½)·h/H − ½, held inside its borders."""
    for axis, length in enumerate(size):
        old = plane.shape[axis]
        if old == length:
            continue
        place = np.clip((np.arange(length) + 0.5) * old / length - 0.5, 0, old - 1)
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, old - 1)
        weight = (place - low).reshape(-1, *[1] * (plane.ndim - 1 - axis))
        plane = np.take(plane, low, axis) * (1 - weight) + np.take(plane, high, axis) * weight
    return plane
