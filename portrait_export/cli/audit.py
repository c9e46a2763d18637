"""`portrait-export audit`: check how a package stores its weights."""

from __future__ import annotations

from pathlib import Path

import click

from . import options


@click.command()
@click.argument("package", type=options.File())
@click.option(
    "--against",
    metavar="MODEL|ONNX|PACKAGE",
    help="Compare the weights with these: a registered model, an .onnx file or an uncompressed .mlpackage.",
)
@click.option("--checkpoint", type=options.File(), help="Compare with these weights of a registered model.")
@click.option("--onnx", type=options.File(), help="Compare with the weights of this ONNX file.")
@options.RANDOM_WEIGHTS
@click.option(
    "--stored-as",
    multiple=True,
    metavar="TYPE",
    help="Fail unless large weights are stored as this type, such as int4; repeat it to allow several.",
)
@options.OUTPUT_OPTIONS
def audit(
    package: Path,
    against: str | None,
    checkpoint: Path | None,
    onnx: Path | None,
    random_weights: bool,
    stored_as: tuple[str, ...],
    console: options.Console,
) -> int:
    """List how PACKAGE stores each weight, and fail if one cannot be right.

    PACKAGE is a .mlpackage from anywhere, compressed in any way that Core ML reads. Every weight is decoded from the
    bytes on disk. NaN, scales and tables that collapsed, and bytes that belong to no weight are found in the package
    alone; with the network that it was made from, also values that are not what rounding gives.

    Exit code 0: nothing is wrong; 1: a weight is wrong; 2: something could not be read or compared.
    """
    from ..workflows.audit import AuditRequest, audit_package
    from . import audit_summary, render

    request = AuditRequest(package, against, checkpoint, onnx, random_weights, stored_as)
    result = audit_package(request, console.observer())
    if console.as_json:
        render.result_json(result.to_json())
    else:
        audit_summary.show(result, quiet=console.quiet)
    return 0 if result.passed else 1
