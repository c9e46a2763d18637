"""Read what the files of a checkpoint say about its classes and its preprocessing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import CheckpointError
from ...preprocessing import POSITIVES
from ..huggingface import LARGEST_UNIT, MAX_JSON_BYTES, Preprocessor

if TYPE_CHECKING:
    from ...models.remap import Canonical


def person_of(config: Mapping[str, Any], labels: Mapping[int, str]) -> list[int]:
    """The classes that are the person: config.json's `person_classes`, else those whose names say so."""
    from ...models.person import person_classes

    listed = config.get("person_classes")
    if listed is None:
        return list(person_classes(labels))
    if not isinstance(listed, list) or not all(type(item) is int and item >= 0 for item in listed):
        raise CheckpointError(f"person_classes is {listed!r}; expected a list of class numbers.", code="bad-config")
    return sorted(set(listed))


def positive_of(config: Mapping[str, Any], folder: Path) -> str | None:
    """The positive class: config.json's `positive`, else a `positive:` line of the model card, else None."""
    positive = config.get("positive")
    card = folder / "README.md"
    if positive is None and card.is_file() and card.stat().st_size <= MAX_JSON_BYTES:
        match = re.search(r"^\s*positive:\s*[\"'`]?(\w+)", card.read_text(encoding="utf-8", errors="replace"), re.M)
        positive = match[1] if match else None
    if positive is not None and positive not in POSITIVES:
        raise CheckpointError(
            f"The positive class is set to {positive!r}; it can be {' or '.join(POSITIVES)}.", code="bad-config"
        )
    return positive


def preprocessing_of(preprocessor: Preprocessor | None, found: Canonical) -> dict[str, Any]:
    """The fields of ModelSpec that a checkpoint's preprocessing decides; None where the checkpoint does not say.

    A wrapper around the network may hold mean and std as buffers, which preprocessor_config.json does not override.
    """
    fields = {name: getattr(preprocessor, name, None) for name in ("scale", "mean", "std", "color", "size", "resize")}
    buffers = {name: found.extras[name].flatten().tolist() for name in ("mean", "std") if name in found.extras}
    if len(buffers) < 2 or any(len(values) != 3 for values in buffers.values()):
        return fields
    if max(buffers["mean"]) > LARGEST_UNIT:  # in units of 0..255
        buffers = {name: [value / 255 for value in values] for name, values in buffers.items()}
    # Half-precision or rounded copies of the usual numbers are the usual numbers.
    rounded: dict[str, Any] = {name: tuple(round(value, 6) for value in values) for name, values in buffers.items()}
    return {**fields, **rounded, "scale": 1 / 255}
