"""Define Finding: a value found in a network, with notes and warnings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Finding(Generic[T]):
    """A value and how it was found.

    Attributes:
        notes: where it comes from.
        warnings: what was only guessed, or looks wrong.
    """

    value: T
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
