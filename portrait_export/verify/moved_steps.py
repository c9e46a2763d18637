"""Measure how many rounded values of a quantized network half precision moves to another step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..artifacts import Value

if TYPE_CHECKING:
    import numpy as np

ROUNDING = ("quantize", "round")  # MIL operators whose results are whole steps


@dataclass(frozen=True)
class MovedSteps:
    """What half precision did to the rounded values of a network on one photograph.

    Attributes:
        operations: how many operations round.
        values: how many values they give.
        moved: how many of the values are another step than in float32.
    """

    operations: int
    values: int
    moved: int

    @property
    def share(self) -> float:
        """Moved values among all."""
        return self.moved / max(self.values, 1)


def rounded_values(values: Sequence[Value], outputs: Sequence[str]) -> list[str]:
    """Names of the values that a network rounds to steps, without the rounding of its outputs to 8-bit pixels."""
    makers = {value.name: value for value in values}
    last, pending = set(), list(outputs)
    while pending:
        name = pending.pop()
        last.add(name)
        if name in makers and makers[name].kind == "cast":
            pending += makers[name].inputs
    return [value.name for value in values if value.kind in ROUNDING and value.name not in last]


def moved_steps(exact: Mapping[str, np.ndarray], half: Mapping[str, np.ndarray]) -> MovedSteps:
    """Compare the rounded values of one photograph, by name, in float32 and in half precision."""
    moved = sum(int((half[name] != steps).sum()) for name, steps in exact.items())
    return MovedSteps(len(exact), sum(steps.size for steps in exact.values()), moved)


def describe_moved(steps: MovedSteps, photograph: str, *, iou_half: float, iou_exact: float) -> str:
    """Sentences on the moved steps, and on the mask of the same package in float32 arithmetic."""
    return (
        f"The network rounds to 8-bit steps, and half precision moves {steps.moved:,} of {steps.values:,} rounded"
        f" values ({100 * steps.share:.2g} %) on {photograph} to another step. Its mask IoU there is {iou_half:.5f},"
        f" and {iou_exact:.5f} in float32 arithmetic with the package's scales in half. `precision=fp32` moves the"
        " fewest."
    )
