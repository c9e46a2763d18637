"""What the weights of a package should be: the values before compression, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

_SUFFIXES = ("_quantized", "_palettized", "_sparsified", "_to_fp16")  # that coremltools' passes append to names


@dataclass(frozen=True)
class Original:
    """What a weight should be.

    Attributes:
        values: of the weight's shape.
        title: its name and where it is from, for people.
    """

    values: np.ndarray
    title: str


# Returns the original of a weight, or why there is none, for its name and decoded value.
Originals: TypeAlias = Callable[[str, np.ndarray], Original | str]


def recorded(constants: Mapping[str, np.ndarray]) -> Originals:
    """The originals of weights that a compression pass has renamed, from a program's constants before it."""

    def find(name: str, decoded: np.ndarray) -> Original | str:
        base = next((base for base in base_names(name) if base in constants), None)
        if base is None or constants[base].shape != decoded.shape:
            return "there is no original of this name and shape"
        return Original(constants[base], base)

    return find


def base_names(name: str) -> list[str]:
    """A name, and what it may have been before compression passes."""
    names = [name]
    while shorter := next((names[-1].removesuffix(s) for s in _SUFFIXES if names[-1].endswith(s)), ""):
        names.append(shorter)
    return names
