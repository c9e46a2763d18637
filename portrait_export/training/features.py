"""Teach an encoder the feature maps of another network's encoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import TrainingError
from .augment import seeded

RIDGE = 0.01  # of the mean variance of the student's channels, added to it when projections are fitted
PROBE = 64  # side of the picture that shows the maps' strides and channels


class FeatureLoss(nn.Module):
    """How much of the teacher's feature maps a linear map of the student's cannot explain.

    FitNets (Romero et al., ICLR 2015, section 2.2) at every stride that both encoders have. The teacher's maps that are
    deeper than all of the student's are compared with the student's deepest, averaged down to their size: a shallow
    encoder has to know on its last map what a deep one finds out later. A teacher's channel is standardised over the
    batch, so the loss is the unexplained share of its variance: 1 for a student that knows
    nothing, 0 for one that knows all of it.

    It listens to the encoders: call it after both networks have run on the same images.

    Args:
        student, teacher: networks with one submodule named `encoder`, which gives a sequence of maps (N, C, h, w).
        seed: of the projections.
    Attributes:
        channels, channels_told: {stride: channels} of the student's maps and of the teacher's.
    Raises:
        TrainingError: a network has no such encoder, or the two have no stride in common.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, *, seed: int = 0):
        super().__init__()
        # In a list: the networks are not part of this module's state.
        self._heard = [_Listener(student, "the model"), _Listener(teacher, "the teacher")]
        self.channels, self.channels_told = (
            _channels(net, listener) for net, listener in zip((student, teacher), self._heard, strict=True)
        )
        deepest = max(self.channels)
        strides = sorted(stride for stride in self.channels_told if stride in self.channels or stride > deepest)
        if not strides:
            of_model, of_teacher = sorted(self.channels), sorted(self.channels_told)
            raise TrainingError(
                f"The model's encoder has maps at strides {of_model}, the teacher's at {of_teacher}.",
                hint="loss.features needs a stride in common; set it to 0.",
            )
        with seeded((seed, 0), torch.device("cpu")):
            self.projections = nn.ModuleDict(
                {
                    str(stride): nn.Conv2d(self.channels[min(stride, deepest)], self.channels_told[stride], 1)
                    for stride in strides
                }
            )

    def forward(self, side: int) -> Tensor:
        """The mean over the strides. `side`: of the images that both networks have just seen, in pixels."""
        unexplained = [F.mse_loss(project(x).float(), told) for project, x, told in self._compared(side)]
        return torch.stack(unexplained).mean()

    @torch.no_grad()
    def fit(self, side: int) -> None:
        """Set the projections to those that explain the most on these images (ridge regression).

        From random ones, the first steps would spoil an encoder that knows something already.
        """
        for project, x, told in self._compared(side):
            set_to_ridge(project, x, told)

    def maps(self, side: int) -> dict[int, Tensor]:
        """The student's last maps, by stride."""
        return by_stride(self._heard[0].maps, side)

    def told(self, side: int) -> dict[str, Tensor]:
        """The teacher's last maps at the strides that are compared, standardised over the batch, float32."""
        maps = by_stride(self._heard[1].maps, side)
        return {s: F.batch_norm(maps[int(s)].detach().float(), None, None, training=True) for s in self.projections}

    def _compared(self, side: int) -> Iterator[tuple[nn.Conv2d, Tensor, Tensor]]:
        """Per stride: the projection, the student's map, and the teacher's."""
        maps = self.maps(side)
        for stride, told in self.told(side).items():
            nearest = min(int(stride), max(maps))
            x = F.avg_pool2d(maps[nearest], int(stride) // nearest)
            yield cast(nn.Conv2d, self.projections[stride]), x, told


@torch.no_grad()
def set_to_ridge(conv: nn.Module, known: Tensor, wanted: Tensor) -> None:
    """Set a 1×1 convolution to the ridge regression of one map on another: (N, C, h, w) → (N, D, h, w)."""
    assert isinstance(conv, nn.Conv2d)
    assert conv.bias is not None
    known, wanted = (maps.detach().float().transpose(0, 1).flatten(1) for maps in (known, wanted))  # (C, M), (D, M)
    means = known.mean(1, keepdim=True), wanted.mean(1, keepdim=True)
    known, wanted = known - means[0], wanted - means[1]
    with torch.autocast(known.device.type, enabled=False):  # covariances need more digits than bfloat16 has
        covariance = known @ known.T / known.shape[1]
        covariance += RIDGE * covariance.diagonal().mean() * torch.eye(len(known), device=known.device)
        weight = torch.linalg.solve(covariance, known @ wanted.T / known.shape[1]).T
        conv.weight.copy_(weight[:, :, None, None])
        conv.bias.copy_((means[1] - weight @ means[0])[:, 0])


class _Listener:
    """Keeps what a network's encoder gave last."""

    def __init__(self, net: nn.Module, whose: str):
        self.maps: Sequence[Tensor] = ()
        encoder_of(net, whose).register_forward_hook(self._keep)

    def _keep(self, _module: nn.Module, _inputs: object, maps: Sequence[Tensor]) -> None:
        self.maps = maps


def encoder_of(net: nn.Module, whose: str) -> nn.Module:
    """The submodule named `encoder`. Raises TrainingError: there is none, or several."""
    encoders = [module for name, module in net.named_modules() if name.split(".")[-1] == "encoder"]
    if len(encoders) != 1:
        raise TrainingError(
            f"loss.features, encoder_only and frozen_norms need one encoder; {whose} has {len(encoders) or 'none'}.",
            hint="switch them off, or choose networks with one submodule named `encoder`.",
        )
    return encoders[0]


def by_stride(maps: Sequence[Tensor], side: int) -> dict[int, Tensor]:
    """The last map of each stride: {stride: (N, C, side / stride, side / stride)}."""
    return {round(side / x.shape[-1]): x for x in maps}


@torch.no_grad()
def probe(net: nn.Module) -> None:
    """Run a network on a black picture of PROBE pixels a side, for whoever listens to its parts."""
    training = net.training
    net.eval()(torch.zeros(1, 3, PROBE, PROBE))
    net.train(training)


def _channels(net: nn.Module, listener: _Listener) -> dict[int, int]:
    """{stride: channels} of an encoder."""
    probe(net)
    return {stride: x.shape[1] for stride, x in by_stride(listener.maps, PROBE).items()}
