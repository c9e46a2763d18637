"""Train a model on Lightning; a killed run can be resumed to the same result."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as lightning
import torch
from torch import Tensor, nn

from ..errors import TrainingError
from ..models.registry import model_spec
from ..models.spec import ModelSpec
from ..utils.quiet import mute
from .config import TrainConfig
from .data import Split, prepare
from .folder import BEST, LAST, claim
from .run import UNKNOWN_STEP, Run, precision
from .start import Start, start_from

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import Callback


@dataclass(frozen=True)
class Trained:
    """The result of a run.

    Attributes:
        best: the checkpoint folder of the validation's best moment.
        iou: mean IoU over the validation photographs then.
        best_step: how many steps were done then; None in a run that an earlier version began and that has no better
            moment since.
        iou_first: the same at the run's first validation.
        steps: optimizer steps done.
        resumed_at: the step at which this call resumed an interrupted run, or 0.
        first_process: whether this process, of several that trained together, is the one that reports.
    """

    best: Path
    iou: float
    best_step: int | None
    iou_first: float
    steps: int
    resumed_at: int
    first_process: bool


def train(
    config: TrainConfig,
    *,
    start: Start | None = None,
    teacher: nn.Module | None = None,
    resume: bool = True,
    progress_bar: bool = False,
    on_row: Callable[[dict[str, float]], None] = lambda row: None,
    callbacks: list[Callback] | None = None,
) -> Trained:
    """Train a model, or resume an interrupted run in the same folder.

    Every random draw is a function of the seed and the step, and the state is written whole after each validation, so
    a resumed run gives the same weights as an uninterrupted one.

    Args:
        start: what `config.init` names; the caller has read it.
        teacher: (N, 3, H, W) in 0..1 → logits about the person; for `loss.distill`.
        resume: False starts over and overwrites what is in the folder.
        on_row: called after each validation with the row that is logged.
        callbacks: further Lightning callbacks.
    Raises:
        DataError: everything that is wrong with the photographs; raised before anything else happens.
        CheckpointError: `start` does not fit.
        TrainingError: the run diverged, a process of it died, or the folder holds a run with another configuration.
        KeyboardInterrupt: it was interrupted; the text says how to go on.
    """
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.loggers import TensorBoardLogger

    # Lightning's advice and advertisements are not for our users.
    mute("lightning.pytorch", "lightning.fabric", modules=("lightning",), messages=(".*`LeafSpec`.*",))
    spec = model_spec(config.model)
    split = prepare(config)
    _check_depth(spec, split)
    out = Path(config.out)
    state = out / LAST
    resuming = resume and state.is_file()
    claim(out, config, resuming)
    run = Run(config, spec, split, teacher=teacher, on_row=on_row)
    if start is not None and not resuming:
        start_from(run.net, start, source=config.init)
        run.average.load_state_dict(run.net.state_dict())
    deterministic = torch.are_deterministic_algorithms_enabled()  # Lightning changes it for the whole process
    trainer = lightning.Trainer(
        accelerator="auto",
        precision=precision(config),  # type: ignore[arg-type]
        max_epochs=-(-config.steps // config.every),
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        logger=TensorBoardLogger(str(out), name="tensorboard", version=""),
        callbacks=[
            ModelCheckpoint(dirpath=out, filename="last", save_on_train_epoch_end=True, enable_version_counter=False),
            *(callbacks or []),
        ],
        deterministic=config.deterministic,
        enable_progress_bar=progress_bar,
        enable_model_summary=False,
        log_every_n_steps=10,
        default_root_dir=str(out),
        **launched(os.environ, some_unused=any(part is not None for part in (run.critic, run.graft, run.head))),
    )
    try:
        with _interruptible(trainer, state, "" if resume else " without `fresh=True`"):
            trainer.fit(run, ckpt_path=str(state) if resuming else None, weights_only=True)
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise TrainingError(
            "A process that prepares photographs for the training died: it was killed or ran out of memory.",
            context=[str(error)],
            hint="lower `workers` or `memory`; the same command resumes at the last validation.",
        ) from error
    finally:
        torch.use_deterministic_algorithms(deterministic)
    return Trained(
        best=out / BEST,
        iou=float(run.best_iou),
        best_step=None if run.best_step == UNKNOWN_STEP else int(run.best_step),
        iou_first=float(run.first_iou),
        steps=int(run.step),
        resumed_at=int(run.resumed_at),
        first_process=trainer.is_global_zero,
    )


@contextlib.contextmanager
def _interruptible(trainer: lightning.Trainer, state: Path, how: str) -> Iterator[None]:
    """Raise the KeyboardInterrupt that Lightning swallows: it ignores SIGINT from then on, and exits or returns.

    Args:
        state: the file that the run is resumed from, once it is there.
        how: how the command must be changed then; empty if it need not be.
    """
    before = signal.getsignal(signal.SIGINT)
    swallowed = False
    try:
        yield
        swallowed = trainer.interrupted  # older versions return
    except SystemExit as error:
        swallowed = isinstance(error.__context__, KeyboardInterrupt)
        if not swallowed:
            raise
    finally:
        if threading.current_thread() is threading.main_thread() and before is not None:
            signal.signal(signal.SIGINT, before)
    if swallowed:
        text = f"the same command{how} resumes at the last validation" if state.is_file() else ""
        raise KeyboardInterrupt(text)


def launched(environment: Mapping[str, str], *, some_unused: bool) -> dict[str, Any]:
    """The Trainer arguments for the processes that `torchrun` started; empty for a single process.

    Each process takes a whole batch of its own photographs; gradients are averaged over the processes.

    Args:
        environment: WORLD_SIZE, the number of processes; LOCAL_WORLD_SIZE, of those on this machine.
        some_unused: a backward pass does not reach every parameter.
    """
    world = int(environment.get("WORLD_SIZE", "1"))
    here = int(environment.get("LOCAL_WORLD_SIZE", world))
    strategy = "ddp_find_unused_parameters_true" if some_unused else "ddp"
    if world > 1:
        return {"devices": here, "num_nodes": world // here, "strategy": strategy}
    return {"strategy": strategy} if torch.cuda.device_count() > 1 else {}


def normalised(net: nn.Module, mean: Sequence[float], std: Sequence[float]) -> nn.Module:
    """Put the normalisation before the network, so that it takes images (N, 3, H, W) in 0..1, as a teacher does."""
    return _Normalised(net, mean, std)


class _Normalised(nn.Module):
    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        return self.net((image - self.mean) / self.std)


def _check_depth(spec: ModelSpec, split: Split) -> None:
    without = [item for item in (*split.train, *split.val) if "depth" in spec.inputs and item.depth is None]
    if without:
        raise TrainingError(
            f"Model `{spec.name}` takes depth maps; {len(without)} photographs have none.",
            context=[str(item.image) for item in without[:20]],
            hint="put 16-bit gray PNGs of the photographs' names into a folder `depth` next to `images`.",
        )
