"""List the values that a package computes."""

from __future__ import annotations

from ..artifacts import Value
from .model import CoreMLProgram


def values_of_program(program: CoreMLProgram) -> list[Value]:
    """List the values that a package's function computes, without those of nested blocks."""
    return [
        Value(result.name, entry.operation.type, tuple(entry.operation.references), _static(result.shape))
        for entry in program.plan.block.instructions
        for result in entry.results
    ]


def _static(shape: tuple[int | None, ...] | None) -> tuple[int, ...] | None:
    return None if shape is None or None in shape else tuple(side or 0 for side in shape)
