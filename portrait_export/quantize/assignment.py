"""Describe how each weight of a program is stored, whether a recipe, a file of rules or a budget decided it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .recipe import Form, Recipe


@dataclass(frozen=True)
class Storage:
    """How one weight is stored.

    Attributes:
        form, bits, block, vector: as in Recipe; the bits are exactly those.
    """

    form: Form
    bits: int
    block: int = 0
    vector: int = 1

    @classmethod
    def of(cls, recipe: Recipe) -> Storage:
        """The storage that a recipe names, whatever the layer."""
        return cls(recipe.form, recipe.bits, recipe.block, recipe.vector)


@dataclass(frozen=True)
class Assignment:
    """The storage of every large constant of a program, by name.

    Attributes:
        stored: of each weight that is compressed.
        left: why each other one is left as it is.
    """

    stored: Mapping[str, Storage]
    left: Mapping[str, str]
