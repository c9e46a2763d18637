"""Report a simplification: which rule fired where, which was refused and why, and the cost before and after."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ..onnx.cost import Cost


@dataclass(frozen=True)
class Fired:
    """A rule applied at a node."""

    rule: str
    node: str


@dataclass(frozen=True)
class Refused:
    """A match of a rule that was not rewritten, with the reason."""

    rule: str
    node: str
    reason: str


@dataclass(frozen=True)
class SimplifyReport:
    """The account of one simplification.

    Attributes:
        fired, refused: in order.
        before, after: the cost of the model before and after.
        error: largest relative difference of any output between the two, under ONNX Runtime on random inputs.
        notes: stages that did less than asked.
    """

    fired: tuple[Fired, ...]
    refused: tuple[Refused, ...]
    before: Cost
    after: Cost
    error: float
    notes: tuple[str, ...] = ()

    def counts(self) -> dict[str, int]:
        """How often each rule fired."""
        return dict(Counter(entry.rule for entry in self.fired))

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "fired": self.counts(),
            "refused": [vars(entry) for entry in self.refused],
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "relative_error": self.error,
            "notes": list(self.notes),
        }
