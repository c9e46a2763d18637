"""`portrait-export onnx`: a model's name or checkpoint in, a checked and simplified ONNX file out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..artifacts import DEFAULT_OPSET
from . import options
from .foreign_options import foreign

if TYPE_CHECKING:
    from ..capture.foreign.options import ForeignOptions


@click.command()
@options.SOURCE
@foreign
@click.option("--opset", type=click.IntRange(13, 20), default=DEFAULT_OPSET, help="ONNX opset to export with.")
@click.option("--out", "-o", type=options.File(), help="The file to write.  [default: build/MODEL/MODEL.onnx]")
@options.FORCE
@options.TALK
def onnx(
    model: str | None,
    checkpoint: Path | None,
    random_weights: bool,
    size: tuple[int, int] | None,
    foreign: ForeignOptions | None,
    opset: int,
    out: Path | None,
    force: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Trace a model, check its numbers under ONNX Runtime, simplify it, and write the file.

    \b
    Inputs:  image (1, 3, H, W), normalised RGB; depth (1, 1, H, W) for depth models.
    Outputs: mask (1, 1, H, W), P(person); logits (1, 1, h, w), at the network's own resolution.
    """
    from ..inputs.sources import ModelSource
    from ..workflows.export import export_onnx
    from ..workflows.requests import OnnxRequest
    from . import render

    source = ModelSource(model=model, checkpoint=checkpoint, random_weights=random_weights, size=size, foreign=foreign)
    request = OnnxRequest(source=source, out=out, opset=opset, force=force)
    export = export_onnx(request, render.observer(quiet=quiet or as_json, verbose=verbose))
    if as_json:
        stages = [{"name": s.name, "seconds": s.seconds, "summary": s.summary} for s in export.stages]
        render.result_json({"file": str(export.path), "size_bytes": export.size_bytes, "stages": stages})
    else:
        render.result(str(export.path))
