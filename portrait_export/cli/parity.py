"""`portrait-export parity`: compare a package's masks with its model's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..artifacts import BASELINE_TOLERANCE, RUNTIMES
from . import options
from .network_options import own_network

if TYPE_CHECKING:
    from ..inputs.sources import ModelSource


@click.command()
@click.argument("package", type=options.File())
@options.source_of_size("every size of the package")
@own_network
@options.DATA
@options.KINDS
@options.MIN_IOU
@click.option(
    "--runtime",
    type=options.Named("runtime", lambda: list(RUNTIMES)),
    default="portrait",
    help="What runs the package: portrait (our runtime) or coreml (Core ML itself, macOS only).",
)
@options.ARITHMETIC
@click.option(
    "--from-device",
    type=options.File(),
    help="Compare the masks in this parity bundle, which the demo app or `portrait-demo bundle` wrote.",
)
@click.option(
    "--baseline",
    type=options.File(),
    help="An earlier parity.json: also gate on how much the masks have got worse since.",
)
@click.option(
    "--tolerance",
    type=options.Number(0, 1),
    help="By how much the mean mask IoU may fall below --baseline's; one mask by ten times as much."
    f"  [default: {BASELINE_TOLERANCE}]",
)
@click.option("--out", "-o", "json_file", type=options.OutputFile(), help="Write every number to this JSON file.")
@click.option("--junit", "junit_file", type=options.OutputFile(), help="Write a JUnit XML report for CI.")
@click.option(
    "--markdown",
    "markdown_file",
    type=options.OutputFile(),
    help="Write the gates and the worst images as Markdown, for a CI job's summary.",
)
@options.OUTPUT_OPTIONS
def parity(
    package: Path,
    source: ModelSource,
    data: Path | None,
    kinds: tuple[str, ...],
    min_iou: float | None,
    runtime: str,
    arithmetic: str,
    from_device: Path | None,
    baseline: Path | None,
    tolerance: float | None,
    json_file: Path | None,
    junit_file: Path | None,
    markdown_file: Path | None,
    console: options.Console,
) -> int:
    """Compare PACKAGE's masks with those of the model it was made from.

    Exit code 0: every gate passed; 1: a gate failed; 2: something could not be read.
    """
    from ..errors import UsageError
    from ..utils.files import refuse_existing, refuse_replacing, refuse_shared, write_text
    from ..verify.report.markdown import to_markdown
    from ..verify.report.wording import reworded
    from ..workflows.parity import check_parity
    from ..workflows.requests import ParityRequest
    from . import export_summary, render
    from .flags import with_flags

    outputs = {"json_file": json_file, "junit_file": junit_file, "markdown_file": markdown_file}
    refuse_shared(outputs)  # now, not after minutes of work
    for file in filter(None, outputs.values()):
        refuse_replacing([file], source.files)
        refuse_existing(file, force=True)
    if from_device is not None and (
        source.size is not None or kinds or (runtime, arithmetic) != ("portrait", "as_typed")
    ):
        raise UsageError("--from-device cannot be used together with --size, --kinds, --runtime or --arithmetic.")
    request = ParityRequest(
        data=data,
        kinds=kinds,
        min_iou=min_iou,
        runtime=runtime,
        arithmetic=arithmetic,
        from_device=from_device,
        baseline=baseline,
        tolerance=tolerance,
    )
    report = reworded(check_parity(source, package, request, console.observer()), with_flags)
    if json_file is not None:
        write_text(json_file, report.to_json())
    if junit_file is not None:
        write_text(junit_file, report.to_junit())
    if markdown_file is not None:
        write_text(markdown_file, to_markdown(report))
    if console.as_json:
        render.result_json(report.to_dict())
    elif console.quiet:
        export_summary.show_verdict(report)
    else:
        export_summary.show_parity(report)
    return 0 if report.passed else 1
