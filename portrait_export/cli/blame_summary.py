"""Print the result of `blame`: each step, each operation, half-precision losses and the verdict."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from ..utils.names import listed
from . import render

if TYPE_CHECKING:
    from ..verify.blame import OpError
    from ..workflows.blame import BlameResult

_LOST_ROWS = 5  # operations listed as losing most in half precision
_BAD_ROWS = 10
_NAME_WIDTH = 60  # characters of a value's name; the end distinguishes values
_LISTED = 6  # names in a line


def show(report: BlameResult, out: Path | None, *, quiet: bool, own_bar: bool) -> None:
    """Print the verdict, and before it all tables unless `quiet`.

    Args:
        own_bar: the bar is the user's, not what the stored types allow.
    """
    if not quiet:
        _show_links(report)
        _show_ops(report)
        _show_half(report)
    _show_verdict(report, own_bar=own_bar)
    if out is not None and not quiet:
        render.result(f"\ncurve    {out / 'blame.png'}")


def _show_links(report: BlameResult) -> None:
    """Print the comparison of the models before the package, by their outputs."""
    rows = [
        [_mark(link.bad), link.step, link.output, _db(link.snr_db), _db(link.psnr_db), f"{link.max_abs:.2g}"]
        for link in report.links
    ]
    if rows:
        headers = ["", "before the package", "output", "SNR dB", "PSNR dB", "max |Δ|"]
        render.result("\n" + render.table(headers, rows, right=(3, 4, 5)))


def _show_ops(report: BlameResult) -> None:
    """Print every compared value in the order of computation."""
    found = report.found
    isolated = ["own", "fp32", "bar"] if found.isolated else []
    headers = ["", "#", "value", "type", "SNR dB", "PSNR dB", *isolated, "range"]
    rows = []
    for index, op in enumerate(found.ops):
        own = [_own_db(op.own_snr_db), _own_db(op.exact_snr_db), _bars(op)] if found.isolated else []
        name = render.style(_short(op.name), fg="red") if op.bad else _short(op.name)
        rows.append([_mark(op.bad), str(index + 1), name, op.kind, _db(op.snr_db), _db(op.psnr_db), *own, _range(op)])
    right = (1, 4, 5, 6, 7, 8) if found.isolated else (1, 4, 5)
    render.result("\n" + render.table(headers, rows, right=right))
    render.result(
        f"\n{len(found.ops)} of {report.values} values compared on {len(report.photographs)} photos"
        f" ({listed(report.photographs, _LISTED)}), arithmetic {report.arithmetic}"
    )
    missing = [_short(name) for name in (*report.unpaired, *(name for name, _ in found.left_out))]
    if missing:
        render.result(
            f"{len(missing)} have no counterpart in the ONNX model (fused, or added by the conversion):"
            f" {listed(missing, _LISTED)}"
        )


def _show_half(report: BlameResult) -> None:
    """Print the overflows in half precision, then the values with the largest loss."""
    found = report.found
    infinite = [op for op in found.ops if op.overflows_half or op.overflows_here]
    rows = [[_short(op.name), op.kind, "overflows", _range(op)] for op in infinite[:_BAD_ROWS]]
    lost = [op for op in found.most_lost_in_half(_LOST_ROWS + len(infinite)) if op not in infinite]
    rows += [[_short(op.name), op.kind, _db(op.half_snr_db), _range(op)] for op in lost[:_LOST_ROWS]]
    render.result("\n" + render.table(["lose most in half precision", "type", "SNR dB", "range"], rows, right=(2,)))


def _show_verdict(report: BlameResult, *, own_bar: bool) -> None:
    bad_links = [link for link in report.links if link.bad]
    for link in bad_links:
        render.result(
            f"\n{_mark(True)} they diverge before the package: {link.step}, {link.output} {_db(link.snr_db)} dB"
        )
    first = report.found.first
    if report.other_network:
        _show_other_network(report)
    elif first is not None:
        _show_first(first, report, own_bar=own_bar)
    elif not bad_links:
        below = report.found.below_bar
        render.result(f"\n{_mark(False)} no operation is bad")
        if below:
            render.result(
                f"  {len(below)} values are below {report.found.bar_db:g} dB through inherited error, the first is"
                f" {_short(below[0].name)}: many small errors add up, no single operation is the cause"
            )
        if not report.found.isolated:
            render.result("  without --isolate, errors smaller than the inherited error are not found")


def _show_other_network(report: BlameResult) -> None:
    paired = report.values - len(report.unpaired)
    render.result(
        f"\n{_mark(True)} these are two networks: {paired} of {report.values} values of {report.package} have a"
        f" counterpart in {report.reference}, so no operation is blamed"
    )
    render.result(f"  {report.other_weights}")


def _show_first(first: OpError, report: BlameResult, *, own_bar: bool) -> None:
    render.result(f"\n{_mark(True)} first to diverge: {render.style(first.name, bold=True)}")
    render.result(f"  {first.kind} {first.candidate}, {'x'.join(map(str, first.shape))}")
    for line in _reasons(first, isolated=report.found.isolated, own_bar=own_bar):
        render.result(f"  {line}")
    if first.covers:
        render.result(
            f"  covers {len(first.covers)} earlier operations that have no counterpart:"
            f" {listed([_short(name) for name in first.covers], _LISTED)}"
        )
    if report.other_weights:
        render.result(f"  {report.other_weights}")
    elif report.few_paired:
        paired = report.values - len(report.unpaired)
        render.result(
            f"  only {paired} of {report.values} values have a counterpart in {report.reference}: check that the"
            " package was made from it"
        )
    others = report.found.bad[1:]
    if others:
        render.result(f"  {len(others)} more are bad:")
        for op in others[:_BAD_ROWS]:
            render.result(f"    {op.kind} {op.name}")
        if len(others) > _BAD_ROWS:
            render.result(f"    … and {len(others) - _BAD_ROWS} more")


def _reasons(op: OpError, *, isolated: bool, own_bar: bool) -> list[str]:
    """Explain why an operation is bad."""
    lines = []
    if op.candidate_non_finite:
        lines.append(
            f"{op.candidate_non_finite:,} of its values are NaN or infinite; the reference is within"
            f" {op.low:.4g} … {op.high:.4g}" + (", beyond half precision's ±65504" if op.overflows_half else "")
        )
    if isolated and op.own_snr_db is not None and not op.own_snr_db >= op.bar_db and not op.overflows_here:
        allowed = f"the bar is {op.bar_db:g}" if own_bar else f"its stored types allow {op.bar_db:.0f}"
        lines.append(f"{_db(op.own_snr_db)} dB on the reference's inputs; {allowed}")
    if op.exact_snr_db is not None and not op.exact_snr_db >= op.exact_bar_db:
        bar = op.exact_bar_db
        allowed = f"the bar is {bar:g}" if own_bar else f"allowed {bar:.0f}: its weights or its computation are wrong"
        lines.append(f"{_db(op.exact_snr_db)} dB on them in float32; {allowed}")
    if not isolated and not math.isnan(op.snr_db):
        lines.append(f"{_db(op.snr_db)} dB, {_db(op.drop_db)} dB less than its inputs; the bar is {op.bar_db:g}")
    return lines


def _mark(bad: bool) -> str:
    return render.style("✗", fg="red") if bad else render.style("✓", fg="green")


def _own_db(value: float | None) -> str:
    return "–" if value is None else _db(value)


def _bars(op: OpError) -> str:
    """Format the bars of an isolated operation, in the declared arithmetic and in float32."""
    return f"{op.bar_db:.0f}" if op.exact_snr_db is None else f"{op.bar_db:.0f}/{op.exact_bar_db:.0f}"


def _db(value: float) -> str:
    from ..verify.metrics import IDENTICAL_DB

    if math.isnan(value):
        return "NaN"
    return "exact" if value >= IDENTICAL_DB else f"{value:.1f}"


def _range(op: OpError) -> str:
    """Format the reference's range, and the candidate's if it differs."""
    reference = f"{op.low:.4g} … {op.high:.4g}" + (f"  rescaled {op.rescaled}" if op.rescaled else "")
    width = max(abs(op.low), abs(op.high), 1e-30)
    distance = max(abs(op.candidate_low - op.low), abs(op.candidate_high - op.high)) / width
    if math.isnan(op.candidate_low):
        return f"{reference}  here NaN"
    return reference if distance < 0.1 else f"{reference}  here {op.candidate_low:.4g} … {op.candidate_high:.4g}"


def _short(name: str) -> str:
    return name if len(name) <= _NAME_WIDTH else "…" + name[1 - _NAME_WIDTH :]
