"""`portrait-export coreml`: a model's name or checkpoint in, a verified Core ML package out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import options
from .foreign_options import foreign

if TYPE_CHECKING:
    from ..capture.foreign.options import ForeignOptions


@click.command()
@options.SOURCE
@options.SIZES
@foreign
@click.option(
    "--quantize",
    type=options.Named("recipe", options.recipe_names),
    default="none",
    help="How weights are stored: none (fp16) or int8.",
)
@options.OUTPUT_KIND
@click.option(
    "--target",
    type=options.Named("target", options.target_names),
    default="iOS17",
    help="The oldest iOS that must run it: iOS16, iOS17 or iOS18.",
)
@click.option(
    "--precision",
    type=options.Named("precision", lambda: ["fp16", "fp32"]),
    default="fp16",
    help="Arithmetic that the package declares: fp16 or fp32.",
)
@click.option("--out", "-o", type=options.File(), help="Output folder.  [default: build/MODEL-RECIPE]")
@click.option("--parity/--no-parity", default=True, help="Run the saved package and gate on its masks.")
@options.DATA
@click.option("--min-iou", type=click.FloatRange(0, 1), help="Gate on this mean mask IoU instead of the recipe's.")
@options.FORCE
@options.TALK
def coreml(
    model: str | None,
    checkpoint: Path | None,
    random_weights: bool,
    size: tuple[int, int] | None,
    sizes: tuple[tuple[int, int], ...] | None,
    foreign: ForeignOptions | None,
    quantize: str,
    output_kind: str,
    target: str,
    precision: str,
    out: Path | None,
    parity: bool,
    data: Path | None,
    min_iou: float | None,
    force: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Export a model to a Core ML package, run the saved package, and gate on its masks.

    \b
    Writes into the output folder: the package, the simplified ONNX, export.json,
    parity.json, report.html and pictures of the worst images.
    Exit code 1: the package is there, but a gate failed.
    """
    from ..inputs.sources import ModelSource
    from ..workflows.export import export_coreml
    from ..workflows.requests import CoreMLRequest, ParityRequest
    from . import export_summary, render

    request = CoreMLRequest(
        source=ModelSource(
            model=model, checkpoint=checkpoint, random_weights=random_weights, size=size, foreign=foreign
        ),
        recipe=quantize,
        output=output_kind,
        target=target,
        precision=precision,
        out=out,
        parity=ParityRequest(data=data, min_iou=min_iou) if parity else None,
        force=force,
        sizes=sizes or (),
    )
    export = export_coreml(request, render.observer(quiet=quiet or as_json, verbose=verbose))
    export_summary.show(export, as_json=as_json, quiet=quiet)
    return 0 if export.passed else 1
