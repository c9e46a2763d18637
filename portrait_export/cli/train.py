"""`portrait-export train`: train a model as a TOML file describes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from . import options

if TYPE_CHECKING:
    from ..training.config import TrainConfig
    from ..training.start import Start


@click.command()
@click.argument("config", type=options.File())
@click.option("--fresh", is_flag=True, help="Start over and replace the output folder's contents instead of resuming.")
@click.option("--check", is_flag=True, help="Only check the configuration and every photo.")
@options.output_options(options.AS_JSON, options.QUIET)
def train(config: Path, fresh: bool, check: bool, console: options.Console) -> int:
    """Train a model as CONFIG describes, or resume an interrupted run. Needs the extra `train`.

    CONFIG is a TOML file, or the name of a configuration of this package: smoke, continue, or a model's with weights.
    More steps in its last phase, or further phases, prolong a finished run.

    \b
    Written to the output folder:
    best/         the checkpoint with the best IoU, for `--checkpoint`
    last.ckpt     the state for resuming
    log.csv, tensorboard/, pictures/
    """
    import sys

    from ..training.config import find_config, read_config
    from . import render

    if check and fresh:
        raise UsageError("--check trains nothing: it cannot be used with --fresh.")
    settings = read_config(find_config(config))
    require_extra()
    if check:
        from ..training.data import prepare

        split = prepare(settings)
        if console.as_json:
            render.result_json({"train": len(split.train), "val": len(split.val)})
            return 0
        render.result(f"{len(split.train)} photos to train on, {len(split.val)} to validate on, no problems.")
        return 0
    from ..training.fit import train as run

    def show(row: dict[str, float]) -> None:
        if not (console.quiet or console.as_json):
            render.message(
                f"  step {row['step']:>6.0f}/{settings.steps}  loss {row['loss']:.4f}  lr {row['lr']:.1e}"
                f"  IoU {row['iou']:.4f}  worst {row['iou_worst']:.3f}"
            )

    start, teacher = _start(settings), _teacher(settings)
    done = run(
        settings,
        start=start,
        teacher=teacher,
        resume=not fresh,
        progress_bar=sys.stderr.isatty() and not (console.quiet or console.as_json),
        on_row=show,
    )
    if not done.first_process:
        return 0
    if console.as_json:
        render.result_json(
            {
                "best": str(done.best),
                "iou": done.iou,
                "best_step": done.best_step,
                "steps": done.steps,
                "resumed_at": done.resumed_at,
            }
        )
    else:
        resumed = f", resumed at step {done.resumed_at}" if done.resumed_at else ""
        best = f"the best of {done.steps} steps"
        if done.best_step is not None:
            best = f"best at step {done.best_step} of {done.steps}"
        render.result(f"{done.best}: mean IoU {done.iou:.4f}, {best}{resumed}")
    return 0


def require_extra() -> None:
    """Raise UsageError if the packages of the extra `train` are not installed."""
    from importlib.util import find_spec

    from ..utils.extras import install

    missing = [name for name in ("lightning", "kornia", "tensorboard") if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"Training needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed.",
            code="missing-extra",
            hint=f"{install('train')}.",
        )


def _start(settings: TrainConfig) -> Start | None:
    """Return what `init` names, or None."""
    if not settings.init:
        return None
    from ..capture.checkpoint.tensors import read_tensors
    from ..inputs.sources import ModelSource, load_registered
    from ..models.efficientnet_weights import is_published_lite, packaged_lite
    from ..training.config import IMAGENET
    from ..training.start import Start

    if settings.init == IMAGENET:
        return Start(packaged_lite())
    file = Path(settings.init)
    if file.is_file():
        tensors = read_tensors(file)
        if is_published_lite(tensors):
            return Start(tensors)
    return Start.of(load_registered(_source(settings.init, ModelSource)).module)


def _teacher(settings: TrainConfig) -> Any:
    """Return a network that takes an image in 0..1 and gives logits about the person, or None."""
    if not settings.teacher:
        return None
    from ..inputs.sources import ModelSource, load_registered
    from ..training.fit import normalised

    loaded = load_registered(_source(settings.teacher, ModelSource))
    spec = loaded.spec
    if "depth" in spec.inputs or spec.positive != "person" or spec.color != "rgb":
        raise UsageError(f"teacher `{settings.teacher}` must take an RGB image alone and give logits about the person.")
    unit = 255 * spec.scale  # mean and std in units of 0..1
    return normalised(loaded.module, [m / unit for m in spec.mean], [s / unit for s in spec.std])


def _source(name: str, source: Any) -> Any:
    """Return the source for a registered model's name or the path of a checkpoint."""
    from ..models.registry import list_models

    return source(model=name) if name in list_models() else source(checkpoint=Path(name))
