"""Export and compare recurrent networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..artifacts import AUTO
from ..errors import UsageError
from ..inputs.frames import load_frames
from ..inputs.sequences import load_sequences, with_carried
from ..inputs.sources import LoadedModel
from ..preprocessing import CARRIED_KEY
from ..utils.bounds import at_most
from ..utils.carrying import Place, places_to_json

if TYPE_CHECKING:
    from ..artifacts import LabelledFrame, Lowered
    from ..verify.parity import Comparison
    from .requests import CoreMLRequest, ParityRequest

STATE_TEXT = "Carried from frame to frame. Make new states (MLModel.makeState) for each sequence."
HALF_NOTE = (
    "Core ML stores states in half precision: what is carried is rounded to 11 bits with each frame (relative error up"
    " to 4.9e-4), and is infinite above 65504. As inputs and outputs (without `states=True`) it is float32 between"
    " frames."
)
FITTED_SPLIT = "calibrate"  # of the calibration set; the other half judges
FITTED_PHOTOGRAPHS, FITTED_STEPS = 4, 4  # whose frames layer inputs are measured on: as many as of other networks


def check_states(request: CoreMLRequest) -> None:
    """Raise UsageError for options that a package with states cannot have."""
    if not request.states:
        return
    from ..frontend.states import require_target

    require_target(request.target)
    if request.precision == AUTO or request.tune or request.recipe == "mixed":
        raise UsageError(
            "`states=True` cannot be used with `precision=auto`, `tune=True` or `quantize=mixed`, which measure"
            " gradients or single operations of a package without states.",
            hint="leave it out: carried values are then inputs and outputs.",
        )


def require_packageable(models: Sequence[LoadedModel], request: CoreMLRequest) -> None:
    """Raise UsageError for options that the network cannot have, recurrent or not."""
    model = models[0]
    if request.states and not model.carried:
        raise UsageError(f"`states=True` is for networks that carry values from frame to frame; {model.name} does not.")
    if model.carried and len(models) > 1:
        raise UsageError(
            f"{model.name} carries values whose shapes depend on the input's size, so a package has one size.",
            hint="export a package per size with `size=`.",
        )


def metadata_of(model: LoadedModel, *, states: bool) -> dict[str, str]:
    """The entry that says where a package has each carried value; none for other networks."""
    return {CARRIED_KEY: places_to_json(places_of(model, states=states))} if model.carried else {}


def places_of(model: LoadedModel, *, states: bool) -> list[Place]:
    """Where a package has each carried value: as an input and an output, or as a state."""
    from ..frontend.names import identifier

    if states:
        return [Place(value.name, state=identifier(value.input)) for value in model.carried]
    return [Place(value.name, identifier(value.input), identifier(value.output)) for value in model.carried]


def described(lowered: Lowered, model: LoadedModel) -> Lowered:
    """The program with what its carried inputs and outputs are, for the app developer."""
    inputs, outputs = {}, {}
    for place in places_of(model, states=False):
        inputs[place.input] = f"Zeros with the first frame of a sequence, then {place.output} of the frame before."
        outputs[place.output] = f"To be passed as {place.input} with the next frame."
    return replace(
        lowered,
        inputs=tuple(replace(each, description=inputs.get(each.name, each.description)) for each in lowered.inputs),
        outputs=tuple(replace(each, description=outputs.get(each.name, each.description)) for each in lowered.outputs),
        states=tuple(replace(each, description=STATE_TEXT) for each in lowered.states),
    )


def states_of(model: LoadedModel) -> dict[str, str]:
    """The graph's carried inputs → the outputs that they take."""
    return {value.input: value.output for value in model.carried}


def require_carrying(model: LoadedModel, request: ParityRequest) -> None:
    """Raise UsageError if a request's masks come from what does not carry values: only our runtime does here."""
    if model.carried and (request.from_device is not None or request.runtime != "portrait"):
        which = "`from_device=`" if request.from_device is not None else "`runtime=coreml`"
        raise UsageError(
            f"{which} compares photographs one by one; {model.name} carries values from frame to frame.",
            hint="compare with our runtime, which carries them.",
        )


def fitted_photographs(model: LoadedModel, count: int) -> Sequence[LabelledFrame]:
    """The photographs that recipes are fitted to: evenly spread over the calibrate half of the calibration set.

    For a recurrent network they are frames of pans, each with the values that the network carries to it.
    """
    if model.carried:
        return fitted_frames(model, FITTED_SPLIT)
    return load_frames(None, model.spec, split=FITTED_SPLIT, kinds=model.kinds).spread(count)


def fitted_frames(model: LoadedModel, split: str | None) -> list[LabelledFrame]:
    """Frames to measure a package on, each with the values that the network itself carries to it."""
    frames = load_sequences(
        None, model.spec, split=split, kinds=model.kinds, photographs=FITTED_PHOTOGRAPHS, steps=FITTED_STEPS
    )
    return list(with_carried(frames, model.open_runner()))


class Watch:
    """Sees the frames of a comparison go by.

    Args:
        model: the network that is compared.
        note: which frames they are.
    """

    def __init__(self, model: LoadedModel, note: str):
        self._model, self._note = model, note
        self._fresh = model.open_runner()
        self._previous: Comparison | None = None
        self._effects: list[float] = []
        self._continued = 0

    def alone(self, compared: Comparison) -> Comparison:
        """The comparison with a frame that can be run by itself: it has the package's own carried values."""
        frame, previous, self._previous = compared.labelled.frame, self._previous, compared
        if not frame.continues or previous is None:
            return compared
        self._continued += 1
        if not previous.labelled.frame.continues:
            self._measure_effect(compared)
        own = previous.candidate.carried if set(previous.candidate.carried) == self._names else None
        whole = replace(frame, continues=False, carried=own)
        return replace(compared, labelled=replace(compared.labelled, frame=whole))

    @property
    def _names(self) -> set[str]:
        return {value.name for value in self._model.carried}

    def _measure_effect(self, compared: Comparison) -> None:
        """How much the reference's mask is another one where nothing is carried to the frame."""
        (fresh,) = self._fresh.run([replace(compared.labelled.frame, continues=False)])
        self._effects.append(float(abs(fresh.probability - compared.reference.probability).max()))

    def _lacking(self) -> str:
        """Which carried values the package lacks or has in addition; empty where they are the network's."""
        found = set() if self._previous is None else set(self._previous.candidate.carried)
        missing, more = sorted(self._names - found), sorted(found - self._names)
        parts = [f"does not carry {', '.join(missing)}"] if missing else []
        parts += [f"carries {', '.join(more)}, which the network does not"] if more else []
        return f"The package {' and '.join(parts)}." if parts else ""

    def notes(self) -> tuple[str, ...]:
        """What was compared, and what the carried values do."""
        names = ", ".join(value.name for value in self._model.carried)
        lacking = self._lacking()
        what = (
            f"Recurrent network: compared on {self._note}. Each side carried its own {names} from frame to frame,"
            f" {self._continued} times; they start at zero with each sequence."
        )
        effect = max(self._effects, default=0.0)
        if lacking:
            return (lacking,)
        if effect > 0:
            return (what, f"What is carried changes P(person) by up to {at_most(effect)} in the reference's masks.")
        unmoved = (
            "What is carried does not change the reference's masks on these frames: that it is carried right is shown"
            " by the carried values alone."
        )
        return (what, unmoved)
