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

    FitNets (Romero et al., ICLR 2015, section 2.2) at every stride that both encoders have. A teacher's channel is
    standardised over the batch, so the loss is the unexplained share of its variance: 1 for a student that knows
    nothing, 0 for one that knows all of it.

    It listens to the encoders: call it after both networks have run on the same images.

    Args:
        student, teacher: networks with one submodule named `encoder`, which gives a sequence of maps (N, C, h, w).
        seed: of the projections.
    Raises:
        TrainingError: a network has no such encoder, or the two have no stride in common.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, *, seed: int = 0):
        super().__init__()
        # In a list: the networks are not part of this module's state.
        self._heard = [_Listener(student, "the model"), _Listener(teacher, "the teacher")]
        channels = [_channels(net, listener) for net, listener in zip((student, teacher), self._heard, strict=True)]
        strides = sorted(channels[0].keys() & channels[1].keys())
        if not strides:
            of_model, of_teacher = (sorted(strides) for strides in channels)
            raise TrainingError(
                f"The model's encoder has maps at strides {of_model}, the teacher's at {of_teacher}.",
                hint="loss.features needs a stride in common; set it to 0.",
            )
        with seeded((seed, 0), torch.device("cpu")):
            self.projections = nn.ModuleDict(
                {str(stride): nn.Conv2d(channels[0][stride], channels[1][stride], 1) for stride in strides}
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
            known, wanted = (maps.detach().float().transpose(0, 1).flatten(1) for maps in (x, told))  # (C, M), (D, M)
            mean = known.mean(1, keepdim=True)
            with torch.autocast(x.device.type, enabled=False):  # covariances need more digits than bfloat16 has
                covariance = (known - mean) @ (known - mean).T / known.shape[1]
                covariance += RIDGE * covariance.diagonal().mean() * torch.eye(len(known), device=known.device)
                weight = torch.linalg.solve(covariance, (known - mean) @ wanted.T / known.shape[1]).T
                project.weight.copy_(weight[:, :, None, None])
                cast(Tensor, project.bias).copy_(-(weight @ mean)[:, 0])

    def _compared(self, side: int) -> Iterator[tuple[nn.Conv2d, Tensor, Tensor]]:
        """Per stride: the projection, the student's map, and the teacher's, standardised over the batch."""
        student, teacher = (by_stride(listener.maps, side) for listener in self._heard)
        for stride, project in self.projections.items():
            told = F.batch_norm(teacher[int(stride)].detach().float(), None, None, training=True)
            yield cast(nn.Conv2d, project), student[int(stride)], told


class _Listener:
    """Keeps what a network's encoder gave last."""

    def __init__(self, net: nn.Module, whose: str):
        encoders = [module for name, module in net.named_modules() if name.split(".")[-1] == "encoder"]
        if len(encoders) != 1:
            raise TrainingError(
                f"loss.features compares encoders, and {whose} has {len(encoders) or 'none'}.",
                hint="set loss.features to 0, or choose networks with one submodule named `encoder`.",
            )
        self.maps: Sequence[Tensor] = ()
        encoders[0].register_forward_hook(self._keep)

    def _keep(self, _module: nn.Module, _inputs: object, maps: Sequence[Tensor]) -> None:
        self.maps = maps


def by_stride(maps: Sequence[Tensor], side: int) -> dict[int, Tensor]:
    """The last map of each stride: {stride: (N, C, side / stride, side / stride)}."""
    return {round(side / x.shape[-1]): x for x in maps}


@torch.no_grad()
def _channels(net: nn.Module, listener: _Listener) -> dict[int, int]:
    """{stride: channels} of an encoder."""
    training = net.training
    net.eval()(torch.zeros(1, 3, PROBE, PROBE))
    net.train(training)
    return {stride: x.shape[1] for stride, x in by_stride(listener.maps, PROBE).items()}
