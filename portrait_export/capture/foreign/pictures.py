"""Find the inputs of a foreign graph that take pictures, and what each of them shows.

A picture has one channel (gray) or three. An input of four takes two of them: the photograph in its first three
channels, and a gray picture in the fourth. The first picture is always the photograph.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import CaptureError, UsageError
from ...preprocessing import SHOWS
from ...utils.names import unique_name
from .interface import (
    DEFAULT_SIZE,
    FLOATS,
    INTEGERS,
    ImageInput,
    described,
    dims_of,
    dtype_of,
    find_image_input,
    free_inputs,
    layouts_of,
    pinned_input,
    refuse_unfilled,
    require_inputs,
)

if TYPE_CHECKING:
    import onnx

Size = tuple[int, int]

RESERVED = ("image", "depth", "logits", "mask")  # names of a package's inputs and outputs with meanings of their own
LEAST_SIDE = 16  # pixels; a map with fewer is not taken for a picture unless it is named
CHANNELS = {3: "a colour picture", 1: "a gray picture", 4: "a colour picture with a fourth channel"}
# Parts of the names by which published networks call their inputs.
NAMES = {
    "background": re.compile(r"(^|_)(bgr?|bgrd?|bck|back|background)($|_|\d)", re.IGNORECASE),
    "trimap": re.compile(r"tri(map)?($|_|\d)", re.IGNORECASE),
    "mask": re.compile(r"mask|prev|matte|alpha|(^|_)pha($|_)|guidance", re.IGNORECASE),
}


@dataclass(frozen=True)
class Part:
    """A picture in some channels of an input.

    Attributes:
        name: of the package's input.
        shows: what it shows, one of `preprocessing.SHOWS`.
        channels: which of the input's.
    """

    name: str
    shows: str
    channels: tuple[int, ...]

    @property
    def gray(self) -> bool:
        """Whether it has one channel."""
        return len(self.channels) == 1


@dataclass(frozen=True)
class PictureInput:
    """An input of the user's graph, and the pictures that its channels hold, in order.

    Attributes:
        image: the input.
        parts: one, or the photograph and a gray picture.
    """

    image: ImageInput
    parts: tuple[Part, ...]

    def arrange(self, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
        """Normalised pictures (1, C, H, W) by name, as the input takes them."""
        return self.image.arrange(np.concatenate([tensors[part.name] for part in self.parts], axis=1))


def arranged(inputs: Iterable[PictureInput], tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Normalised pictures (1, C, H, W) by the package's names, as the graph's inputs by its own names."""
    return {each.image.name: each.arrange(tensors) for each in inputs}


def find_pictures(
    model: onnx.ModelProto,
    *,
    named: Sequence[str],
    size: Size | None,
    fixed: Mapping[str, float],
    open_size: Size = DEFAULT_SIZE,
) -> tuple[PictureInput, ...]:
    """The inputs that take pictures, the photograph's first, and what fills their open dimensions.

    Args:
        named: the user's choices, each `NAME` or `NAME=SHOWS`; empty takes the only input that is a picture.
        size, fixed, open_size: as for `find_image_input`.
    Raises:
        CaptureError: no input or several could be the photograph, one is not a picture, or others stay unfilled.
        UsageError: an unknown name, or a size that the file does not take.
    """
    values = {value.name: value for value in free_inputs(model)}
    chosen = _chosen(named, values)
    require_inputs([*chosen, *fixed], values)
    if not chosen:
        found = {name: count for name, value in values.items() if name not in fixed and (count := _channels_of(value))}
        if len(found) > 1 or 4 in found.values():
            raise _which(values, found)
        if 1 not in found.values():
            image = find_image_input(model, name=None, size=size, fixed=fixed, open_size=open_size)
            return (PictureInput(image, (Part("image", "photo", (0, 1, 2)),)),)
        chosen = dict.fromkeys(found, "")
    refuse_unfilled(values, list(chosen), fixed)
    counts = {name: _require_picture(values[name], size) for name in chosen}
    roles = _roles(chosen, counts, values)
    _refuse_coloured_trimaps(roles, counts, values)
    outputs = [value.name for value in model.graph.output]
    taken = {*RESERVED, *outputs}
    inputs: list[PictureInput] = []
    for name, shows in roles.items():
        count = counts[name]
        layouts = layouts_of(values[name], count) or layouts_of(values[name], 0)
        image = pinned_input(model, values[name], layouts, count, size, open_size)
        inputs.append(PictureInput(image, _parts(name, shows, count, taken, first=not inputs)))
    _require_one_size([each.image for each in inputs])
    return tuple(inputs)


def _chosen(named: Sequence[str], values: Mapping[str, Any]) -> dict[str, str]:
    """Name → what it shows, empty where that is not said. Raises UsageError for one that is named twice."""
    chosen: dict[str, str] = {}
    for text in named:
        name, shows = (text, "") if text in values else split_choice(text)
        if name in chosen:
            raise UsageError(f"The input {name!r} is named twice as a picture.")
        chosen[name] = shows
    return chosen


def picture_names(named: Iterable[str], values: Container[str]) -> set[str]:
    """The names in the user's choices, each `NAME` or `NAME=SHOWS`."""
    return {text if text in values else split_choice(text)[0] for text in named}


def split_choice(text: str) -> tuple[str, str]:
    """`bgr=background` as a name and what it shows, empty where that is not said."""
    name, separator, shows = text.rpartition("=")
    return (name, shows) if separator else (text, "")


def _channels_of(value: Any) -> int:
    """How many channels an input has that looks like a picture; 0 for one that does not, or leaves them open."""
    for count in CHANNELS:
        for layout in layouts_of(value, count):
            sides = [side for letter, side in zip(layout, dims_of(value), strict=True) if letter in "HW"]
            if all(side == 0 or side >= LEAST_SIDE for side in sides):
                return count
    return 0


def _require_picture(value: Any, size: Size | None) -> int:
    """How many channels an input has. Raises CaptureError unless a picture can have as many."""
    for count in CHANNELS:
        if layouts_of(value, count):
            return count
    if len(dims_of(value)) == 4 and layouts_of(value, 0):
        return 3
    kind, rank = dtype_of(value), len(dims_of(value))
    why = "it needs 1, 3 or 4 channels, and a batch of one"
    if kind not in (*FLOATS, *INTEGERS):
        why = f"pixels are floats or integers, and its values are {kind.lower()}"
    elif rank not in (3, 4):
        why = f"it has {rank} dimensions, and a picture has channels, rows and columns, with or without a batch"
    raise CaptureError(
        f"The network's input {value.name!r} is not a picture: {why}.",
        code="not-a-picture",
        context=[described(value)],
        hint="a package takes pictures of one channel (gray) or three. One of 4 channels is made of a photograph and a"
        " gray picture. For others, export the network again with inputs of 1 or 3 channels, joined inside it.",
    )


def _which(values: Mapping[str, Any], found: Mapping[str, int]) -> CaptureError:
    """The question which pictures the network takes."""
    lines: list[str] = []
    example: list[str] = []
    for name, count in found.items():
        shows = shown_by_name(name)
        maybe = f"; by its name perhaps {_phrase(shows)}" if shows else ""
        lines.append(f"{described(values[name])}, {CHANNELS[count]}{maybe}")
        unsaid = "trimap" if count == 4 or (count == 1 and example) else "background" if example else ""
        said = shows or unsaid
        example.append(f"`image_input={name}{'=' if said else ''}{said}`")
    many = "The fourth channel of the network's input may show several things."
    if len(found) > 1:
        many = f"{len(found)} of the network's inputs are pictures, and which of them the photograph is was not said."
    kinds = ", ".join(SHOWS)
    return CaptureError(
        many,
        code="which-pictures",
        context=lines,
        hint=f"name each picture with what it shows ({kinds}), the photograph first, such as {' '.join(example)}. One"
        " that takes an output with the next frame is `carry=NAME=OUTPUT`, and `fix_inputs=NAME=NUMBER` fills one.",
    )


def _phrase(shows: str) -> str:
    return {"background": "the background without the person", "trimap": "a trimap", "mask": "a mask"}[shows]


def shown_by_name(name: str) -> str:
    """What an input shows by its name; empty where that does not tell."""
    return next((shows for shows, pattern in NAMES.items() if pattern.search(name)), "")


def name_doubt(name: str, shows: str) -> str:
    """Why it is doubtful that an input shows that; empty where its name does not tell."""
    by_name = shown_by_name(name)
    if by_name in ("", shows):
        return ""
    return f"by its name the input {name!r} shows {_phrase(by_name)}, and it is given {SHOWS[shows].lower()}"


def _roles(chosen: Mapping[str, str], counts: Mapping[str, int], values: Mapping[str, Any]) -> dict[str, str]:
    """What each named input shows, the photograph's first; of one with four channels, what its fourth shows."""
    four = [name for name in chosen if counts[name] == 4]
    if len(chosen) == 1 and not four and set(chosen.values()) <= {"", "photo"}:
        return dict.fromkeys(chosen, "photo")
    shown = {name: shows or shown_by_name(name) for name, shows in chosen.items()}
    photos = [name for name, shows in chosen.items() if shows == "photo" and name not in four]
    photos = photos or four or [name for name, shows in shown.items() if not shows]
    if not photos:
        raise CaptureError(
            "None of the inputs that were named shows the photograph.",
            code="which-pictures",
            context=[f"{described(values[name])}: {_phrase(shows)}" for name, shows in shown.items()],
            hint=f"say which one does, such as `image_input={next(iter(chosen))}=photo`.",
        )
    first = photos[0]
    shown[first] = shown[first] if first in four else "photo"
    unknown = [
        name for name, shows in shown.items() if not shows or (name in four and (name != first or shows == "photo"))
    ]
    if unknown:
        where = " in its fourth channel" if unknown[0] in four else ""
        raise CaptureError(
            f"It is not known what {' and '.join(map(repr, unknown))} shows{where}.",
            code="which-pictures",
            context=[f"{described(values[name])}, {CHANNELS[counts[name]]}" for name in unknown],
            hint=f"say it as `image_input={unknown[0]}=KIND`, one of {', '.join(SHOWS)}: the comparison makes such"
            " pictures of its photographs. A fourth channel belongs to the photograph's input alone.",
        )
    return {first: shown.pop(first), **shown}


def _refuse_coloured_trimaps(roles: Mapping[str, str], counts: Mapping[str, int], values: Mapping[str, Any]) -> None:
    """Raise CaptureError for a trimap of three channels: gray three times, or a channel for each of its kinds."""
    coloured = [name for name, shows in roles.items() if shows == "trimap" and counts[name] == 3]
    if coloured:
        raise CaptureError(
            f"The network's input {coloured[0]!r} shows a trimap in three channels: gray three times, or a channel each"
            " for background, unknown and person. Nothing tells which.",
            code="which-trimap",
            context=[described(values[name]) for name in coloured],
            hint="make them from one gray channel t inside the network, and export it again: t.expand(-1, 3, -1, -1),"
            " or torch.cat([t < 0.25, (t >= 0.25) & (t <= 0.75), t > 0.75], 1).float().",
        )


def _parts(name: str, shows: str, count: int, taken: set[str], *, first: bool) -> tuple[Part, ...]:
    if not first:
        own = re.sub(r"[^a-zA-Z0-9_]", "_", name)
        own = own if own and not own[0].isdigit() else f"_{own}"
        own = f"{own}_input" if own in RESERVED else own
        return (Part(unique_name(own, taken), shows, tuple(range(count))),)
    photo = Part("image", "photo", tuple(range(min(count, 3))))
    if count < 4:
        return (photo,)
    fourth = f"{shows}_input" if shows in RESERVED else shows
    return (photo, Part(unique_name(fourth, taken), shows, (3,)))


def _require_one_size(images: Sequence[ImageInput]) -> None:
    sizes = {(image.height, image.width) for image in images}
    if len(sizes) > 1:
        raise CaptureError(
            "The network's pictures are of different sizes.",
            code="picture-sizes",
            context=[f"{image.name}: {image.height}x{image.width}" for image in images],
            hint="a package takes pictures of one size; resize the smaller ones inside the network.",
        )
