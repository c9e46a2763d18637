"""`portrait-export parity`: a saved package and its model in, a verdict on the masks out. For CI."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import options
from .foreign_options import foreign

if TYPE_CHECKING:
    from ..capture.foreign.options import ForeignOptions


@click.command()
@click.argument("package", type=options.File())
@options.SOURCE
@foreign
@options.DATA
@click.option("--min-iou", type=click.FloatRange(0, 1), help="Gate on this mean mask IoU instead of the recipe's.")
@click.option(
    "--runtime",
    type=options.Named("runtime", lambda: ["portrait", "coreml"]),
    default="portrait",
    help="What runs the package: portrait (our runtime) or coreml (Core ML itself, macOS only).",
)
@options.ARITHMETIC
@click.option("--json", "json_file", type=options.File(), help="Write every number to this JSON file.")
@click.option("--junit", "junit_file", type=options.File(), help="Write a JUnit XML report for CI.")
@options.QUIET
@options.VERBOSE
def parity(
    package: Path,
    model: str | None,
    checkpoint: Path | None,
    random_weights: bool,
    size: tuple[int, int] | None,
    foreign: ForeignOptions | None,
    data: Path | None,
    min_iou: float | None,
    runtime: str,
    arithmetic: str,
    json_file: Path | None,
    junit_file: Path | None,
    quiet: bool,
    verbose: bool,
) -> int:
    """Compare PACKAGE's masks with those of the model it was made from.

    Exit code 0: every gate passed; 1: one failed; 2: something could not be read.
    """
    from ..inputs.sources import ModelSource
    from ..utils.files import refuse_existing, write_text
    from ..workflows.parity import check_parity
    from ..workflows.requests import ParityRequest
    from . import export_summary, render

    for file in filter(None, (json_file, junit_file)):
        refuse_existing(file, force=True)  # a folder is not replaced; said before minutes of work
    source = ModelSource(model=model, checkpoint=checkpoint, random_weights=random_weights, size=size, foreign=foreign)
    request = ParityRequest(data=data, min_iou=min_iou, runtime=runtime, arithmetic=arithmetic)
    report = check_parity(source, package, request, render.observer(quiet=quiet, verbose=verbose))
    if json_file is not None:
        write_text(json_file, report.to_json())
    if junit_file is not None:
        write_text(junit_file, report.to_junit())
    if not quiet:
        export_summary.show_parity(report)
    return 0 if report.passed else 1
