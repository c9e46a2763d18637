"""Say which entry of a checkpoint was used, and which others would fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import CheckpointError
from .tensors import read_tensors

if TYPE_CHECKING:
    from ...models.remap import Place


def read_all(files: Sequence[Path], label: str) -> dict[str, Any]:
    """What the files of one checkpoint hold together. Raises CheckpointError where two have the same keys."""
    merged: dict[str, Any] = {}
    for file in files:
        part = read_tensors(file)
        twice = sorted(set(map(str, merged)) & set(map(str, part)))
        if twice:
            raise CheckpointError(f"{label}: {len(twice)} keys are in more than one shard.", context=twice[:12])
        merged.update(part)
    return merged


def origin(label: str, place: Place) -> str:
    """A checkpoint and where in it the weights are, for provenance."""
    return f"checkpoint {label}" + (f", {place}" if str(place) else "")


def doubts_about(label: str, place: Place, others: Sequence[Place]) -> tuple[str, ...]:
    """One warning about each other place with weights for the same network."""
    return tuple(
        f"{label} holds several sets of weights: those of {place if str(place) else 'its top'} are used,"
        f" and {other} has others, such as averaged ones (EMA); to use these, save them alone: {_saving(other)}"
        for other in others
        if str(other)
    )


def _saving(place: Place) -> str:
    """Python that saves the weights of one place."""
    state = "torch.load(FILE, weights_only=True)" + "".join(f"[{name!r}]" for name in place.path)
    if place.prefix:
        begin = repr(place.prefix)
        state = f"{{k.removeprefix({begin}): v for k, v in {state}.items() if k.startswith({begin})}}"
    return f"`torch.save({state}, NEW_FILE)`"
