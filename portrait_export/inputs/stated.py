"""Compare what a saved model states for apps with its program and its network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import PackageError
from ..preprocessing import SPEC_KEY, Picture, PortraitSpec

if TYPE_CHECKING:
    from ..mil.features import Feature
    from .saved import SavedModel

CLOSE = 1e-4  # relative difference of the same numbers in other units: they are stored with six digits or more
OPTIONAL = ("threshold", "resize")  # what a network of the user's own need not state; then the package's counts
CHOSEN = ("positive", *OPTIONAL)
DEFAULT = PortraitSpec()


def require_described(saved: SavedModel) -> None:
    """Raise PackageError if a package's program has other inputs, sizes or outputs than its PortraitSpec states."""
    spec = saved.spec
    if spec is None or not saved.inputs:
        return
    faults = [*_other_inputs(spec, saved.inputs), *_other_output(spec, saved.outputs)]
    if faults:
        raise PackageError(
            f"{saved.path.name} is not what its metadata ({SPEC_KEY}) state, so apps would prepare photos wrongly.",
            code="contradicted-spec",
            context=faults,
            hint="export the package again.",
        )


def _other_inputs(spec: PortraitSpec, inputs: Sequence[Feature]) -> Iterator[str]:
    by_name = {feature.name: feature for feature in inputs}
    missing = [name for name in spec.inputs if name not in by_name]
    if missing:
        yield f"inputs: stated {', '.join(spec.inputs)}; the program takes {', '.join(by_name)}"
    image = by_name.get("image")
    if image is not None and image.kind == "image" and not image.allows((spec.height, spec.width)):
        yield f"size: stated {spec.height}x{spec.width}; the program takes {image.allowed}"


def _other_output(spec: PortraitSpec, outputs: Sequence[Feature]) -> Iterator[str]:
    """Outputs are called `mask`, but logits are called `logits`; a package may return further ones."""
    kinds = {feature.name: feature.kind for feature in outputs}
    name, kind = {"mask": ("mask", "image"), "multiarray": ("mask", "array"), "logits": ("logits", "array")}[
        spec.output
    ]
    if kinds.get(name) != kind:
        found = ", ".join(f"{name} ({kind})" for name, kind in kinds.items())
        yield f"output: stated {spec.output}; the program returns {found}"


def require_agreeing(package: str, stated: PortraitSpec, network: PortraitSpec, *, own: bool) -> None:
    """Raise PackageError if a package states another preparation of photos, or use of masks, than its network has.

    Its size and kind of output are its own. The same normalisation may be stated in other units.

    Args:
        package: its name.
        own: whether the network is the user's own, or another than the package was made from. It may prepare photos in
            its graph or by other numbers, and leave open what the package states; whether that fits, the masks show.
    """
    faults = [*_other_pictures(stated, network, own=own)]
    for name in CHOSEN:
        has, says = getattr(network, name), getattr(stated, name)
        if has != says and not (own and (name == "positive" or has == getattr(DEFAULT, name))):
            faults.append(f"{name}: stated {says}; the network has {has}")
    if faults:
        raise PackageError(
            f"{package} states for apps what contradicts its network.",
            code="contradicted-spec",
            context=faults,
            hint="give the network, and the options, that the package was made with; or export the package again.",
        )


def _other_pictures(stated: PortraitSpec, network: PortraitSpec, *, own: bool) -> Iterator[str]:
    if stated.inputs != network.inputs:
        yield f"inputs: stated {', '.join(stated.inputs)}; the network takes {', '.join(network.inputs)}"
        return
    if own:
        return
    for says, has in zip(stated.all_pictures, network.all_pictures, strict=True):
        if says.color != has.color:
            yield f"color of {says.name}: stated {says.color}; the network takes {has.color}"
        elif not _same_numbers(says, has):
            yield f"normalisation of {says.name}: stated {_numbers(says)}; the network has {_numbers(has)}"


def _same_numbers(one: Picture, other: Picture) -> bool:
    """Whether black and white become the same numbers: x = (pixel·scale − mean) / std."""
    pairs = list(zip(_ends(one), _ends(other), strict=True))
    largest = max(max(abs(a), abs(b)) for a, b in pairs)
    return all(abs(a - b) <= CLOSE * largest for a, b in pairs)


def _ends(picture: Picture) -> list[float]:
    channels = list(zip(picture.mean, picture.std, strict=True))
    return [(pixel * picture.scale - mean) / std for pixel in (0, 255) for mean, std in channels]


def _numbers(picture: Picture) -> str:
    mean, std = (", ".join(f"{value:.6g}" for value in values) for values in (picture.mean, picture.std))
    return f"scale {picture.scale:.6g}, mean {mean}, std {std}"


def completed(stated: PortraitSpec, network: PortraitSpec) -> PortraitSpec:
    """A network's spec, with what it leaves open as its package states it: an app uses the package so."""
    left = [name for name in OPTIONAL if getattr(network, name) == getattr(DEFAULT, name)]
    return replace(network, **{name: getattr(stated, name) for name in left})
