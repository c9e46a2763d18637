"""Find the values that a saved package carries from frame to frame, and check that the package has them."""

from __future__ import annotations

from ..errors import ExecutionError
from ..mil.features import Feature
from ..preprocessing import CARRIED_KEY
from ..utils.carrying import Place, places_from_json
from .model import CoreMLProgram


def carried_of(program: CoreMLProgram) -> dict[Place, Feature]:
    """Each carried value and the feature that it starts from, an input or a state.

    The package's metadata names them. States that it does not name are carried under their own names.

    Raises:
        ExecutionError: the metadata names features that the package lacks, or of two shapes.
    """
    text = program.metadata.user_defined.get(CARRIED_KEY)
    places = list(places_from_json(text)) if text else []
    named = {place.state for place in places}
    places += [Place(feature.name, state=feature.name) for feature in program.states if feature.name not in named]
    inputs = {feature.name: feature for feature in program.inputs if feature.kind == "array"}
    outputs = {feature.name: feature for feature in program.outputs if feature.kind == "array"}
    states = {feature.name: feature for feature in program.states}
    found: dict[Place, Feature] = {}
    problems = []
    for place in places:
        feature = states.get(place.state) if place.state else inputs.get(place.input)
        if feature is None or not (place.state or place.output in outputs):
            problems.append(f"{place.name}: {place.state or f'{place.input} ← {place.output}'} is not in the package")
        elif not place.state and outputs[place.output].shape != feature.shape:
            problems.append(f"{place.name}: {place.input} {feature.allowed} ← {outputs[place.output].allowed}")
        else:
            found[place] = feature
    if problems:
        raise ExecutionError(
            f"{program.program.path.name} does not have the carried values that its metadata names.", context=problems
        )
    return found
