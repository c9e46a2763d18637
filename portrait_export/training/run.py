"""Run the steps of a training: losses, optimizers, the moving average, validations."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..errors import TrainingError
from ..models.blocks.mix_transformer import DropPath
from ..models.registry import build_net
from ..models.spec import ModelSpec
from ..utils.evenly import evenly
from ..utils.files import write_bytes
from . import losses
from .augment import Augment, seeded
from .config import TrainConfig
from .data import Crops, Order, Picks, Split, Whole, source_of
from .features import FeatureLoss, encoder_of
from .folder import BEST, LOG, append_row, save_checkpoint
from .graft import Graft
from .head import LinearHead
from .optimizers import learning_rate, optimizers_for
from .pictures import prediction_sheet
from .speed import quicken_convolutions, without_norms
from .validation import measured, validation_numbers

# Independent streams of random numbers are seeded with (seed, stream, step, process).
AUGMENTING, DROPPING = 1, 2
UNKNOWN_STEP = -1  # of the best moment, in a state that was written without it


class Run(lightning.LightningModule):
    """A run's network, its moving average and critic, and what happens at each step.

    One of Lightning's epochs spans the steps between two validations.
    """

    step: Tensor
    mean: Tensor
    std: Tensor
    best_iou: Tensor
    best_step: Tensor
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
        if not config.dropout:
            _turn_off_dropout(self.net)
        for name in ("distill", "features"):
            if getattr(config.loss, name) and teacher is None:
                raise TrainingError(f"loss.{name} is above 0, but no teacher was given.")
        self._teacher = [without_norms(teacher)] if teacher is not None else []  # in a list, to stay out of checkpoints
        if precision(config) == "bf16-mixed" and not torch.cuda.is_available():
            quicken_convolutions(self.net)
        self.average = copy.deepcopy(self.net).eval().requires_grad_(False)
        self.critic = _seeded_critic(config.seed) if config.loss.critic else None
        self.augment = Augment(config.augment)
        features = config.loss.features > 0
        self.features = FeatureLoss(self.net, self._teacher[0], seed=config.seed) if features else None
        self.graft = Graft(self.net, self.features, seed=config.seed) if self.features and config.grafts else None
        self.head = LinearHead(self.net, spec, seed=config.seed) if config.warms_up else None
        self._norms = _batch_norms(encoder_of(self.net, "the model"), spec.name) if config.freezes else []
        self.register_buffer("step", torch.zeros((), dtype=torch.long))
        self.register_buffer("best_iou", torch.full((), -1.0))
        self.register_buffer("best_step", torch.full((), UNKNOWN_STEP, dtype=torch.long))
        self.register_buffer("first_iou", torch.full((), -1.0))
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1), persistent=False)
        self.resumed_at = 0
        self.crops = Crops(split, config)
        self.order = Order(split.train, config.sources, config.seed)
        self._val_sources = [config.sources[source_of(item, config.sources) or 0].match for item in split.val]
        self._seen: list[Tensor] = []  # per validation photograph: what `measured` gives
        self._losses: list[float] = []

    # ---- what Lightning calls --------------------------------------------------------------------------------

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        optimizers = optimizers_for(self.net, self.config, self._linear_maps())
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
        # One size for the whole run, so that scores are comparable; every process validates on all photographs.
        side = self.config.phases[-1].size
        return DataLoader(Whole(self.split.val, (side, side)), batch_size=4)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"].setdefault("best_step", torch.tensor(UNKNOWN_STEP))  # added after the first states

    def on_train_start(self) -> None:
        self.resumed_at = int(self.step)
        for teacher in self._teacher:
            teacher.to(self.device)

    def on_train_epoch_start(self) -> None:
        self.net.train()
        self.average.eval()

    def training_step(self, batch: dict[str, Tensor], _index: int) -> None:
        step, rank = int(self.step), self.trainer.global_rank
        for norm in self._norms:
            norm.train(not self.config.phase_at(step).frozen_norms)
        batch = {**batch, "image": batch["image"].float() / 255}
        batch = self.augment(batch, (self.config.seed, AUGMENTING, step, rank))
        found = self.optimizers()
        optimizers = [*found] if isinstance(found, list) else [found]
        of_critic = optimizers.pop() if self.critic is not None else None
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = learning_rate(self.config, step) * group["factor"]
        with seeded((self.config.seed, DROPPING, step, rank), self.device):
            parts, probability = self._losses_of(batch)
        total = torch.stack(list(parts.values())).sum()
        if not torch.isfinite(total):
            raise TrainingError(
                f"The loss is {total.item()} at step {step + 1}: the run has diverged.",
                context=[f"{name}: {value.item()}" for name, value in parts.items()],
                hint="lower optimizer.lr, or set precision 32-true; the state of the last validation is kept.",
            )
        for optimizer in optimizers:
            optimizer.zero_grad()
        self.manual_backward(total)
        nn.utils.clip_grad_norm_(self.net.parameters(), self.config.optimizer.clip)
        for optimizer in optimizers:
            optimizer.step()
        if of_critic is not None:
            self._teach_critic(of_critic, batch, probability.detach())
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
        if row["iou"] > self.best_iou and not self.config.phase_at(int(self.step)).encoder_only:
            self.best_iou.fill_(row["iou"])
            self.best_step.copy_(self.step)
            if self.trainer.is_global_zero:
                save_checkpoint(self.average, self.spec, Path(self.config.out) / BEST)
        if self.trainer.is_global_zero:
            append_row(Path(self.config.out) / LOG, row)
            self._show_pictures()
            self.on_row(row)

    # ---- the parts of a step ---------------------------------------------------------------------------------

    def _forward(self, net: nn.Module, image: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        normal = ((image - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        if self.head is not None and self.config.phase_at(int(self.step)).encoder_only:
            return self.head(net, normal).float()
        logits: Tensor = net(normal, batch["depth"]) if "depth" in self.spec.inputs else net(normal)
        return logits.float()

    def _losses_of(self, batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """The losses whose share is not 0, weighted, and P(person) at the labels' size."""
        share, image, mask, trust = self.config.loss, batch["image"], batch["mask"], batch["trust"]
        taught = self._taught(image, _size(mask)) if share.distill or share.features else mask
        with self._grafted(image.shape[-1]):
            logits = losses.at_size(self._forward(self.net, image, batch), _size(mask))
        probability = torch.sigmoid(logits)
        parts = {}
        if share.bce:
            parts["bce"] = share.bce * losses.bce(logits, mask, trust)
        if share.dice:
            parts["dice"] = share.dice * losses.dice(probability, mask, trust)
        if share.firm:
            parts["firm"] = share.firm * losses.firm(probability, mask, trust)
        if share.crf:
            parts["crf"] = share.crf * losses.crf(probability, image)
        if share.distill:
            parts["distill"] = share.distill * losses.bce(logits, taught, torch.ones_like(mask))
        if self.features is not None:
            if self.step == 0:
                self._fit_linear_maps(self.features, image.shape[-1])
            parts["features"] = share.features * self.features(image.shape[-1])
        if self.critic is not None:
            with _frozen(self.critic):
                parts["critic"] = share.critic * losses.adversarial_loss(self.critic(image, probability).float())
        return parts, probability

    @torch.no_grad()
    def _taught(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        return torch.sigmoid(losses.at_size(self._teacher[0](image).float(), size))

    def _grafted(self, side: int) -> AbstractContextManager[None]:
        """Where stages read the teacher's maps; not at the first step, on which the linear maps are fitted."""
        share = self.config.phase_at(int(self.step)).graft if self.step > 0 else 0.0
        if self.graft is None or self.features is None or not share:
            return nullcontext()
        return self.graft.reading(self.features.told(side), share)

    def _linear_maps(self) -> list[nn.Parameter]:
        """The parameters of the linear maps that are not the network's: between the two encoders, and of the head."""
        parts = (self.features, self.graft, self.head)
        return [parameter for part in parts if part is not None for parameter in part.parameters()]

    @torch.no_grad()
    def _fit_linear_maps(self, features: FeatureLoss, side: int) -> None:
        """Fit those between the two encoders; of several processes, all take what the first one fitted."""
        features.fit(side)
        fitted = [*features.parameters()]
        if self.graft is not None:
            self.graft.fit(features, side)
            fitted += self.graft.parameters()
        for parameter in fitted:
            parameter.copy_(self.trainer.strategy.broadcast(parameter.detach().clone()))

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
        """Move the average towards the network: faster in the first steps, when there is little worth averaging."""
        keep = min(self.config.average, (1 + step) / (10 + step))
        for kept, new in zip(self.average.parameters(), self.net.parameters(), strict=True):
            kept.lerp_(new.detach(), 1 - keep)
        for stored, seen in zip(self.average.buffers(), self.net.buffers(), strict=True):
            # BatchNorm's statistics belong to the averaged weights, and are averaged with them.
            stored.lerp_(seen, 1 - keep) if stored.is_floating_point() else stored.copy_(seen)

    @torch.no_grad()
    def _show_pictures(self) -> None:
        places = Whole(evenly(self.split.val, self.config.pictures), (self.config.phases[-1].size,) * 2)
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


def _batch_norms(encoder: nn.Module, model: str) -> list[nn.BatchNorm2d]:
    norms = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)]
    if not norms:
        raise TrainingError(
            f"frozen_norms keeps the statistics of batch norms, and the encoder of {model} has none.",
            hint="remove frozen_norms from the phases.",
        )
    return norms


def _turn_off_dropout(net: nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(module, DropPath):
            module.rate = 0.0


def precision(config: TrainConfig) -> str:
    """The precision of the arithmetic, in Lightning's names. Emulated bfloat16 is ten times slower than float32."""
    if config.precision != "auto":
        return config.precision
    native = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16-mixed" if native or torch.cpu._is_avx512_bf16_supported() else "32-true"


def _size(x: Tensor) -> tuple[int, int]:
    return int(x.shape[-2]), int(x.shape[-1])


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def _seeded_critic(seed: int) -> losses.Critic:
    with seeded((seed, 0), torch.device("cpu")):
        return losses.Critic()


class _frozen:
    """Inside the block a network's parameters get no gradients, but gradients pass through the network."""

    def __init__(self, net: nn.Module):
        self.net = net

    def __enter__(self) -> None:
        self.net.requires_grad_(False)

    def __exit__(self, *_: object) -> None:
        self.net.requires_grad_(True)
