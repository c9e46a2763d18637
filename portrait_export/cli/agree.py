"""`portrait-export agree`: compare our runtime with Core ML itself, on a Mac."""

from __future__ import annotations

from pathlib import Path

import click

from . import options


@click.command()
@click.option(
    "--out",
    "-o",
    type=options.File(),
    default=Path("build/agreement"),
    help="Folder for agreement.json and agreement.md.",
)
@click.option(
    "--unit",
    "units",
    multiple=True,
    metavar="UNITS",
    help="CPU_ONLY, CPU_AND_GPU, CPU_AND_NE or ALL; may be repeated.  [default: the first three]",
)
@click.option("--op", "operators", multiple=True, metavar="NAME", help="Compare only this operator; may be repeated.")
@click.option(
    "--package",
    "packages",
    type=options.File(),
    multiple=True,
    help="Compare this package; may be repeated.  [default: every model with weights, exported as int8]",
)
@click.option("--no-packages", is_flag=True, help="Compare single operations only.")
@click.option(
    "--photos",
    type=click.IntRange(1, 32),
    help="Photographs that each package is run on.  [default: 4]",
)
@options.OUTPUT_OPTIONS
def agree(
    out: Path,
    units: tuple[str, ...],
    operators: tuple[str, ...],
    packages: tuple[Path, ...],
    no_packages: bool,
    photos: int | None,
    console: options.Console,
) -> int:
    """Run every operator's test cases and the bundled models with Core ML and with our runtime, and compare.

    It needs a Mac. Each case is a package of one operation, in float32 and in half precision, on each of the compute
    units. agreement.md lists what differs and by how much; agreement.json has every comparison.

    Exit code 0: everything agrees; 1: something does not; 2: this is no Mac, or something could not be read.
    """
    from ..mil.mac import CoreMLEngine
    from ..workflows import agreement_report
    from ..workflows.agree import UNITS, AgreeRequest, check_agreement, counted
    from . import render

    if no_packages and packages:
        raise click.UsageError("--package and --no-packages cannot be used together.")
    if no_packages and photos is not None:
        raise click.UsageError("--photos and --no-packages cannot be used together.")
    chosen = () if no_packages else packages or None
    request = AgreeRequest(units or UNITS, operators, chosen, photos or AgreeRequest.photos)
    found = check_agreement(request, console.observer(), CoreMLEngine())
    files = agreement_report.write(found, out)
    if console.as_json:
        render.result_json(agreement_report.to_json(found))
        return 0 if found.passed else 1
    rows = [
        [row.subject, row.case, row.precision, row.unit, row.verdict]
        for row in found.operations + found.packages
        if not row.agrees
    ]
    if rows:
        render.result(render.table(["subject", "case", "precision", "units", "verdict"], rows))
    render.result(f"operations: {counted(found.operations)}; packages: {counted(found.packages)}")
    render.result(f"written to {files[0]} and {files[1]}")
    return 0 if found.passed else 1
