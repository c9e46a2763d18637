"""Write an agreement with Core ML as JSON and as Markdown, for the repository to keep."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..utils.files import write_json, write_text
from ..utils.plain import plain_data
from ..verify.report.markdown import escape
from .agree import Agreement, Row, counted

FORMAT = 1  # of agreement.json
LEGEND = (
    "`equal` is bit for bit, `close` within the tolerance of the precision, `refused` an error of the engine,"
    " `failed` one of our runtime. Numbers are the largest difference as a share of the largest magnitude."
)


def write(found: Agreement, folder: Path) -> tuple[Path, Path]:
    """Write agreement.json and agreement.md into a folder, and return their paths."""
    files = folder / "agreement.json", folder / "agreement.md"
    write_json(files[0], to_json(found))
    write_text(files[1], to_markdown(found))
    return files


def to_json(found: Agreement) -> dict[str, Any]:
    """Every row as plain values."""
    return {
        "format": FORMAT,
        "engine": dict(found.engine),
        "passed": found.passed,
        "operations": [plain_data(asdict(row)) for row in found.operations],
        "packages": [plain_data(asdict(row)) for row in found.packages],
        "without_case": dict(found.without_case),
    }


def to_markdown(found: Agreement) -> str:
    """The counts, what does not agree, each operator, and each package. The same agreement gives the same text."""
    engine = found.engine.get("engine", "the engine")
    described = ", ".join(f"{key} {value}" for key, value in found.engine.items() if key != "engine")
    parts = [
        f"# Agreement with {escape(engine)}",
        f"{escape(described)}. The verdict: {'everything agrees' if found.passed else 'not everything agrees'}.",
        LEGEND,
        "## Counts",
        _counts(found),
    ]
    apart = [row for row in (*found.operations, *found.packages) if not row.agrees]
    if apart:
        parts += ["## What does not agree", _rows(apart)]
    if found.operations:
        parts += ["## Operators", _operators(found.operations)]
    if found.packages:
        parts += ["## Packages", _rows(found.packages)]
    parts += ["## Not compared", _table(["Operator", "Why"], found.without_case.items())]
    return "\n\n".join(parts) + "\n"


def _counts(found: Agreement) -> str:
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in (*found.operations, *found.packages):
        groups.setdefault((row.precision or "packages", row.unit), []).append(row)
    return _table(
        ["Precision", "Compute units", "Comparisons", ""],
        ([precision, unit, str(len(rows)), counted(rows)] for (precision, unit), rows in groups.items()),
    )


def _rows(rows: Sequence[Row]) -> str:
    return _table(
        ["Subject", "Case", "Precision", "Compute units", "Ran on", "Verdict", "Share", "IoU", "Reason"],
        (
            [
                *(row.subject, row.case, row.precision, row.unit, ", ".join(row.devices), row.verdict),
                *(_number(row.of_scale), "" if row.iou is None else f"{row.iou:.5f}", row.reason),
            ]
            for row in rows
        ),
    )


def _operators(rows: Sequence[Row]) -> str:
    """One line per operator; in each column the worst of its cases."""
    columns = list(dict.fromkeys((row.precision, row.unit) for row in rows))
    by_operator: dict[str, list[Row]] = {}
    for row in rows:
        by_operator.setdefault(row.subject, []).append(row)
    lines = []
    for operator, its in sorted(by_operator.items()):
        cells = [_worst([row for row in its if (row.precision, row.unit) == column]) for column in columns]
        lines.append([operator, str(len({row.case for row in its})), *cells])
    return _table(["Operator", "Cases", *(f"{precision} {unit}" for precision, unit in columns)], lines)


def _worst(rows: Sequence[Row]) -> str:
    for row in rows:
        if not row.agrees:
            return row.verdict
    numbers = [row.of_scale for row in rows if row.of_scale is not None]
    if not numbers:
        return "–"
    return "equal" if max(numbers) == 0 else _number(max(numbers))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headers, ["---"] * len(headers)]
    shown = [[escape(cell) for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in (*lines, *shown))
