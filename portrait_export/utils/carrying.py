"""Hold what a recurrent network carries from one frame of a sequence to the next."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ..errors import ExecutionError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from ..artifacts import Frame


class Carrying:
    """The carried values of one runner.

    Args:
        start: what the network takes with the first frame of a sequence, by name.
    """

    def __init__(self, start: Mapping[str, np.ndarray]):
        self.start = dict(start)
        self._held: dict[str, np.ndarray] | None = None

    def before(self, frame: Frame) -> dict[str, np.ndarray]:
        """The values to run a frame with: its own, or those after the frame that it continues, or the start.

        Raises:
            ExecutionError: no frame came before one that continues, or its own values have other names or shapes.
        """
        if frame.carried is not None:
            return self._own(frame, frame.carried)
        if not frame.continues:
            return dict(self.start)
        if self._held is None:
            raise ExecutionError(f"Frame {frame.name!r} continues a sequence, and no frame came before it.")
        return dict(self._held)

    def after(self, values: Mapping[str, np.ndarray]) -> None:
        """Hold what the network returned, for the next frame."""
        self._held = {name: values[name].astype(start.dtype, copy=False) for name, start in self.start.items()}

    def _own(self, frame: Frame, given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        shapes = {name: value.shape for name, value in given.items()}
        wanted = {name: value.shape for name, value in self.start.items()}
        if shapes != wanted:
            raise ExecutionError(f"Frame {frame.name!r} has carried values {shapes}; the network takes {wanted}.")
        return {name: given[name].astype(start.dtype, copy=False) for name, start in self.start.items()}


@dataclass(frozen=True)
class Place:
    """Where a saved model has a carried value.

    Attributes:
        name: in the network as it came.
        input, output: features of the model; empty where it is a state.
        state: a state of the model; empty where it is an input and an output.
    """

    name: str
    input: str = ""
    output: str = ""
    state: str = ""


def places_to_json(places: Iterable[Place]) -> str:
    """One line of JSON, as stored in the metadata of packages and ONNX models."""
    return json.dumps([{key: text for key, text in asdict(place).items() if text} for place in places])


def places_from_json(text: str) -> tuple[Place, ...]:
    """Read the output of `places_to_json`. Raises UsageError for anything else."""
    try:
        places = tuple(Place(**row) for row in json.loads(text))
    except (ValueError, TypeError, RecursionError) as error:
        raise UsageError(f"This is no list of carried values: {text[:80]}") from error
    texts = [value for place in places for value in asdict(place).values()]
    if not all(isinstance(value, str) for value in texts) or not all(_whole(place) for place in places):
        raise UsageError(f"This is no list of carried values: {text[:80]}")
    return places


def _whole(place: Place) -> bool:
    """Whether a place is an input with its output, or a state."""
    return bool(place.name) and (bool(place.input and place.output) != bool(place.state))
