"""Say which entry of a checkpoint was used, and which others would fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import CheckpointError
from .tensors import read_tensors


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


def origin(label: str, entry: Sequence[str]) -> str:
    """A checkpoint and the entry that was used, for provenance."""
    return f"checkpoint {label}" + (f", entry {_shown(entry)}" if entry else "")


def doubts_about(label: str, entry: Sequence[str], others: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """One warning about each entry with other weights for the same network."""
    used = f"the entry {_shown(entry)} is" if entry else "those at its top are"
    return tuple(
        f"{label} holds two sets of weights for this network: {used} used, and {_shown(other)} has others, such as"
        f" averaged ones (EMA); to use these, save them alone: `torch.save(torch.load(FILE, weights_only=True)"
        f"{''.join(f'[{name!r}]' for name in other)}, NEW_FILE)`"
        for other in others
        if other
    )


def _shown(entry: Sequence[str]) -> str:
    return repr(".".join(entry))
