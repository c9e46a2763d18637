"""Word the notes of a parity report for its readers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..parity import ParityReport


def reworded(report: ParityReport, word: Callable[[str], str]) -> ParityReport:
    """A report whose notes, and those of its gates, name arguments as `word` writes them."""
    gates = tuple(replace(gate, note=word(gate.note)) for gate in report.gates)
    return replace(report, gates=gates, notes=tuple(map(word, report.notes)))
