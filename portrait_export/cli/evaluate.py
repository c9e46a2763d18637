"""`portrait-export evaluate`: score anything that segments against ground-truth masks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import options
from .network_options import own_network

if TYPE_CHECKING:
    from ..inputs.sources import ModelSource
    from ..training.evaluate import Evaluation, Group


@click.command()
@options.source_of_size("the model's, 512x512; the first of a package")
@click.option("--package", type=options.File(), help="A saved .mlpackage, run by our runtime.")
@own_network
@options.DATA
@click.option("--split", help="Use only this split: evaluate, calibrate, train, val or test.  [default: all]")
@click.option("--csv", "csv_file", type=options.OutputFile(), help="Write one row per photo to this file.")
@click.option("--sheet", type=options.OutputFile(), help="Write a picture of the worst photos to this file (PNG).")
@click.option("--worst", type=click.IntRange(1, 64), default=8, help="How many of the worst photos to show.")
@click.option(
    "--min-iou",
    type=options.Number(0, 1),
    help="Exit with code 1 if the mean IoU over the photos with people is lower.",
)
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
    IoU            person pixels in both masks over person pixels in either, per photograph with people
    boundary F     how much of the two outlines is within 0.8 % of the image's diagonal of one another
    empty, person  on how many pictures with nobody in them over 1 % of the pixels are predicted to be person
    haze           share of the pixels whose P(person) is between 0.1 and 0.9
    """
    from ..training.evaluate import worst_sheet
    from ..utils.files import refuse_existing, refuse_replacing, refuse_shared, write_bytes, write_text
    from ..workflows.evaluate import EvaluateRequest, evaluate_masks
    from . import render

    refuse_shared({"csv_file": csv_file, "sheet": sheet})  # now, not after minutes of work
    for file in filter(None, (csv_file, sheet)):
        refuse_replacing([file], source.files)
        refuse_existing(file, force=True)
    request = EvaluateRequest(source=source, package=package, data=data, split=split, worst=worst)
    result = evaluate_masks(request, console.observer())
    scores = result.scores
    if csv_file is not None:
        write_text(csv_file, scores.to_csv())
    if sheet is not None:
        write_bytes(sheet, worst_sheet(result.worst))
    passed = min_iou is None or _reached(scores, min_iou)
    if console.as_json:
        render.result_json({**scores.summary(), "min_iou": min_iou, "passed": passed})
    else:
        _show(scores, min(worst, 5), min_iou)
    return 0 if passed else 1


def _show(result: Evaluation, worst: int, min_iou: float | None) -> None:
    from ..artifacts import EMPTY
    from . import render

    kinds = {kind or "other": group for kind, group in result.named_kinds.items()}
    render.result(f"{result.runner}, {len(result.scores)} photographs")
    render.result(_table("kind", kinds | {"all": result} if len(kinds) > 1 else kinds or {"all": result}))
    if result.tags:
        render.result("")
        render.result(_table("tag", result.tags))
    lines = [
        [
            score.name,
            *(["–", "–"] if score.kind == EMPTY else [_number(score.iou), _number(score.boundary_f)]),
            f"{score.person_share:.1%}",
        ]
        for score in result.worst(worst)
    ]
    render.result("")
    render.result(render.table(["worst", "IoU", "boundary F", "person"], lines, right=(1, 2, 3)))
    if min_iou is not None:
        verdict = "passed" if _reached(result, min_iou) else "FAILED"
        render.result(f"\nmean IoU {_number(result.iou_mean)}, required {min_iou}: {verdict}")


def _table(heading: str, groups: Mapping[str, Group]) -> str:
    """One row per group of photographs."""
    from . import render

    columns = [heading, "photos", "IoU mean", "median", "worst", "all pixels", "boundary F", "empty, person", "haze"]
    rows = [
        [
            name,
            str(len(group.scores)),
            *map(_number, (group.iou_mean, group.iou_median, group.iou_worst, group.iou_set, group.boundary_f_mean)),
            f"{group.empty_with_person} of {len(group.empty)}" if group.empty else "–",
            _number(group.haze),
        ]
        for name, group in groups.items()
    ]
    return render.table(columns, rows, right=range(1, len(columns)))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _reached(result: Evaluation, min_iou: float) -> bool:
    return result.iou_mean is not None and result.iou_mean >= min_iou
