"""`portrait-export rebuild`: the free photographs in, the weights that come along, trained anew, out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import options

if TYPE_CHECKING:
    from ..training.config import TrainConfig


@click.command()
@click.argument("folder", type=options.File())
@click.option("--out", "-o", type=options.File(), default=Path("runs/rebuild"), help="Folder for everything made.")
@click.option("--backgrounds", type=options.File(), help="A folder of pictures without people.")
@click.option("--labeller", type=options.File(), help="As for `label`.  [default: fetched with pip, once]")
@click.option("--share", type=click.FloatRange(0, 1, min_open=True), default=1.0, help="Of the steps: less, to try it.")
@options.QUIET
def rebuild(folder: Path, out: Path, backgrounds: Path | None, labeller: Path | None, share: float, quiet: bool) -> int:
    """Train every network that comes with weights anew. Needs the extra `train`.

    FOLDER/images and FOLDER/masks hold the photographs and machine-made masks that the weights' cards tell of. Those
    that people found wrong are left out or completed, the calibration set's and the validation photographs are kept
    apart, and the networks are trained one after another. Called again, it goes on where it was interrupted.
    """
    from ..training.rebuild import chain_configs, clean, read_corrections, train_chain
    from ..utils.stages import Stages
    from . import render
    from .label import segmenter
    from .train import require_extra

    require_extra()
    stages = Stages(render.observer(quiet=quiet, verbose=False))
    photographs = out / "photographs"
    if not photographs.is_dir():
        with stages.stage("clean") as stage:
            segment, _ = segmenter(None, None, labeller)
            train, val = clean(folder, photographs, segment, read_corrections(), on_image=stage.progress)
            stage.summary = f"{train} photographs to train on, {val} to validate on"

    def start(config: TrainConfig) -> None:
        if not quiet:
            render.say(f"  {config.model}")

    def show(config: TrainConfig, row: dict[str, float]) -> None:
        if not quiet:
            render.say(f"    step {row['step']:>6.0f}/{config.steps}  loss {row['loss']:.4f}  IoU {row['iou']:.4f}")

    configs = chain_configs(photographs, out, backgrounds=str(backgrounds or ""), share=share)
    for path in train_chain(configs, out, on_start=start, on_row=show):
        render.result(str(path))
    return 0
