"""Write a parity report as Markdown, for the summary of a CI job."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ...artifacts import EMPTY
from ..parity import ParityReport, measured, number, wanted, xml_safe

WORST = 10  # images listed

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~$&])")


def to_markdown(report: ParityReport) -> str:
    """Return the verdict, a table of the gates and one of the worst images, as GitHub-flavoured Markdown.

    Names come from other people's files, so they are escaped. The same report gives the same text.
    """
    failed = sum(not gate.passed for gate in report.gates)
    verdict = "✅ passed" if report.passed else f"❌ {failed} of {len(report.gates)} gates failed"
    parts = [
        f"### {escape(report.candidate)}: {verdict}",
        f"Compared with {escape(report.reference)} on {report.compared_on}.",
        table(
            ["", "Gate", "Value", "Bar", "Where"],
            (
                [
                    "✅" if gate.passed else "❌",
                    escape(gate.title),
                    measured(gate),
                    wanted(gate),
                    escape(gate.where + (f" ({gate.note})" if gate.note else "")),
                ]
                for gate in report.gates
            ),
        ),
        table(
            ["Worst images", "Mask IoU", "Boundary F", "Flipped pixels", "PSNR, dB"],
            (
                [
                    escape(score.name),
                    *(["–", "–"] if score.kind == EMPTY else [number(score.iou), number(score.boundary_f)]),
                    f"{score.flipped_pixels:,.0f}",
                    "–" if score.psnr_db is None else f"{score.psnr_db:.1f}",
                ]
                for score in report.worst(WORST)
            ),
        ),
        *(f"> {escape(note)}" for note in report.notes),
    ]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """One line of Markdown that shows `text` literally; control characters become U+FFFD."""
    return _SPECIAL.sub(r"\\\1", xml_safe(" ".join(text.split())))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of finished cells."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
