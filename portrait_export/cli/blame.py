"""`portrait-export blame`: a package and its model in, the operation that is to blame for their difference out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import options

if TYPE_CHECKING:
    from ..verify.blame import OpError
    from ..workflows.blame import Blamed

_LOST_ROWS = 5  # operations listed as losing most in half precision
_BAD_ROWS = 10
_NAME_WIDTH = 60  # characters of a value's name; the end tells values apart


@click.command()
@click.argument("package", type=options.File())
@options.MODEL
@options.CHECKPOINT
@options.RANDOM_WEIGHTS
@click.option("--onnx", "onnx_file", type=options.File(), help="Compare with this ONNX file instead.")
@click.option(
    "--image",
    "images",
    type=options.File(),
    multiple=True,
    help="A photograph to compare on; may be repeated.  [default: three of the calibration set]",
)
@click.option(
    "--isolate/--no-isolate",
    default=True,
    help="Also run each operation on the reference's own inputs: tells inherited error from its own.",
)
@click.option(
    "--bar",
    "bar_db",
    type=click.FloatRange(0, 200),
    help="SNR in dB below which an operation is bad.  [default: what its stored types promise; 30 with --no-isolate]",
)
@options.ARITHMETIC
@click.option("--out", "-o", type=options.File(), help="Write blame.png and blame.json into this folder.")
@options.TALK
def blame(
    package: Path,
    model: str | None,
    checkpoint: Path | None,
    random_weights: bool,
    onnx_file: Path | None,
    images: tuple[Path, ...],
    isolate: bool,
    bar_db: float | None,
    arithmetic: str,
    out: Path | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Find the operation of PACKAGE that computes something else than the model it was made from.

    PyTorch, the traced ONNX and the simplified ONNX are compared by their outputs; the package with the
    simplified ONNX value by value, on real photographs, through the same preprocessing.

    Exit code 0: nothing is to blame; 1: an operation is; 2: something could not be read.
    """
    from ..inputs.sources import ModelSource
    from ..workflows.blame import BlameRequest, find_blame
    from . import render

    source = ModelSource(model=model, checkpoint=checkpoint, random_weights=random_weights)
    request = BlameRequest(package, source, onnx_file, images, isolate, arithmetic, bar_db)
    blamed = find_blame(request, render.observer(quiet=quiet or as_json, verbose=verbose))
    if out is not None:
        _write(blamed, out)
    if as_json:
        render.result_json(blamed.to_json())
    else:
        _show(blamed, out, quiet=quiet)
    return 0 if blamed.passed else 1


def _write(blamed: Blamed, folder: Path) -> None:
    from ..imaging.encode import png_bytes
    from ..utils.files import write_bytes, write_json
    from ..verify.report.curve import curve

    picture = curve(blamed.found, title=f"{blamed.package} against {blamed.reference}")
    write_bytes(folder / "blame.png", png_bytes(picture))
    write_json(folder / "blame.json", blamed.to_json())


def _show(blamed: Blamed, out: Path | None, *, quiet: bool) -> None:
    from . import render

    if not quiet:
        _show_links(blamed)
        _show_ops(blamed)
        _show_half(blamed)
    _show_verdict(blamed)
    if out is not None and not quiet:
        render.result(f"\ncurve    {out / 'blame.png'}")


def _show_links(blamed: Blamed) -> None:
    """The walk before the package, by its outputs."""
    from . import render

    rows = [
        [_mark(link.bad), link.step, link.output, _db(link.snr_db), _db(link.psnr_db), f"{link.max_abs:.2g}"]
        for link in blamed.links
    ]
    if rows:
        headers = ["", "before the package", "output", "SNR dB", "PSNR dB", "max |Δ|"]
        render.result("\n" + render.table(headers, rows, right=(3, 4, 5)))


def _show_ops(blamed: Blamed) -> None:
    """Every compared value along the network."""
    from . import render

    found = blamed.found
    headers = [
        "",
        "#",
        "value",
        "type",
        "SNR dB",
        "PSNR dB",
        *(["own", "fp32", "bar"] if found.isolated else []),
        "range",
    ]
    rows = []
    for index, op in enumerate(found.ops):
        alone = [_alone(op.own_snr_db), _alone(op.exact_snr_db), _bars(op)]
        own = alone if found.isolated else []
        name = render.style(_short(op.name), fg="red") if op.bad else _short(op.name)
        rows.append([_mark(op.bad), str(index + 1), name, op.kind, _db(op.snr_db), _db(op.psnr_db), *own, _range(op)])
    right = (1, 4, 5, 6, 7, 8) if found.isolated else (1, 4, 5)
    render.result("\n" + render.table(headers, rows, right=right))
    missing = len(blamed.unpaired) + len(found.left_out)
    render.result(
        f"\n{len(found.ops)} of {blamed.values} values compared on {len(blamed.photographs)} photographs"
        f" ({', '.join(blamed.photographs)}), arithmetic {blamed.arithmetic}"
    )
    if missing:
        without = [_short(name) for name in (*blamed.unpaired, *(name for name, _ in found.left_out))]
        more = f" and {missing - 6} more" if missing > 6 else ""
        render.result(
            f"{missing} have no partner in the ONNX model (fused, or added by the conversion):"
            f" {', '.join(without[:6])}{more}"
        )


def _show_half(blamed: Blamed) -> None:
    """What half precision loses: overflows, then the values that it stores worst."""
    from . import render

    found = blamed.found
    infinite = [op for op in found.ops if op.overflows_half or op.overflows_here]
    rows = [[_short(op.name), op.kind, "overflows", _range(op)] for op in infinite[:_BAD_ROWS]]
    lost = [op for op in found.most_lost_in_half(_LOST_ROWS + len(infinite)) if op not in infinite]
    rows += [[_short(op.name), op.kind, _db(op.half_snr_db), _range(op)] for op in lost[:_LOST_ROWS]]
    render.result("\n" + render.table(["lose most in half precision", "type", "SNR dB", "range"], rows, right=(2,)))


def _show_verdict(blamed: Blamed) -> None:
    from . import render

    bad_links = [link for link in blamed.links if link.bad]
    for link in bad_links:
        render.result(f"\n{_mark(True)} they part before the package: {link.step}, {link.output} {_db(link.snr_db)} dB")
    first = blamed.found.first
    if first is not None:
        _show_first(first, blamed)
    elif not bad_links:
        below = blamed.found.below_bar
        render.result(f"\n{_mark(False)} nothing is to blame")
        if below:
            render.result(
                f"  {len(below)} values fall below {blamed.found.bar_db:g} dB by error that they inherit,"
                f" first {_short(below[0].name)}: many small errors, no single operation"
            )
        if not blamed.found.isolated:
            render.result("  without --isolate, faults smaller than the inherited error stay unseen")


def _show_first(first: OpError, blamed: Blamed) -> None:
    from . import render

    render.result(f"\n{_mark(True)} first to part: {render.style(first.name, bold=True)}")
    render.result(f"  {first.kind} {first.candidate}, {'x'.join(map(str, first.shape))}")
    for line in _reasons(first, isolated=blamed.found.isolated):
        render.result(f"  {line}")
    if first.covers:
        render.result(f"  it answers for {len(first.covers)} before it without partner: {', '.join(first.covers)}")
    others = blamed.found.bad[1:]
    if others:
        render.result(f"  {len(others)} more to blame:")
        for op in others[:_BAD_ROWS]:
            render.result(f"    {op.kind} {op.name}")
        if len(others) > _BAD_ROWS:
            render.result(f"    … and {len(others) - _BAD_ROWS} more")


def _reasons(op: OpError, *, isolated: bool) -> list[str]:
    """Why an operation is to blame, in words."""
    lines = []
    if op.candidate_non_finite:
        lines.append(
            f"{op.candidate_non_finite:,} of its values are NaN or infinite; the reference lies in"
            f" {op.low:.4g} … {op.high:.4g}" + (", beyond half precision's ±65504" if op.overflows_half else "")
        )
    if isolated and op.own_snr_db is not None and not op.own_snr_db >= op.bar_db and not op.overflows_here:
        lines.append(f"on the reference's own inputs {_db(op.own_snr_db)} dB; its stored types allow {op.bar_db:.0f}")
    if op.exact_snr_db is not None and not op.exact_snr_db >= op.exact_bar_db:
        exact, bar = _db(op.exact_snr_db), op.exact_bar_db
        lines.append(f"the same in float32 arithmetic {exact} dB; allowed {bar:.0f}: its weights, or what it computes")
    if not isolated and not math.isnan(op.snr_db):
        lines.append(f"{_db(op.snr_db)} dB, {_db(op.drop_db)} dB less than its inputs; the bar is {op.bar_db:g}")
    return lines


def _mark(bad: bool) -> str:
    from . import render

    return render.style("✗", fg="red") if bad else render.style("✓", fg="green")


def _alone(value: float | None) -> str:
    return "–" if value is None else _db(value)


def _bars(op: OpError) -> str:
    """What an operation alone must reach, in the declared arithmetic and in float32."""
    return f"{op.bar_db:.0f}" if op.exact_snr_db is None else f"{op.bar_db:.0f}/{op.exact_bar_db:.0f}"


def _db(value: float) -> str:
    from ..verify.metrics import IDENTICAL_DB

    if math.isnan(value):
        return "NaN"
    return "exact" if value >= IDENTICAL_DB else f"{value:.1f}"


def _range(op: Any) -> str:
    """The reference's range, and the candidate's where it is another."""
    whole = f"{op.low:.4g} … {op.high:.4g}"
    width = max(abs(op.low), abs(op.high), 1e-30)
    apart = max(abs(op.candidate_low - op.low), abs(op.candidate_high - op.high)) / width
    if math.isnan(op.candidate_low):
        return f"{whole}  here NaN"
    return whole if apart < 0.1 else f"{whole}  here {op.candidate_low:.4g} … {op.candidate_high:.4g}"


def _short(name: str) -> str:
    return name if len(name) <= _NAME_WIDTH else "…" + name[1 - _NAME_WIDTH :]
