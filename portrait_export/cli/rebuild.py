"""`portrait-export rebuild`: retrain the bundled weights from scratch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import options

if TYPE_CHECKING:
    from ..training.config import TrainConfig


@click.command()
@click.argument("folder", type=options.File())
@click.option("--out", "-o", type=options.File(), default=Path("runs/rebuild"), help="Output folder.")
@click.option("--backgrounds", type=options.File(), help="A folder of pictures without people.")
@click.option("--labeller", type=options.File(), help="As for `label`.  [default: downloaded once with pip]")
@click.option(
    "--share",
    type=options.Number(0, 1, min_open=True),
    default=1.0,
    help="Share of the training steps to run; less for a trial.",
)
@options.OUTPUT_OPTIONS
def rebuild(
    folder: Path, out: Path, backgrounds: Path | None, labeller: Path | None, share: float, console: options.Console
) -> int:
    """Retrain every network with bundled weights from scratch. Needs the extra `train`.

    \b
    FOLDER contains the photos and machine-made masks described in the weights' cards:
    portraits/, masks/           portraits and their masks
    everyday/manifest.json       everyday photos and their masks, which it lists
    synthetic/                   pictures of people without background (.webp)

    Masks that people found wrong are dropped or corrected, the photos of the calibration set and the validation photos
    are kept out of training, and the networks are trained one after another. Run it again to resume after an
    interruption.
    """
    from ..inputs.sources import ModelSource
    from ..training.rebuild import chain_configs, clean, read_corrections, require_published, train_chain
    from ..utils.stages import Stages
    from . import render
    from .label import segmenter
    from .train import require_extra

    require_extra()
    configs = chain_configs(out / "photographs", out, backgrounds=str(backgrounds or ""), share=share)
    require_published(configs)  # before every photograph is copied
    stages = Stages(console.observer())
    photographs = out / "photographs"
    if not photographs.is_dir():
        with stages.stage("clean") as stage:
            segment, _ = segmenter(ModelSource(), labeller)
            train, val = clean(folder, photographs, segment, read_corrections(), on_image=stage.progress)
            stage.summary = f"{train} photos to train on, {val} to validate on"

    def start(config: TrainConfig) -> None:
        if not (console.quiet or console.as_json):
            render.message(f"  {config.model}")

    def show(config: TrainConfig, row: dict[str, float]) -> None:
        if not (console.quiet or console.as_json):
            render.message(f"    step {row['step']:>6.0f}/{config.steps}  loss {row['loss']:.4f}  IoU {row['iou']:.4f}")

    made = []
    for path in train_chain(configs, out, on_start=start, on_row=show):
        made.append(str(path))
        if not console.as_json:
            render.result(str(path))
    if console.as_json:
        render.result_json({"weights": made})
    return 0
