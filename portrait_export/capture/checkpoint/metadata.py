"""Read what the files of a checkpoint say about its classes and its preprocessing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import CheckpointError
from ...preprocessing import POSITIVES
from .locate import MAX_JSON_BYTES, read_json

if TYPE_CHECKING:
    from ...models.remap import Canonical


def labels_of(described: Mapping[str, Any]) -> dict[int, str]:
    """`id2label` with whole numbers as keys; empty where it is missing or malformed, since only names hang on it."""
    table = described.get("id2label")
    if not isinstance(table, Mapping):
        return {}
    return {int(key): str(value) for key, value in table.items() if str(key).isdigit()}


def person_of(described: Mapping[str, Any], labels: Mapping[int, str]) -> list[int]:
    """The classes that are the person: config.json's `person_classes`, else told by their names."""
    from ...models.person import person_classes

    said = described.get("person_classes")
    if said is None:
        return list(person_classes(labels))
    if not isinstance(said, list) or not all(type(item) is int and item >= 0 for item in said):
        raise CheckpointError(f"person_classes is {said!r}; expected a list of class numbers.", code="bad-config")
    return sorted(set(said))


def positive_of(described: Mapping[str, Any], folder: Path) -> str | None:
    """The positive class: config.json's `positive`, else a `positive:` line of the model card, else None."""
    said = described.get("positive")
    card = folder / "README.md"
    if said is None and card.is_file() and card.stat().st_size <= MAX_JSON_BYTES:
        match = re.search(r"^\s*positive:\s*[\"'`]?(\w+)", card.read_text(encoding="utf-8", errors="replace"), re.M)
        said = match[1] if match else None
    if said is not None and said not in POSITIVES:
        raise CheckpointError(
            f"The positive class is said to be {said!r}; it can be {' or '.join(POSITIVES)}.", code="bad-config"
        )
    return said


def pixel_statistics(folder: Path, found: Canonical) -> dict[str, tuple[float, ...]]:
    """mean and std per RGB channel, of pixels in 0..1: a wrapper's buffers, else preprocessor_config.json's."""
    described = read_json(folder / "preprocessor_config.json") or {}
    result = {}
    for name in ("mean", "std"):
        tensor = found.extras.get(name)
        values = tensor.flatten().tolist() if tensor is not None else described.get(f"image_{name}")
        if isinstance(values, list) and len(values) == 3 and all(isinstance(v, (int, float)) for v in values):
            result[name] = tuple(float(v) for v in values)
    if result and max(result.get("mean", (0.0,))) > 1.5:  # in units of 0..255
        result = {name: tuple(v / 255 for v in values) for name, values in result.items()}
    # Half-precision or rounded copies of the usual numbers are the usual numbers.
    return {name: tuple(round(v, 6) for v in values) for name, values in result.items()}
