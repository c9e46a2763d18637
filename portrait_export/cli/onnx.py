"""`portrait-export onnx`: export a model to a checked, simplified ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..artifacts import DEFAULT_OPSET
from . import options
from .network_options import own_network

if TYPE_CHECKING:
    from ..inputs.sources import ModelSource


@click.command()
@options.SOURCE
@own_network
@click.option(
    "--opset",
    type=click.IntRange(13, 20),
    help=f"ONNX opset of a network that is traced; an ONNX file keeps its own.  [default: {DEFAULT_OPSET}]",
)
@click.option("--out", "-o", type=options.OutputFile(), help="Output file.  [default: build/MODEL/MODEL.onnx]")
@options.FORCE
@options.OUTPUT_OPTIONS
def onnx(source: ModelSource, opset: int | None, out: Path | None, force: bool, console: options.Console) -> None:
    """Trace a model, check its outputs with ONNX Runtime, simplify it, and write the file.

    \b
    Inputs:  image (1, 3, H, W), normalised RGB; depth (1, 1, H, W) for depth models.
    Outputs: mask (1, 1, H, W), P(person); logits (1, 1, h, w) at the network's own resolution.
    """
    from ..workflows.export import export_onnx
    from ..workflows.requests import OnnxRequest
    from . import render

    export = export_onnx(OnnxRequest(source=source, out=out, opset=opset, force=force), console.observer())
    if console.as_json:
        stages = [{"name": s.name, "seconds": s.seconds, "summary": s.summary} for s in export.stages]
        render.result_json({"file": str(export.path), "size_bytes": export.size_bytes, "stages": stages})
    else:
        render.result(str(export.path))
