"""`portrait-export coreml`: export a model to a verified Core ML package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..artifacts import ACTIVATIONS, AUTO, PRECISIONS, ROUNDINGS
from . import options
from .network_options import own_network

if TYPE_CHECKING:
    from ..inputs.sources import ModelSource


@click.command()
@options.SOURCE
@options.SIZES
@own_network
@click.option(
    "--quantize",
    type=options.RecipeOrFile(),
    default="none",
    help="How weights are stored: none (fp16), int8 or another of `portrait-export recipes`, or a TOML file of rules.",
)
@click.option(
    "--max-mb",
    type=click.FloatRange(min=0, min_open=True),
    help="The largest package that --quantize mixed may make, in MB.",
)
@click.option(
    "--rounding",
    type=options.Named("rounding", lambda: list(ROUNDINGS)),
    help="How weights are rounded: nearest or gptq (error-compensated).  [default: gptq; nearest for int8]",
)
@click.option(
    "--activations",
    type=options.Named("method", lambda: list(ACTIVATIONS)),
    help="How ranges of 8-bit activations are chosen: minmax, percentile or mse.  [default: mse]",
)
@click.option("--asymmetric", is_flag=True, help="Let the ranges of 8-bit activations have different ends.")
@click.option(
    "--tune/--no-tune",
    default=False,
    help="Improve tables, scales, biases and norms by distillation from the float network (minutes).",
)
@options.OUTPUT
@click.option(
    "--target",
    type=options.Named("target", options.target_names),
    default="iOS17",
    help="The oldest iOS that must run the package: iOS16, iOS17, iOS18 or iOS26.",
)
@click.option(
    "--precision",
    type=options.Named("precision", lambda: [*PRECISIONS, AUTO]),
    default="fp16",
    help="The arithmetic that the package declares: fp16, fp32, or auto: fp16 with what the gates need in fp32.",
)
@click.option(
    "--keep-fp32",
    metavar="OP|PATTERN",
    multiple=True,
    help="Keep operations in float32: a type such as softmax, or a value's name with *; may be repeated.",
)
@click.option(
    "--states",
    is_flag=True,
    help="Keep what a recurrent network carries in Core ML states (iOS18), not in inputs and outputs.",
)
@click.option("--out", "-o", type=options.File(), help="Output folder.  [default: build/NAME-RECIPE]")
@click.option("--name", help="What the package and its ONNX file are called.  [default: the model's name]")
@options.AUTHOR
@options.LICENSE
@click.option("--parity/--no-parity", default=True, help="Run the saved package and gate on its masks.")
@options.DATA
@options.KINDS
@options.MIN_IOU
@options.FORCE
@options.OUTPUT_OPTIONS
def coreml(
    source: ModelSource,
    sizes: tuple[tuple[int, int], ...] | None,
    quantize: str,
    max_mb: float | None,
    rounding: str | None,
    activations: str | None,
    asymmetric: bool,
    tune: bool,
    output: str,
    target: str,
    precision: str,
    keep_fp32: tuple[str, ...],
    states: bool,
    out: Path | None,
    name: str | None,
    author: str | None,
    license: str | None,
    parity: bool,
    data: Path | None,
    kinds: tuple[str, ...],
    min_iou: float | None,
    force: bool,
    console: options.Console,
) -> int:
    """Export a model to a Core ML package, run the saved package, and gate on its masks.

    \b
    Writes to the output folder: the package, the simplified ONNX file, export.json,
    parity.json, report.html and pictures of the worst images.
    Exit code 1: the package was written, but a gate failed.
    """
    from ..workflows.export import export_coreml
    from ..workflows.requests import CoreMLRequest, comparison
    from . import export_summary

    request = CoreMLRequest(
        source=source,
        recipe=quantize,
        max_mb=max_mb,
        rounding=rounding,
        activations=activations,
        asymmetric=asymmetric,
        tune=tune,
        output=output,
        target=target,
        precision=precision,
        keep_fp32=keep_fp32,
        states=states,
        out=out,
        name=name,
        author=author,
        license=license,
        parity=comparison(parity=parity, data=data, kinds=kinds, min_iou=min_iou, max_mb=max_mb),
        force=force,
        sizes=sizes or (),
    )
    export = export_coreml(request, console.observer())
    export_summary.show(export, console)
    return 0 if export.passed else 1
