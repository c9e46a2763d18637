"""`portrait-export coreai`: export a model to a verified Core AI asset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..artifacts import PRECISIONS
from . import options
from .network_options import own_network

if TYPE_CHECKING:
    from ..inputs.sources import ModelSource


def _recipes() -> list[str]:
    from ..workflows.export_coreai import RECIPES

    return list(RECIPES)


@click.command()
@options.SOURCE
@own_network
@click.option(
    "--quantize",
    type=options.Named("recipe", _recipes),
    default="none",
    help="How weights are stored: none (fp16), or a recipe, with the integers and tables of the Core ML package.",
)
@options.OUTPUT
@click.option(
    "--precision",
    type=options.Named("precision", lambda: list(PRECISIONS)),
    default="fp16",
    help="The arithmetic of the asset: fp16 or fp32.",
)
@click.option("--out", "-o", type=options.File(), help="Output folder.  [default: build/NAME-RECIPE-coreai]")
@click.option("--name", help="What the asset and its ONNX file are called.  [default: the model's name]")
@options.AUTHOR
@options.LICENSE
@click.option(
    "--parity/--no-parity", default=True, help="Run the saved asset with Apple's runtime and gate on its masks."
)
@click.option(
    "--data",
    type=options.File(),
    help="Photos to compare on: a folder, or images/ + masks/.  [default: 4 of the bundled ones]",
)
@options.KINDS
@options.MIN_IOU
@options.FORCE
@options.OUTPUT_OPTIONS
def coreai(
    source: ModelSource,
    quantize: str,
    output: str,
    precision: str,
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
    """Export a model to a Core AI asset (.aimodel, iOS 27), run it with Apple's runtime, and gate on its masks.

    \b
    Needs the extra `coreai`, Python 3.11 or later and glibc 2.34 or later.
    Writes to the output folder: the asset, the simplified ONNX file, export.json,
    parity.json, report.html and pictures of the worst images.
    Without --data, few photographs are compared: the runtime is slow off a Mac.
    Exit code 1: the asset was written, but a gate failed.
    """
    from ..workflows.export_coreai import export_coreai
    from ..workflows.requests import CoreAIRequest, comparison
    from . import export_summary

    request = CoreAIRequest(
        source=source,
        recipe=quantize,
        output=output,
        precision=precision,
        out=out,
        name=name,
        author=author,
        license=license,
        parity=comparison(parity=parity, data=data, kinds=kinds, min_iou=min_iou),
        force=force,
    )
    export = export_coreai(request, console.observer())
    export_summary.show_asset(export, console)
    return 0 if export.passed else 1
