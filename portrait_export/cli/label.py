"""`portrait-export label`: a folder of photographs in, masks to correct and train on out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import options

if TYPE_CHECKING:
    from ..training.label import Segmenter


@click.command()
@click.argument("folder", type=options.File())
@options.MODEL
@options.CHECKPOINT
@click.option(
    "--labeller",
    type=options.File(),
    help="A MediaPipe wheel or its selfie_segmentation.tflite.  [default: fetched with pip, once]",
)
@click.option("--review", is_flag=True, help="Compare the masks that FOLDER has with this second opinion instead.")
@click.option("--hard", is_flag=True, help="Write class ids 0 and 1 into annotations/ instead of gray into masks/.")
@click.option("--force", is_flag=True, help="Replace masks that exist.")
@options.AS_JSON
@options.QUIET
def label(
    folder: Path,
    model: str | None,
    checkpoint: Path | None,
    labeller: Path | None,
    review: bool,
    hard: bool,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Write a mask for every photograph below FOLDER/images that has none. Needs the extra `train`.

    MediaPipe's selfie segmentation looks at each photograph six times; --model or --checkpoint takes a network
    instead. Masks follow the photograph's edges at its full size. Look at FOLDER/sheets, least confident first, and
    correct or delete what is wrong before training on it.

    With --review no mask is made or changed: FOLDER/review.csv and FOLDER/sheets/review_*.png show each mask beside
    the second opinion, lowest agreement first.
    """
    if review:
        return _review(folder, model, checkpoint, labeller, as_json=as_json, quiet=quiet, refused=hard or force)
    from ..training.label import label_folder, unlabelled
    from ..utils.stages import Stages
    from . import render

    if not unlabelled(folder, hard=hard, force=force)[0]:  # before anything is fetched for nothing
        if as_json:
            render.result_json([])
        else:
            render.result("Every photograph has a mask already; --force makes them anew.")
        return 0
    stages = Stages(render.observer(quiet=quiet or as_json, verbose=False))
    with stages.stage("load") as stage:
        segment, stage.summary = segmenter(model, checkpoint, labeller)
    with stages.stage("label") as stage:
        labels = label_folder(folder, segment, hard=hard, force=force, on_image=stage.progress)
        stage.summary = f"{len(labels)} masks"
    rows = [(made.item.name, made.confidence, made.share) for made in labels]
    if as_json:
        keys = ("name", "confidence", "share")
        render.result_json([dict(zip(keys, row, strict=True)) for row in rows])
    else:
        cells = [[name, f"{confidence:.3f}", f"{100 * share:.0f} %"] for name, confidence, share in rows[:10]]
        render.result(render.table(["least confident", "confidence", "person"], cells, right=(1, 2)))
        render.result(f"\n{len(rows)} masks; contact sheets in {folder / 'sheets'}")
    return 0


def _review(
    folder: Path,
    model: str | None,
    checkpoint: Path | None,
    labeller: Path | None,
    *,
    as_json: bool,
    quiet: bool,
    refused: bool,
) -> int:
    from ..errors import UsageError
    from ..training.review import COLUMNS, review_folder
    from ..utils.stages import Stages
    from . import render

    if refused:
        raise UsageError("--review changes no mask: it goes with neither --hard nor --force.")
    stages = Stages(render.observer(quiet=quiet or as_json, verbose=False))
    with stages.stage("load") as stage:
        segment, stage.summary = segmenter(model, checkpoint, labeller)
    with stages.stage("review") as stage:
        reviews = review_folder(folder, segment, on_image=stage.progress)
        stage.summary = f"{len(reviews)} masks"
    if as_json:
        render.result_json([{name: getattr(one, name) for name in COLUMNS} for one in reviews])
        return 0
    cells = [[one.name, f"{one.iou:.3f}", f"{one.confidence:.3f}"] for one in reviews[:10]]
    render.result(render.table(["lowest agreement", "IoU", "confidence"], cells, right=(1, 2)))
    low = sum(one.iou < 0.9 for one in reviews)
    render.result(f"\n{len(reviews)} masks, {low} under IoU 0.9; contact sheets in {folder / 'sheets'}")
    return 0


def segmenter(model: str | None, checkpoint: Path | None, labeller: Path | None) -> tuple[Segmenter, str]:
    """What labels: a network of ours where one is named, else MediaPipe's, and what to call it."""
    from ..errors import UsageError

    if (model or checkpoint) and labeller:
        raise UsageError("--labeller excludes --model and --checkpoint: only one can label.")
    if model or checkpoint:
        return _network(model, checkpoint)
    from ..training.label import WHEEL, download_selfie_model, read_selfie_model, selfie_segmenter

    data = read_selfie_model(labeller) if labeller else download_selfie_model(_cache())
    return selfie_segmenter(data), f"selfie segmentation of {WHEEL}"


def _network(model: str | None, checkpoint: Path | None) -> tuple[Segmenter, str]:
    import numpy as np

    from ..artifacts import Frame
    from ..calibration.dataset import resize_photo
    from ..errors import UsageError
    from ..inputs.runners import open_runner
    from ..inputs.sources import ModelSource

    opened = open_runner(ModelSource(model=model, checkpoint=checkpoint))
    if "depth" in opened.spec.inputs:
        raise UsageError(f"Model `{opened.runner.name}` takes a depth map, which photographs to label do not have.")

    def segment(photo: np.ndarray) -> np.ndarray:
        (prediction,) = opened.runner.run([Frame(resize_photo(photo, opened.sizes[0]))])
        return prediction.probability

    return segment, opened.runner.name


def _cache() -> Path:
    """Where fetched files stay, by the XDG base directory specification."""
    import os

    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "portrait-export"
