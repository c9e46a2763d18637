"""Read the settings that an ONNX file of this project carries."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ...preprocessing import GRAY, SPEC_KEY, Picture, PortraitSpec
from ...utils.carrying import Place
from ..export import OUTPUTS, spec_of
from ..runners import carried_places
from .options import NORMALISING, ForeignOptions, PictureSettings, Settings, completed

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

ORIGIN = "the file's own metadata"
CLOSE = 1e-3  # relative difference of a number that was typed with a few digits


def with_exported(
    options: ForeignOptions, toml: str, model: onnx.ModelProto
) -> tuple[ForeignOptions, str, tuple[str, ...]]:
    """The options, completed by what an exported file says of itself.

    Args:
        toml: name of the file that some options come from, empty where there is none.
    Returns:
        The options; where the photograph's normalisation comes from; warnings where options contradict the file.
    Raises:
        UsageError: the file's metadata cannot be read.
    """
    spec, places = spec_of(model), carried_places(model)
    if spec is None:
        return options, toml, ()
    if {value.name for value in model.graph.input} != {*spec.inputs, *(place.input for place in places)}:
        doubt = f"{ORIGIN} ({SPEC_KEY}) describe other inputs than it has, so they are ignored"
        return options, toml, (doubt,)
    stored = _settings(spec, places)
    warnings = _contradictions(options, stored)
    if not options.normalises:
        return completed(options, stored), ORIGIN, warnings
    return completed(options, replace(stored, mean=None, std=None, scale=None)), toml, warnings


def _settings(spec: PortraitSpec, places: Sequence[Place]) -> Settings:
    """Without `positive`: both outputs of an exported file are about the person, whatever its network's are."""
    gray = spec.color == GRAY
    return Settings(
        mean=spec.mean * 3 if gray else spec.mean,
        std=spec.std * 3 if gray else spec.std,
        scale=spec.scale,
        color=None if gray else spec.color,
        resize=spec.resize,
        threshold=spec.threshold,
        mask_output=OUTPUTS[1],
        image_input=("image", *(f"{each.name}={each.shows}" for each in spec.pictures)) if spec.pictures else (),
        pictures=tuple(map(_of_picture, spec.pictures)),
        carry=tuple((place.input, place.output) for place in places),
    )


def _of_picture(picture: Picture) -> PictureSettings:
    color = None if picture.color == GRAY else picture.color
    return PictureSettings(picture.name, picture.mean, picture.std, picture.scale, color)


def _contradictions(options: Settings, stored: Settings) -> tuple[str, ...]:
    """Options that say something else than the file."""
    pairs = [(name, getattr(options, name), getattr(stored, name)) for name in NORMALISING]
    return tuple(
        f"{ORIGIN} say {name} {_text(own)}, and {_text(given)} is specified (`{name}=`)"
        for name, given, own in pairs
        if given is not None and own is not None and not _same(given, own)
    )


def _same(one: str | float | tuple[float, ...], other: str | float | tuple[float, ...]) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    pairs = zip(_listed(one), _listed(other), strict=True)
    return all(abs(a - b) <= CLOSE * max(abs(a), abs(b)) for a, b in pairs)


def _text(value: str | float | tuple[float, ...]) -> str:
    return value if isinstance(value, str) else ",".join(f"{number:.6g}" for number in _listed(value))


def _listed(value: float | tuple[float, ...]) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,)
