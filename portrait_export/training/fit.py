"""A TrainConfig in, a checkpoint folder out: the loop, on Lightning, that a kill can interrupt at any moment."""

from __future__ import annotations

import copy
import csv
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..calibration.dataset import Item
from ..errors import CheckpointError, TrainingError
from ..models.config_json import config_to_json
from ..models.efficientnet_fpn import EfficientNetFPN
from ..models.efficientnet_weights import is_published_lite, load_published_lite
from ..models.grow import grow
from ..models.registry import ModelSpec, build_net, model_spec
from ..models.weights_io import backbone_name, load_into, to_store
from ..utils.files import write_bytes, write_json
from ..utils.quiet import mute
from . import losses
from .augment import Augment, seeded
from .config import TrainConfig
from .data import Crops, Order, Picks, Split, Whole, prepare, source_of
from .pictures import prediction_sheet
from .speed import quicken_convolutions

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import Callback

LAST = "last.ckpt"  # everything that a resumed run needs
BEST = "best"  # a checkpoint folder, as `--checkpoint` takes it
LOG = "log.csv"
HAZE = (0.1, 0.9)  # P(person) between these is doubt
FALSE_PERSON = 0.01  # of a picture without people: more called person is a mistake that people see
# Streams of random numbers, kept apart by a number of their own: (seed, stream, step, process).
AUGMENTING, DROPPING = 1, 2


@dataclass(frozen=True)
class Trained:
    """What a run left behind.

    Attributes:
        best: the checkpoint folder of the validation's best moment.
        iou: mean IoU over the validation photographs then.
        iou_first: the same at the run's first validation.
        steps: optimizer steps done.
        resumed_at: the step at which this call took up an interrupted run, or 0.
        first_process: of several that trained together, this is the one that speaks.
    """

    best: Path
    iou: float
    iou_first: float
    steps: int
    resumed_at: int
    first_process: bool


def train(
    config: TrainConfig,
    *,
    start: Mapping[str, Tensor] | None = None,
    teacher: nn.Module | None = None,
    resume: bool = True,
    progress_bar: bool = False,
    on_row: Callable[[dict[str, float]], None] = lambda row: None,
    callbacks: list[Callback] | None = None,
) -> Trained:
    """Train a model, or take up an interrupted run in the same folder.

    Every random draw is a function of the seed and the step, and the state is written whole after each validation, so
    a resumed run goes the way that the unbroken one would have gone.

    Args:
        start: tensors to start from (see `start_from`), as `config.init` names them; the caller has read them.
        teacher: (N, 3, H, W) in 0..1 → logits about the person; for `loss.distill`.
        resume: False starts anew, over what the folder holds.
        on_row: called after each validation with what is logged.
        callbacks: further Lightning callbacks.
    Raises:
        DataError: all that is wrong with the photographs, before anything else happens.
        CheckpointError: `start` does not fit.
        TrainingError: the run diverged, a process of it died, or the folder holds a run with another configuration.
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
    _claim_folder(out, config, resuming)
    run = Run(config, spec, split, teacher=teacher, on_row=on_row)
    if start is not None and not resuming:
        start_from(run.net, start, source=config.init)
        run.average.load_state_dict(run.net.state_dict())
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
        **launched(os.environ, several_optimizers=run.critic is not None),
    )
    try:
        trainer.fit(run, ckpt_path=str(state) if resuming else None, weights_only=True)
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise TrainingError(
            "A process that cuts photographs for the training died: it was killed, or ran out of memory.",
            context=[str(error)],
            hint="take fewer `workers` or less `memory`; the same command goes on from the last validation.",
        ) from error
    if trainer.interrupted:
        raise KeyboardInterrupt
    numbers = (float(run.best_iou), float(run.first_iou), int(run.step), int(run.resumed_at))
    return Trained(out / BEST, *numbers, first_process=trainer.is_global_zero)


def launched(environment: Mapping[str, str], *, several_optimizers: bool) -> dict[str, Any]:
    """What Lightning's Trainer must be told of the processes that `torchrun` has started; nothing without it.

    A phase's batch is each process's; they train on different photographs and average their gradients.

    Args:
        environment: WORLD_SIZE processes in all, LOCAL_WORLD_SIZE on each machine.
        several_optimizers: one step does not reach all parameters in one backward pass.
    """
    world = int(environment.get("WORLD_SIZE", "1"))
    here = int(environment.get("LOCAL_WORLD_SIZE", world))
    strategy = "ddp_find_unused_parameters_true" if several_optimizers else "ddp"
    if world > 1:
        return {"devices": here, "num_nodes": world // here, "strategy": strategy}
    return {"strategy": strategy} if torch.cuda.device_count() > 1 else {}


class Run(lightning.LightningModule):
    """One run's network, its moving average, its critic, and what happens at each step.

    An "epoch" of Lightning's is the stretch between two validations.
    """

    step: Tensor
    mean: Tensor
    std: Tensor
    best_iou: Tensor
    first_iou: Tensor

    def __init__(
        self,
        config: TrainConfig,
        spec: ModelSpec,
        split: Split,
        *,
        teacher: nn.Module | None = None,
        on_row: Callable[[dict[str, float]], None] = lambda row: None,
    ):
        super().__init__()
        self.automatic_optimization = False  # the critic is a second optimizer
        self.config, self.spec, self.split, self.on_row = config, spec, split, on_row
        self.net = build_net(spec, seed=config.seed)
        if precision(config) == "bf16-mixed" and not torch.cuda.is_available():
            quicken_convolutions(self.net)
        self.average = copy.deepcopy(self.net).eval().requires_grad_(False)
        self.critic = _seeded_critic(config.seed) if config.loss.critic else None
        self.augment = Augment(config.augment)
        self._teacher = [teacher.eval().requires_grad_(False)] if teacher is not None else []  # not in checkpoints
        self.register_buffer("step", torch.zeros((), dtype=torch.long))
        self.register_buffer("best_iou", torch.full((), -1.0))
        self.register_buffer("first_iou", torch.full((), -1.0))
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1), persistent=False)
        self.resumed_at = 0
        self.crops = Crops(split, config)
        self.order = Order(split.train, config.sources, config.seed)
        self._val_sources = [config.sources[source_of(item, config.sources) or 0].match for item in split.val]
        self._seen: list[Tensor] = []  # per validation photograph: what `measured` gives
        self._losses: list[float] = []

    # ---- what Lightning asks for --------------------------------------------------------------------------------

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        groups = parameter_groups(self.net, self.config)
        optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=self.config.optimizer.lr)]
        if self.critic is not None:
            optimizers.append(torch.optim.AdamW(self.critic.parameters(), lr=2e-4, betas=(0.5, 0.99)))
        return optimizers

    def train_dataloader(self) -> DataLoader:
        start = self.trainer.current_epoch * self.config.every
        picks = Picks(
            self.config,
            self.order,
            start=start,
            stop=min(start + self.config.every, self.config.steps),
            rank=self.trainer.global_rank,
            world=self.trainer.world_size,
        )
        if self.config.workers:
            self.crops.keep()
        return DataLoader(self.crops, batch_sampler=picks, num_workers=self.config.workers)

    def val_dataloader(self) -> DataLoader:
        # One size for the whole run, so that the best moment is chosen fairly; all processes see all photographs.
        side = self.config.phases[-1].size
        return DataLoader(Whole(self.split.val, (side, side)), batch_size=4)

    def on_train_start(self) -> None:
        self.resumed_at = int(self.step)
        for teacher in self._teacher:
            teacher.to(self.device)

    def on_train_epoch_start(self) -> None:
        self.net.train()
        self.average.eval()

    def training_step(self, batch: dict[str, Tensor], _index: int) -> None:
        step, rank = int(self.step), self.trainer.global_rank
        batch = {**batch, "image": batch["image"].float() / 255}
        batch = self.augment(batch, (self.config.seed, AUGMENTING, step, rank))
        optimizers = self.optimizers()
        optimizer, *rest = optimizers if isinstance(optimizers, list) else [optimizers]
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(self.config, step) * group["factor"]
        with seeded((self.config.seed, DROPPING, step, rank), self.device):
            parts, probability = self._losses_of(batch)
        total = torch.stack(list(parts.values())).sum()
        if not torch.isfinite(total):
            raise TrainingError(
                f"The loss is {total.item()} at step {step + 1}: the run has diverged.",
                context=[f"{name}: {value.item()}" for name, value in parts.items()],
                hint="lower optimizer.lr, or take precision 32-true; the state of the last validation is kept.",
            )
        optimizer.zero_grad()
        self.manual_backward(total)
        nn.utils.clip_grad_norm_(self.net.parameters(), self.config.optimizer.clip)
        optimizer.step()
        if self.critic is not None:
            self._teach_critic(rest[0], batch, probability.detach())
        self._follow(step)
        self.step += 1
        self._losses.append(total.item())
        self.log("loss", total.detach(), prog_bar=True)

    def validation_step(self, batch: dict[str, Tensor], _index: int) -> None:
        logits = losses.at_size(self._forward(self.average, batch["image"].float() / 255, batch), _size(batch["mask"]))
        self._seen.append(measured(logits, batch["mask"]))

    def on_validation_epoch_end(self) -> None:
        seen, self._seen = torch.cat(self._seen), []
        row = {
            "step": int(self.step),
            "loss": _mean(self._losses),
            "lr": learning_rate(self.config, int(self.step) - 1),
        }
        row |= validation_numbers(seen, self._val_sources)
        self._losses = []
        self.log_dict({name: float(value) for name, value in row.items() if name not in ("step", "loss")})
        if self.first_iou < 0:
            self.first_iou.fill_(row["iou"])
        if row["iou"] > self.best_iou:
            self.best_iou.fill_(row["iou"])
            if self.trainer.is_global_zero:
                save_checkpoint(self.average, self.spec, Path(self.config.out) / BEST)
        if self.trainer.is_global_zero:
            append_row(Path(self.config.out) / LOG, row)
            self._show_pictures()
            self.on_row(row)

    # ---- the step, part by part ---------------------------------------------------------------------------------

    def _forward(self, net: nn.Module, image: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        normal = ((image - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        logits: Tensor = net(normal, batch["depth"]) if "depth" in self.spec.inputs else net(normal)
        return logits.float()

    def _losses_of(self, batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """Each loss that has a share, weighted, and P(person) at the labels' size."""
        share, image, mask, trust = self.config.loss, batch["image"], batch["mask"], batch["trust"]
        logits = losses.at_size(self._forward(self.net, image, batch), _size(mask))
        probability = torch.sigmoid(logits)
        parts = {}
        if share.bce:
            parts["bce"] = share.bce * losses.bce(logits, mask, trust)
        if share.dice:
            parts["dice"] = share.dice * losses.dice(probability, mask, trust)
        if share.firm:
            parts["firm"] = share.firm * losses.firm(probability, mask)
        if share.crf:
            parts["crf"] = share.crf * losses.crf(probability, image)
        if share.distill:
            parts["distill"] = share.distill * losses.bce(
                logits, self._taught(image, _size(mask)), torch.ones_like(mask)
            )
        if self.critic is not None:
            with _frozen(self.critic):
                parts["critic"] = share.critic * losses.adversarial_loss(self.critic(image, probability).float())
        return parts, probability

    @torch.no_grad()
    def _taught(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        if not self._teacher:
            raise TrainingError("loss.distill has a share, but no teacher was given.")
        return torch.sigmoid(losses.at_size(self._teacher[0](image).float(), size))

    def _teach_critic(self, optimizer: Any, batch: dict[str, Tensor], predicted: Tensor) -> None:
        assert self.critic is not None
        loss = losses.critic_loss(
            self.critic(batch["image"], batch["mask"]).float(), self.critic(batch["image"], predicted).float()
        )
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    @torch.no_grad()
    def _follow(self, step: int) -> None:
        """Move the average towards the network. It moves faster at first, when there is nothing worth averaging."""
        keep = min(self.config.average, (1 + step) / (10 + step))
        for kept, new in zip(self.average.parameters(), self.net.parameters(), strict=True):
            kept.lerp_(new.detach(), 1 - keep)
        for stored, seen in zip(self.average.buffers(), self.net.buffers(), strict=True):
            # BatchNorm's statistics belong to the averaged weights, and are averaged with them.
            stored.lerp_(seen, 1 - keep) if stored.is_floating_point() else stored.copy_(seen)

    @torch.no_grad()
    def _show_pictures(self) -> None:
        places = Whole(self.split.val[: self.config.pictures], (self.config.phases[-1].size,) * 2)
        shown = []
        for i in range(len(places)):
            batch = {name: tensor[None].to(self.device) for name, tensor in places[i].items()}
            image = batch["image"].float() / 255
            logits = losses.at_size(self._forward(self.average, image, batch), _size(image))
            shown.append((image[0].cpu(), batch["mask"][0].cpu(), torch.sigmoid(logits)[0].cpu()))
        if shown:
            png, pixels = prediction_sheet(shown)
            write_bytes(Path(self.config.out) / "pictures" / f"{int(self.step):07d}.png", png, force=True)
            self.logger.experiment.add_image("val", pixels, int(self.step), dataformats="HWC")  # type: ignore[union-attr]


# ---- numbers ----------------------------------------------------------------------------------------------------


def learning_rate(config: TrainConfig, step: int) -> float:
    """lr · min(1, (step+1)/warmup) · (1 − step/steps)^power."""
    warm = min(1.0, (step + 1) / max(1, config.optimizer.warmup))
    left = max(0.0, 1 - step / max(1, config.steps))
    return float(config.optimizer.lr * warm * left**config.optimizer.power)


def parameter_groups(net: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """AdamW's groups: matrices decay, norms and biases do not; the encoder's learning rate has a factor of its own."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        key = ("encoder." in name, parameter.dim() > 1)
        groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": config.optimizer.weight_decay if decays else 0.0,
            "factor": config.optimizer.encoder if of_encoder else 1.0,
        }
        for (of_encoder, decays), parameters in groups.items()
    ]


def precision(config: TrainConfig) -> str:
    """The precision of the arithmetic, in Lightning's names. Emulated bfloat16 is ten times slower than float32."""
    if config.precision != "auto":
        return config.precision
    native = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16-mixed" if native or torch.cpu._is_avx512_bf16_supported() else "32-true"


def measured(logits: Tensor, mask: Tensor) -> Tensor:
    """(N, 4): per image, the shares of pixels that are person in both, in either, in the prediction, and in doubt."""
    predicted, drawn, probability = logits > 0, mask >= 0.5, torch.sigmoid(logits)
    doubt = (probability > HAZE[0]) & (probability < HAZE[1])
    return torch.stack([x.float().mean((1, 2, 3)) for x in (predicted & drawn, predicted | drawn, predicted, doubt)], 1)


def validation_numbers(seen: Tensor, sources: Sequence[str]) -> dict[str, float]:
    """What is logged after a validation.

    A photograph's score is its IoU; where nobody is drawn, 1 if at most FALSE_PERSON of it is called person, else 0.

    Args:
        seen: (N, 4) of `measured`.
        sources: the source of each photograph.
    Returns:
        iou: the mean over sources of each one's mean score, by which the best moment is chosen; iou_worst: the lowest
        score; iou_set: all pixels counted together; haze: share of pixels in doubt; false_person: share of the
        photographs of nobody with a person in them; and each source's score under its pattern, if there are several.
    """
    shared, either, predicted, doubt = seen.double().unbind(1)
    empty = either <= predicted  # nothing is drawn outside the prediction ...
    empty &= shared == 0  # ... nor inside
    quiet = predicted <= FALSE_PERSON
    score = torch.where(empty, quiet.double(), shared / either.clamp(min=1e-12))
    means = {name: float(score[[s == name for s in sources]].mean()) for name in dict.fromkeys(sources)}
    total = float(either.sum())
    return {
        "iou": sum(means.values()) / len(means),
        "iou_worst": float(score.min()),
        "iou_set": float(shared.sum()) / total if total else 1.0,
        "haze": float(doubt.mean()),
        "false_person": float((~quiet[empty]).double().mean()) if empty.any() else 0.0,
        **(means if len(means) > 1 else {}),
    }


def _size(x: Tensor) -> tuple[int, int]:
    return int(x.shape[-2]), int(x.shape[-1])


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


# ---- weights ----------------------------------------------------------------------------------------------------


def start_from(net: nn.Module, state: Mapping[str, Tensor], *, source: str) -> list[str]:
    """Put a checkpoint's tensors into a network: all of them where it is the same network, else those that fit.

    Args:
        state: under our names. Of another model, its encoder must fit: a SERSeg starts from a SegFormer, and as one
            (see `models.grow`); an EfficientNet-Lite network starts from the published ImageNet weights, too.
    Returns:
        The names of the tensors that stayed random.
    Raises:
        CheckpointError: not even the encoder fits.
    """
    if set(net.state_dict()) == set(state):
        load_into(net, state, source=source)
        return []
    if is_published_lite(state) and isinstance(net, EfficientNetFPN):
        return load_published_lite(net, state, source=source)
    if backbone_name(net) is None:
        raise CheckpointError(f"{source} is not of this network, and this network has no encoder to start from it.")
    return grow(net, state, source=source)


def normalised(net: nn.Module, mean: Sequence[float], std: Sequence[float]) -> nn.Module:
    """The network behind its own normalisation: it takes images (N, 3, H, W) in 0..1, as a teacher does."""
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


def save_checkpoint(net: nn.Module, spec: ModelSpec, folder: Path, *, half: bool = False) -> None:
    """Write a folder with config.json and model.safetensors, as `--checkpoint` takes it; each file appears whole.

    Args:
        half: store float16, as the weights that come with this package are stored.
    """
    from safetensors.torch import save

    write_json(folder / "config.json", config_to_json(spec.config))
    write_bytes(folder / "model.safetensors", save(to_store(net.state_dict(), half=half)), force=True)


# ---- the folder -------------------------------------------------------------------------------------------------


def append_row(path: Path, row: Mapping[str, float]) -> None:
    """Add a row to a CSV file, after dropping the rows that a killed run wrote at or behind this step."""
    rows: list[dict[str, Any]] = []
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            rows = [old for old in csv.DictReader(file) if float(old["step"]) < row["step"]]
    lines = [",".join(row), *(",".join(str(line[name]) for name in row) for line in [*rows, row])]
    write_bytes(path, ("\n".join(lines) + "\n").encode(), force=True)


def _claim_folder(out: Path, config: TrainConfig, resuming: bool) -> None:
    """Write the configuration down; refuse to resume a run that had another one."""
    from dataclasses import asdict

    path = out / "config.json"
    told = json.loads(json.dumps(asdict(config)))
    if resuming and path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        changed = [
            f"{k}: was {before.get(k)!r}, is {told.get(k)!r}"
            for k in sorted({*before, *told})
            if before.get(k) != told.get(k)
        ]
        if changed:
            raise TrainingError(
                f"{out} holds a run with another configuration; going on would mix the two.",
                context=changed,
                hint="give another `out`, restore these settings, or start anew with `fresh=True`.",
            )
    write_json(path, told)
    if not resuming:
        (out / LOG).unlink(missing_ok=True)


def _check_depth(spec: ModelSpec, split: Split) -> None:
    without = [item for item in (*split.train, *split.val) if "depth" in spec.inputs and item.depth is None]
    if without:
        raise TrainingError(
            f"Model `{spec.name}` takes depth maps; {len(without)} photographs have none.",
            context=[_place(item) for item in without[:20]],
            hint="put 16-bit gray PNGs of the photographs' names into a folder `depth` beside `images`.",
        )


def _place(item: Item) -> str:
    return str(item.image)


def _seeded_critic(seed: int) -> losses.Critic:
    with seeded((seed, 0), torch.device("cpu")):
        return losses.Critic()


class _frozen:
    """Within it, a network's own parameters gather no gradient, while gradients pass through it."""

    def __init__(self, net: nn.Module):
        self.net = net

    def __enter__(self) -> None:
        self.net.requires_grad_(False)

    def __exit__(self, *_: object) -> None:
        self.net.requires_grad_(True)
