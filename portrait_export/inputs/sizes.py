"""Validate `sizes=`, load a network at each size, and pick the size that suits a photo."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import PortraitError, UsageError
from .sources import LoadedModel, ModelSource, Size, load_model, model_loader

if TYPE_CHECKING:
    from ..mil.features import Feature

MAX_SIZES = 8  # each is traced, lowered and compared; Core ML itself takes 128


def label(size: Size) -> str:
    """Format a size: `512x384`, height first."""
    return f"{size[0]}x{size[1]}"


def labels(sizes: Sequence[Size], *, last: str = ", ") -> str:
    """Format several sizes: `256x256, 512x512`."""
    *others, end = map(label, sizes)
    return ", ".join(others) + last + end if others else end


def require_sizes(sizes: Sequence[Size], *, size: Size | None) -> None:
    """Raise UsageError unless `sizes` is empty or lists 2 to MAX_SIZES different sizes without a single `size`."""
    if not sizes:
        return
    if size is not None:
        raise UsageError(f"`size={size}` and `sizes={tuple(sizes)}` cannot be used together.")
    twice = [value for value in dict.fromkeys(sizes) if list(sizes).count(value) > 1]
    if twice:
        raise UsageError(f"`sizes=` lists {labels(twice)} more than once.")
    if len(sizes) == 1:
        raise UsageError(
            f"`sizes=` lists only one size, {label(sizes[0])}.", hint=f"pass `size={sizes[0]}`, or list several."
        )
    if len(sizes) > MAX_SIZES:
        raise UsageError(
            f"`sizes=` lists {len(sizes)} sizes; the limit is {MAX_SIZES}.",
            hint="each size is traced, lowered and compared separately; list only those that the app uses.",
        )


def load_sizes(source: ModelSource, sizes: Sequence[Size], *, any_size: bool = False) -> tuple[LoadedModel, ...]:
    """Load the network at each size, the default first; without sizes, at the source's own.

    Args:
        any_size: try the user's own file at sizes other than its fixed one; always on for several sizes.
    Raises:
        PortraitError: as for `load_model`, listing every size that the network does not accept.
    """
    if not sizes:
        return (load_model(source),)
    load = model_loader(source, any_size=any_size or len(sizes) > 1)
    models: list[LoadedModel] = []
    failures: list[tuple[Size, PortraitError]] = []
    for size in sizes:
        try:
            models.append(load(size))
        except PortraitError as error:
            failures.append((size, error))
    if failures:
        raise _joined(failures, len(sizes))
    _require_one_reading(models)
    return tuple(models)


def _joined(failures: Sequence[tuple[Size, PortraitError]], asked: int) -> PortraitError:
    """Join the errors of several sizes into one; a problem of every size keeps its own error."""
    first = failures[0][1]
    if asked == 1 or (len(failures) == asked and len({error.message for _, error in failures}) == 1):
        return first
    lines = [f"{label(size)}: {error.message}" for size, error in failures]
    hints = list(dict.fromkeys(f"{label(size)}: {error.hint}" for size, error in failures if error.hint))
    return type(first)(
        f"The network cannot be loaded at {len(failures)} of {asked} sizes.",
        code=first.code,
        context=[*lines, *(line for _, error in failures for line in error.context)],
        hint="; ".join(hints),
    )


def _require_one_reading(models: Sequence[LoadedModel]) -> None:
    """Raise UsageError if the preprocessing of the user's own network differs between sizes."""
    first = models[0].spec
    for model in models[1:]:
        if replace(model.spec, height=first.height, width=first.width) != first:
            raise UsageError(
                f"{model.name} has different preprocessing at {label((model.spec.height, model.spec.width))}"
                f" and at {label((first.height, first.width))}.",
                hint="set it with `mean=`, `std=`, `scale=`, `color=` and `resize=`.",
            )


def size_of(model: LoadedModel) -> Size:
    """Return the input size of a loaded network."""
    return model.spec.height, model.spec.width


def listed_sizes(inputs: Sequence[Feature]) -> tuple[Size, ...]:
    """Return the sizes of a package's image input, the default first; empty if it has one fixed size."""
    for feature in inputs:
        if feature.kind == "image" and len(feature.enumerated) > 1:
            sizes = [(shape[-2], shape[-1]) for shape in feature.enumerated]
            return tuple(sorted(sizes, key=lambda size: size != feature.shape[-2:]))
    return ()


def require_listed(size: Size, sizes: Sequence[Size], *, name: str) -> None:
    """Raise UsageError for a size that a package does not list."""
    if size not in sizes:
        raise UsageError(f"{name} takes {labels(sizes, last=' or ')}; found `size={size}`.")


def closest(sizes: Sequence[Size], photo: Size) -> Size:
    """Pick the size for a photo: of those closest to its aspect ratio, the smallest that covers it, else the largest.

    >>> closest([(256, 256), (512, 512), (512, 384)], (4000, 3000))
    (512, 384)
    """
    aspect = math.log(photo[0] / photo[1])
    distances = {size: round(abs(math.log(size[0] / size[1]) - aspect), 6) for size in sizes}
    nearest = sorted((size for size in sizes if distances[size] == min(distances.values())), key=math.prod)
    covering = [size for size in nearest if size[0] >= photo[0] and size[1] >= photo[1]]
    return covering[0] if covering else nearest[-1]
