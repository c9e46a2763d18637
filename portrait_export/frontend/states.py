"""Lower carried values as Core ML states: read before the graph computes, updated after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..artifacts import ArrayFeature, Feature
from ..errors import UsageError
from .emitter import Emitter
from .values import Var

TARGETS = ("iOS18", "iOS26")  # whose packages can have states


def require_target(target: str) -> None:
    """Raise UsageError for a target that has no states."""
    if target not in TARGETS:
        raise UsageError(
            f"States need `target=iOS18` or newer; found `target={target}`.",
            code="states-target",
            hint="for older systems leave out `states=True`: carried values are then inputs and outputs.",
        )


def state_features(features: Sequence[Feature], names: Sequence[str]) -> tuple[ArrayFeature, ...]:
    """The states that some inputs become: Core ML stores them in half precision.

    Args:
        features: the inputs of the graph.
        names: of those that become states.
    """
    arrays = {feature.name: feature for feature in features if isinstance(feature, ArrayFeature)}
    return tuple(ArrayFeature(name, arrays[name].shape, "fp16") for name in names)


def placeholder(feature: ArrayFeature, emitter: Emitter) -> object:
    """The placeholder that declares a state of a MIL function."""
    return emitter.builder.state_tensor_placeholder(shape=feature.shape, dtype=emitter.types.fp16)


def read(feature: ArrayFeature, state: Var, emitter: Emitter) -> Var:
    """The state's value before this run, in float32 as the graph takes it."""
    half = emitter.emit("read_state", f"{feature.name}_read", input=state)
    return emitter.emit("cast", f"{feature.name}_before", x=half, dtype="fp32")


def update(
    features: Sequence[ArrayFeature],
    outputs: Mapping[str, str],
    states: Mapping[str, Var],
    value_of: Callable[[str], Var],
    emitter: Emitter,
) -> None:
    """Store what the graph returns, for the next run.

    Args:
        outputs: state → the graph's output that it becomes.
        states: the function's inputs, by name.
        value_of: the value of an output.
    """
    for feature in features:
        half = emitter.emit("cast", f"{feature.name}_after", x=value_of(outputs[feature.name]), dtype="fp16")
        emitter.emit("coreml_update_state", f"{feature.name}_update", state=states[feature.name], value=half)
