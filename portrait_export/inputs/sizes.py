"""The input sizes that a user lists in, one network ready at each of them out; and which size suits a photo."""

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
    """A size as people write it: `512x384`, height first."""
    return f"{size[0]}x{size[1]}"


def labels(sizes: Sequence[Size], *, last: str = ", ") -> str:
    """Several sizes in words."""
    *others, end = map(label, sizes)
    return ", ".join(others) + last + end if others else end


def require_sizes(sizes: Sequence[Size], *, size: Size | None) -> None:
    """Raise UsageError unless these are a few different sizes, and no single one is asked for beside them."""
    if not sizes:
        return
    if size is not None:
        raise UsageError(f"--size {label(size)} and --sizes {labels(sizes, last=',')} exclude one another.")
    twice = [value for value in dict.fromkeys(sizes) if list(sizes).count(value) > 1]
    if twice:
        raise UsageError(f"--sizes lists {labels(twice)} more than once.")
    if len(sizes) == 1:
        raise UsageError(
            f"--sizes lists one size, {label(sizes[0])}.", hint=f"write --size {label(sizes[0])}, or list several."
        )
    if len(sizes) > MAX_SIZES:
        raise UsageError(
            f"--sizes lists {len(sizes)} sizes; at most {MAX_SIZES} are made.",
            hint="each is traced, lowered and compared on its own; list those that the app uses.",
        )


def load_sizes(source: ModelSource, sizes: Sequence[Size], *, any_size: bool = False) -> tuple[LoadedModel, ...]:
    """The network at each size, the default first; without sizes as the source says.

    Args:
        any_size: run a file of the user's own that fixes one size at others; always so where there are several.
    Raises:
        PortraitError: as `load_model`; with every size that the network does not take.
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
    """One error for all sizes; what is wrong at any size is said as it is."""
    first = failures[0][1]
    if asked == 1 or (len(failures) == asked and len({error.message for _, error in failures}) == 1):
        return first
    lines = [f"{label(size)}: {error.message}" for size, error in failures]
    hints = list(dict.fromkeys(f"{label(size)}: {error.hint}" for size, error in failures if error.hint))
    return type(first)(
        f"The network cannot be had at {len(failures)} of {asked} sizes.",
        code=first.code,
        context=[*lines, *(line for _, error in failures for line in error.context)],
        hint="; ".join(hints),
    )


def _require_one_reading(models: Sequence[LoadedModel]) -> None:
    """Raise UsageError where a network of the user's own is read in another way at another size."""
    first = models[0].spec
    for model in models[1:]:
        if replace(model.spec, height=first.height, width=first.width) != first:
            raise UsageError(
                f"{model.name} is prepared for in another way at {label((model.spec.height, model.spec.width))}"
                f" than at {label((first.height, first.width))}.",
                hint="say how: --mean, --std, --scale, --color, --resize.",
            )


def size_of(model: LoadedModel) -> Size:
    """The size at which a network is loaded."""
    return model.spec.height, model.spec.width


def listed_sizes(inputs: Sequence[Feature]) -> tuple[Size, ...]:
    """The sizes that a package's image input lists, the default first; empty where it has one fixed size."""
    for feature in inputs:
        if feature.kind == "image" and len(feature.enumerated) > 1:
            sizes = [(shape[-2], shape[-1]) for shape in feature.enumerated]
            return tuple(sorted(sizes, key=lambda size: size != feature.shape[-2:]))
    return ()


def require_listed(size: Size, sizes: Sequence[Size], *, name: str) -> None:
    """Raise UsageError for a size that a package does not list."""
    if size not in sizes:
        raise UsageError(f"{name} takes {labels(sizes, last=' or ')}; --size asks for {label(size)}.")


def closest(sizes: Sequence[Size], photo: Size) -> Size:
    """The size that suits a photo: of those nearest to its shape, the smallest that covers it, or else the largest.

    >>> closest([(256, 256), (512, 512), (512, 384)], (4000, 3000))
    (512, 384)
    """
    aspect = math.log(photo[0] / photo[1])
    distances = {size: round(abs(math.log(size[0] / size[1]) - aspect), 6) for size in sizes}
    nearest = sorted((size for size in sizes if distances[size] == min(distances.values())), key=math.prod)
    covering = [size for size in nearest if size[0] >= photo[0] and size[1] >= photo[1]]
    return covering[0] if covering else nearest[-1]
