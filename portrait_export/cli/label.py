"""`portrait-export label`: make masks for photos, to correct and train on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import UsageError
from . import options

if TYPE_CHECKING:
    from ..inputs.sources import ModelSource
    from ..training.label import Segmenter


@click.command()
@click.argument("folder", type=options.File())
@options.source_options(options.MODEL, options.CHECKPOINT, options.PERSON_CLASS)
@click.option(
    "--labeller",
    type=options.File(),
    help="A MediaPipe wheel or its selfie_segmentation.tflite.  [default: downloaded once with pip]",
)
@click.option("--review", is_flag=True, help="Compare FOLDER's existing masks with new ones instead of writing masks.")
@click.option("--hard", is_flag=True, help="Write class ids 0 and 1 to annotations/ instead of gray masks to masks/.")
@click.option("--force", is_flag=True, help="Replace existing masks.")
@options.output_options(options.AS_JSON, options.QUIET)
def label(
    folder: Path,
    source: ModelSource,
    labeller: Path | None,
    review: bool,
    hard: bool,
    force: bool,
    console: options.Console,
) -> int:
    """Write a mask for every photo below FOLDER/images that has none. Needs the extra `train`.

    MediaPipe's selfie segmentation runs six times on each photo; --model or --checkpoint uses a network instead. Masks
    follow the photo's edges at its full size. Check FOLDER/sheets, least confident first, and correct or delete wrong
    masks before training on them.

    With --review no mask is written: FOLDER/review.csv and FOLDER/sheets/review_*.png compare each existing mask with
    a new one, lowest agreement first.
    """
    _require_one_labeller(source, labeller)
    if review:
        if hard or force:
            raise UsageError("--review changes no mask: it cannot be used with --hard or --force.")
        return _review(folder, source, labeller, console)
    from ..training.label import label_folder, unlabelled
    from ..utils.stages import Stages
    from . import render

    if not unlabelled(folder, hard=hard, force=force)[0]:  # before anything is downloaded
        if console.as_json:
            render.result_json([])
        else:
            render.result("Every photo already has a mask; --force replaces them.")
        return 0
    stages = Stages(console.observer())
    with stages.stage("load") as stage:
        segment, stage.summary = segmenter(source, labeller)
    with stages.stage("label") as stage:
        labels = label_folder(folder, segment, hard=hard, force=force, on_image=stage.progress)
        stage.summary = f"{len(labels)} masks"
    rows = [(made.item.name, made.confidence, made.share) for made in labels]
    if console.as_json:
        keys = ("name", "confidence", "share")
        render.result_json([dict(zip(keys, row, strict=True)) for row in rows])
    else:
        cells = [[name, f"{confidence:.3f}", f"{100 * share:.0f} %"] for name, confidence, share in rows[:10]]
        render.result(render.table(["least confident", "confidence", "person"], cells, right=(1, 2)))
        render.result(f"\n{len(rows)} masks; contact sheets in {folder / 'sheets'}")
    return 0


def _review(folder: Path, source: ModelSource, labeller: Path | None, console: options.Console) -> int:
    from ..training.review import COLUMNS, one_opinion, review_folder
    from ..utils.stages import Stages
    from . import render

    stages = Stages(console.observer())
    with stages.stage("load") as stage:
        segment, stage.summary = segmenter(source, labeller)
    with stages.stage("review") as stage:
        reviews = review_folder(folder, segment, on_image=stage.progress)
        stage.summary = f"{len(reviews)} masks"
    warning = one_opinion(reviews)
    if warning:
        render.warn(warning)
    if console.as_json:
        render.result_json([{name: getattr(one, name) for name in COLUMNS} for one in reviews])
        return 0
    cells = [[one.name, f"{one.iou:.3f}", f"{one.confidence:.3f}"] for one in reviews[:10]]
    render.result(render.table(["lowest agreement", "IoU", "confidence"], cells, right=(1, 2)))
    low = sum(one.iou < 0.9 for one in reviews)
    render.result(f"\n{len(reviews)} masks, {low} below IoU 0.9; contact sheets in {folder / 'sheets'}")
    return 0


def _require_one_labeller(source: ModelSource, labeller: Path | None) -> None:
    """Raise UsageError for options of MediaPipe and of a network together."""
    chosen = source.model or source.checkpoint
    if chosen and labeller:
        raise UsageError("--labeller cannot be used with --model or --checkpoint.")
    if source.person_class is not None and not chosen:
        raise UsageError(
            "--person-class is for the classes of a --checkpoint; MediaPipe's network knows the person alone.",
            hint="pass --checkpoint, or leave out --person-class.",
        )


def segmenter(source: ModelSource, labeller: Path | None) -> tuple[Segmenter, str]:
    """Return the labelling network and its name: the given model or checkpoint, else MediaPipe's."""
    if source.model or source.checkpoint:
        return _network(source)
    from ..training.label import WHEEL, download_selfie_model, read_selfie_model, selfie_segmenter

    data = read_selfie_model(labeller) if labeller else download_selfie_model(_cache())
    return selfie_segmenter(data), f"selfie segmentation of {WHEEL}"


def _network(source: ModelSource) -> tuple[Segmenter, str]:
    import numpy as np

    from ..artifacts import Frame
    from ..calibration.dataset import resize_photo
    from ..inputs.runners import open_runner

    opened = open_runner(source)
    if "depth" in opened.spec.inputs:
        raise UsageError(f"Model `{opened.runner.name}` needs a depth map, which photos to label do not have.")

    if opened.spec.pictures:
        names = ", ".join(picture.name for picture in opened.spec.pictures)
        raise UsageError(f"`{opened.runner.name}` takes further pictures ({names}), which photos to label do not have.")

    def segment(photo: np.ndarray) -> np.ndarray:
        (prediction,) = opened.runner.run([Frame(resize_photo(photo, opened.sizes[0]))])
        return prediction.probability

    return segment, opened.runner.name


def _cache() -> Path:
    """Return the folder for downloads, by the XDG base directory specification."""
    import os

    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "portrait-export"
