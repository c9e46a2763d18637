"""Print the result of an export or parity check."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..utils.visible import visible_line
from . import render

if TYPE_CHECKING:
    from ..verify.parity import ParityReport
    from ..workflows.requests import CoreAIExport, CoreMLExport
    from .options import Console

_WORST_ROWS = 5  # images listed after the gates


def show(export: CoreMLExport, console: Console) -> None:
    """Print the result of `coreml`: the package, its size and its gates; or everything as JSON."""
    mixed = "" if export.mixed is None else f"{render.style('float32', bold=True)}  {export.mixed}"
    _show(export, console, what="package", target=export.target, more=mixed)


def show_asset(export: CoreAIExport, console: Console) -> None:
    """Print the result of `coreai`: the asset, its size and its gates; or everything as JSON."""
    _show(export, console, what="asset", target=export.record["target"])


def _show(export: CoreMLExport | CoreAIExport, console: Console, *, what: str, target: str, more: str = "") -> None:
    """Print the path alone, the record as JSON, or the heading, a further line, the audit's problems and the gates.

    With the path alone, which scripts read from stdout, what failed goes to stderr.
    """
    if console.as_json:
        render.result_json(export.record)
        return
    if console.quiet:
        render.result(str(export.package.path))
        failed = () if export.parity is None else _failed(export.parity)
        for line in (*(f"audit  {problem}" for problem in export.audit.problems), *failed):
            render.problem(line)
        return
    heading = render.style(what, bold=True) + " " * (9 - len(what))
    render.result("")
    render.result(f"{heading}{export.package.path}  {render.size(export.package.size_bytes)}")
    render.result(f"         sha256 {export.package.sha256[:16]}…  needs {target} or later")
    if more:
        render.result(more)
    for problem in export.audit.problems:
        render.result(f"{render.style('✗ audit', fg='red')}  {problem}")
    if export.parity is not None:
        render.result("")
        show_parity(export.parity)
        if (export.folder / "report.html").exists():
            render.result(f"\nreport   {export.folder / 'report.html'}")


def show_verdict(report: ParityReport) -> None:
    """Print each gate that failed, and one line about all of them."""
    failed = _failed(report)
    for line in failed:
        render.result(f"{render.style('✗', fg='red')} {line}")
    if failed:
        verdict = f"{render.style('✗', fg='red')} {len(failed)} of {len(report.gates)} gates failed"
    else:
        verdict = f"{render.style('✓', fg='green')} all {len(report.gates)} gates passed"
    render.result(f"{verdict}: {report.candidate} against {report.reference}, {report.compared_on}")
    if failed and report.other_weights:
        render.result(f"  {report.other_weights}")


def _failed(report: ParityReport) -> list[str]:
    """A line for each gate that failed."""
    from ..verify.parity import complaint

    return [visible_line(complaint(gate)) for gate in report.gates if not gate.passed]


def show_parity(report: ParityReport) -> None:
    """Print the gates, the worst images, and notes."""
    from ..artifacts import EMPTY
    from ..verify.parity import measured, number, wanted

    rows = [
        [
            render.style("✓", fg="green") if gate.passed else render.style("✗", fg="red"),
            gate.title,
            measured(gate),
            wanted(gate),
            gate.where + (f" ({gate.note})" if gate.note else ""),
        ]
        for gate in report.gates
    ]
    render.result(f"{report.candidate} against {report.reference}, {report.compared_on}")
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
