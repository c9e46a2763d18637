"""`portrait-export evaluate`: anything that segments and a folder of masks in, IoU and boundary F out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import options

if TYPE_CHECKING:
    from ..artifacts import LabelledFrame, Runner
    from ..preprocessing import PortraitSpec


@click.command()
@options.SOURCE
@click.option("--package", type=click.Path(path_type=Path), help="A saved .mlpackage, run by our runtime.")
@click.option("--onnx", "onnx_file", type=click.Path(path_type=Path), help="An ONNX file as `onnx` writes it.")
@options.DATA
@click.option("--split", help="Only this split: evaluate, calibrate, train, val or test.  [default: all]")
@click.option("--csv", "csv_file", type=click.Path(path_type=Path), help="Write one row per photograph to this file.")
@click.option("--sheet", type=click.Path(path_type=Path), help="Write a picture of the worst photographs here (PNG).")
@click.option("--worst", type=click.IntRange(1, 64), default=8, help="How many photographs count as the worst.")
@click.option("--min-iou", type=click.FloatRange(0, 1), help="Exit with 1 if the mean IoU is below this.")
@options.AS_JSON
@options.QUIET
def evaluate(
    model: str | None,
    checkpoint: Path | None,
    random_weights: bool,
    size: tuple[int, int] | None,
    package: Path | None,
    onnx_file: Path | None,
    data: Path | None,
    split: str | None,
    csv_file: Path | None,
    sheet: Path | None,
    worst: int,
    min_iou: float | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Score a model, checkpoint, ONNX file or package against masks that people drew.

    \b
    IoU         person pixels in both masks over person pixels in either, per photograph
    boundary F  how much of the two outlines lies within 0.8 % of the image's diagonal of one another
    """
    from ..files import write_bytes, write_text
    from ..stages import Stages
    from ..training.evaluate import evaluate as score_all
    from ..training.evaluate import worst_sheet
    from ..verify.metrics import boundary_f, mask_iou
    from . import render

    stages = Stages(render.observer(quiet=quiet or as_json, verbose=False))
    with stages.stage("load") as stage:
        given = {"model": model, "checkpoint": checkpoint, "random_weights": random_weights, "size": size}
        runner, spec = _runner(given, package, onnx_file)
        frames = _frames(data, spec, split)
        stage.summary = f"{runner.name}, {len(frames)} photographs at {spec.height}x{spec.width}"
    seen: dict[str, Any] = {}
    with stages.stage("evaluate") as stage:

        def keep(labelled: LabelledFrame, prediction: Any, score: Any) -> None:
            seen[score.name] = (labelled.frame.image, labelled.mask, prediction.probability)
            stage.progress(len(seen), len(frames))

        result = score_all(runner, frames, iou=mask_iou, boundary_f=boundary_f, threshold=spec.threshold, on_image=keep)
        stage.summary = f"mean IoU {result.iou_mean:.4f}, worst {result.iou_worst:.4f}"
    if csv_file is not None:
        write_text(csv_file, result.to_csv())
    if sheet is not None:
        write_bytes(sheet, worst_sheet(result, seen, worst))
    passed = min_iou is None or result.iou_mean >= min_iou
    if as_json:
        render.result_json({**result.summary(), "min_iou": min_iou, "passed": passed})
    else:
        _show(result, min(worst, 5), min_iou)
    return 0 if passed else 1


def _runner(given: dict[str, Any], package: Path | None, onnx_file: Path | None) -> tuple[Runner, PortraitSpec]:
    """Exactly one thing that segments, and how photographs are prepared for it."""
    from ..errors import UsageError
    from ..sources import ModelSource, load_model

    named = {
        "--package": package,
        "--onnx": onnx_file,
        "--model or --checkpoint": given["model"] or given["checkpoint"],
    }
    chosen = [name for name, value in named.items() if value is not None]
    if len(chosen) != 1:
        raise UsageError(
            f"What shall be evaluated? {', '.join(chosen) or 'Nothing'} is given.",
            hint=f"give exactly one of {', '.join(named)}.",
        )
    if package is not None:
        from ..runtime.runner import PackageRunner

        saved = PackageRunner(package)
        if saved.spec is None:
            raise UsageError(f"{package} does not say how photographs are prepared for it: it is not one of ours.")
        return saved, saved.spec
    if onnx_file is not None:
        from ..capture.runners import OnnxRunner

        onnx = OnnxRunner(onnx_file, name=onnx_file.name)
        return onnx, onnx.spec
    from ..capture.runners import TorchRunner

    loaded = load_model(ModelSource(**given))
    return TorchRunner(loaded.module, loaded.spec, name=loaded.name), loaded.spec


def _frames(data: Path | None, spec: PortraitSpec, split: str | None) -> list[LabelledFrame]:
    from ..errors import DataError
    from ..frames import load_frames

    frames = load_frames(data, spec)
    chosen = [labelled for labelled in frames if split in (None, labelled.split)]
    if not chosen:
        known = sorted({labelled.split for labelled in frames if labelled.split})
        raise DataError(
            f"No photograph is in the split `{split}`.", hint=f"the splits are: {', '.join(known) or 'none'}."
        )
    return chosen


def _show(result: Any, worst: int, min_iou: float | None) -> None:
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
