"""`portrait-export blame`: find the operation that makes a package differ from its model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import UsageError
from . import options

if TYPE_CHECKING:
    from ..inputs.sources import ModelSource
    from ..workflows.blame import BlameResult


@click.command()
@click.argument("package", type=options.File())
@options.source_options(options.MODEL, options.CHECKPOINT, options.RANDOM_WEIGHTS, options.PERSON_CLASS)
@click.option("--onnx", type=options.File(), help="Compare with this ONNX file instead.")
@click.option(
    "--image",
    "images",
    type=options.File(),
    multiple=True,
    help="A photo to compare on; may be repeated.  [default: three of the calibration set]",
)
@click.option(
    "--isolate/--no-isolate",
    default=True,
    help="Also run each operation on the reference's inputs, to separate inherited error from its own.",
)
@click.option(
    "--bar",
    "bar_db",
    type=options.Number(0, 200),
    help="SNR in dB below which an operation is bad.  [default: what its stored types allow; 30 with --no-isolate]",
)
@options.ARITHMETIC
@click.option("--out", "-o", type=options.File(), help="Write blame.png and blame.json to this folder.")
@options.OUTPUT_OPTIONS
def blame(
    package: Path,
    source: ModelSource,
    onnx: Path | None,
    images: tuple[Path, ...],
    isolate: bool,
    bar_db: float | None,
    arithmetic: str,
    out: Path | None,
    console: options.Console,
) -> int:
    """Find the operation that makes PACKAGE differ from the model it was made from.

    The outputs of PyTorch, the traced ONNX and the simplified ONNX are compared with each other, and every value of
    the package with the simplified ONNX's, on real photos with the same preprocessing.

    Exit code 0: no operation is bad; 1: an operation is bad; 2: something could not be read.
    """
    from ..inputs.sources import require_network
    from ..utils.files import refuse_existing
    from ..workflows.blame import BlameRequest, find_blame
    from . import blame_summary, render

    if onnx is None:
        require_network(source, "onnx")
    if onnx is not None and source.person_class is not None:
        raise UsageError("--person-class is for a --checkpoint; --onnx compares with the file's own mask.")
    if out is not None:
        refuse_existing(out, force=True, folder=True)  # refuse a file now, not after minutes of work
    request = BlameRequest(package, source, onnx, images, isolate, arithmetic, bar_db)
    report = find_blame(request, console.observer())
    if out is not None:
        _write(report, out)
    if console.as_json:
        render.result_json(report.to_json())
    else:
        blame_summary.show(report, out, quiet=console.quiet, own_bar=bar_db is not None)
    return 0 if report.passed else 1


def _write(report: BlameResult, folder: Path) -> None:
    from ..imaging.encode import png_bytes
    from ..utils.files import write_bytes, write_json
    from ..verify.report.curve import curve

    picture = curve(report.found, title=f"{report.package} against {report.reference}")
    write_bytes(folder / "blame.png", png_bytes(picture))
    write_json(folder / "blame.json", report.to_json())
