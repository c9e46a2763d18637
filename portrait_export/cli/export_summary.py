"""Show a finished export or parity check: gates as a table on stdout, or everything as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import render

if TYPE_CHECKING:
    from ..verify.parity import ParityReport
    from ..workflows.requests import CoreMLExport

_WORST_ROWS = 5  # images listed below the gates


def show(export: CoreMLExport, *, as_json: bool, quiet: bool) -> None:
    """The outcome of `coreml`: where the package is, how large, and how its gates went."""
    if as_json:
        render.result_json(export.record)
        return
    if quiet:
        render.result(str(export.package.path))
        return
    render.result("")
    render.result(
        f"{render.style('package', bold=True)}  {export.package.path}  {render.size(export.package.size_bytes)}"
    )
    render.result(f"         sha256 {export.package.sha256[:16]}…  needs {export.target} or later")
    for problem in export.audit.problems:
        render.result(f"{render.style('✗ audit', fg='red')}  {problem}")
    if export.parity is not None:
        render.result("")
        show_parity(export.parity)
        if (export.folder / "report.html").exists():
            render.result(f"\nreport   {export.folder / 'report.html'}")


def show_parity(report: ParityReport) -> None:
    """Show the gates, the worst images and the notes."""
    from ..artifacts import EMPTY
    from ..verify.parity import SIGNS, number

    rows = [
        [
            render.style("✓", fg="green") if gate.passed else render.style("✗", fg="red"),
            gate.title,
            number(gate.value),
            f"{SIGNS[gate.better]} {number(gate.threshold)}",
            gate.where + (f" ({gate.note})" if gate.note else ""),
        ]
        for gate in report.gates
    ]
    render.result(f"{report.candidate} against {report.reference}, {len(report.images)} photographs")
    render.result(render.table(["", "gate", "value", "bar", "where"], rows, right=(2,)))
    worst = report.worst(_WORST_ROWS)
    rows = [
        [
            s.name,
            *(["–", "–"] if s.kind == EMPTY else [number(s.iou), number(s.boundary_f)]),
            f"{s.flipped_pixels:,.0f}",
            "–" if s.psnr_db is None else f"{s.psnr_db:.1f}",
        ]
        for s in worst
    ]
    render.result("")
    headers = ["worst images", "mask IoU", "boundary F", "flipped px", "PSNR dB"]
    render.result(render.table(headers, rows, right=(1, 2, 3, 4)))
    for note in report.notes:
        render.result(f"{render.style('note', fg='yellow')}  {note}")
