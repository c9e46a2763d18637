"""Read what the files of a checkpoint say about its classes and its preprocessing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import CheckpointError, UsageError
from ...preprocessing import POSITIVES
from ..huggingface import LARGEST_UNIT, MAX_JSON_BYTES, Preprocessor

if TYPE_CHECKING:
    from ...models.remap import Canonical

LISTED_LABELS = 12  # classes that an error names


def person_of(config: Mapping[str, Any], labels: Mapping[int, str]) -> list[int]:
    """The classes that are the person: config.json's `person_classes`, else those whose names say so."""
    from ...models.person import person_classes

    listed = config.get("person_classes")
    if listed is None:
        return list(person_classes(labels))
    if not isinstance(listed, list) or not all(type(item) is int and item >= 0 for item in listed):
        raise CheckpointError(f"person_classes is {listed!r}; expected a list of class numbers.", code="bad-config")
    return sorted(set(listed))


def choose_person(
    total: int, asked: Sequence[int] | None, found: Sequence[int], labels: Mapping[int, str]
) -> tuple[int, ...]:
    """The classes that are the person; empty for a single one.

    Args:
        total: K, the number of classes.
        asked: the user's choice, which overrides what the checkpoint says.
        found: what the checkpoint says; empty: nothing.
        labels: class names by number.
    Raises:
        UsageError: three or more classes, and nothing tells which are the person; or a class that does not exist.
    """
    if asked is not None:
        if total == 1:
            raise UsageError("`person_class=` is set, but the checkpoint has a single class, which is the person.")
        if not set(asked) < set(range(total)):
            raise UsageError(
                f"`person_class=` is {', '.join(map(str, asked))}; the checkpoint has {total} classes, counted from 0.",
                hint="name some of them, not all.",
            )
        return tuple(sorted(set(asked)))
    if total == 1:
        return ()
    if found:
        return tuple(found)
    if total == 2:
        return (1,)
    named = [f"{k}: {label}" for k, label in sorted(labels.items())]
    shown = [*named[:LISTED_LABELS], f"and {len(named) - LISTED_LABELS} more"] if len(named) > LISTED_LABELS else named
    raise UsageError(
        f"The checkpoint has {total} classes{', and their names do not' if named else ' without names that'} tell which"
        " of them are the person.",
        code="which-class",
        context=shown,
        hint="name them, counted from 0: `person_class=1` or `person_class=1-8`.",
    )


def describe_classes(person: Sequence[int], total: int, labels: Mapping[int, str]) -> str:
    """The person's classes in words, such as `class 12 (person) of 150`."""
    names = [f"{k} ({labels[k]})" if k in labels else str(k) for k in person]
    return f"class{'es' if len(names) > 1 else ''} {', '.join(names)} of {total}"


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
