"""`portrait-export evaluate`: score anything that segments against ground-truth masks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import options
from .network_options import own_network

if TYPE_CHECKING:
    from ..inputs.sources import ModelSource
    from ..training.evaluate import Evaluation


@click.command()
@options.SOURCE
@click.option("--package", type=options.File(), help="A saved .mlpackage, run by our runtime.")
@own_network
@options.DATA
@click.option("--split", help="Use only this split: evaluate, calibrate, train, val or test.  [default: all]")
@click.option("--csv", "csv_file", type=options.File(), help="Write one row per photo to this file.")
@click.option("--sheet", type=options.File(), help="Write a picture of the worst photos to this file (PNG).")
@click.option("--worst", type=click.IntRange(1, 64), default=8, help="How many of the worst photos to show.")
@click.option("--min-iou", type=click.FloatRange(0, 1), help="Exit with 1 if the mean IoU is below this.")
@options.OUTPUT_OPTIONS
def evaluate(
    source: ModelSource,
    package: Path | None,
    data: Path | None,
    split: str | None,
    csv_file: Path | None,
    sheet: Path | None,
    worst: int,
    min_iou: float | None,
    console: options.Console,
) -> int:
    """Score a model, checkpoint, package or network of your own against ground-truth masks.

    \b
    IoU         person pixels in both masks over person pixels in either, per photograph
    boundary F  how much of the two outlines lies within 0.8 % of the image's diagonal of one another
    """
    from ..training.evaluate import worst_sheet
    from ..utils.files import refuse_existing, write_bytes, write_text
    from ..workflows.evaluate import EvaluateRequest, evaluate_masks
    from . import render

    for file in filter(None, (csv_file, sheet)):
        refuse_existing(file, force=True)  # refuse a folder now, not after minutes of work
    request = EvaluateRequest(source=source, package=package, data=data, split=split, worst=worst)
    result = evaluate_masks(request, console.observer())
    scores = result.scores
    if csv_file is not None:
        write_text(csv_file, scores.to_csv())
    if sheet is not None:
        write_bytes(sheet, worst_sheet(result.worst))
    passed = min_iou is None or scores.iou_mean >= min_iou
    if console.as_json:
        render.result_json({**scores.summary(), "min_iou": min_iou, "passed": passed})
    else:
        _show(scores, min(worst, 5), min_iou)
    return 0 if passed else 1


def _show(result: Evaluation, worst: int, min_iou: float | None) -> None:
    from . import render

    rows = [
        ["IoU mean", f"{result.iou_mean:.4f}"],
        ["IoU median", f"{result.iou_median:.4f}"],
        ["IoU worst", f"{result.iou_worst:.4f}"],
        ["IoU over all pixels", f"{result.iou_set:.4f}"],
        ["boundary F mean", f"{result.boundary_f_mean:.4f}"],
    ]
    render.result(render.table([f"{len(result.scores)} photographs", result.runner], rows, right=(1,)))
    lines = [[score.name, f"{score.iou:.4f}", f"{score.boundary_f:.4f}"] for score in result.worst(worst)]
    render.result("")
    render.result(render.table(["worst", "IoU", "boundary F"], lines, right=(1, 2)))
    if min_iou is not None:
        verdict = "passed" if result.iou_mean >= min_iou else "FAILED"
        render.result(f"\nmean IoU {result.iou_mean:.4f}, wanted {min_iou}: {verdict}")
