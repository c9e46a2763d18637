"""Give masks from an encoder alone, while it is trained without its decoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import TrainingError
from ..models.spec import ModelSpec
from .augment import seeded
from .features import PROBE, encoder_of


class LinearHead(nn.Module):
    """A 1×1 convolution in the decoder's place: image (N, 3, H, W) → logits (N, 1, h, w) at the deepest map's size.

    A decoder that computes at the image's size can cost ten times as much as its encoder; this one costs nothing.

    Args:
        net: it has one submodule named `encoder` that takes the image and gives a sequence of maps, the deepest last.
        spec: of the network.
        seed: of the head.
    Raises:
        TrainingError: the network has no such encoder.
    """

    def __init__(self, net: nn.Module, spec: ModelSpec, *, seed: int = 0):
        super().__init__()
        if "depth" in spec.inputs:
            raise TrainingError(
                f"The encoder of `{spec.name}` takes depth maps, too: it cannot be warmed up alone.",
                hint="set `encoder_only` to false in every phase.",
            )
        with torch.no_grad(), seeded((seed, 0), torch.device("cpu")):
            encoder = encoder_of(net, "the model")
            deepest = encoder.eval()(torch.zeros(1, 3, PROBE, PROBE))[-1]
            encoder.train()
            self.classify = nn.Conv2d(deepest.shape[1], 1, 1)

    def forward(self, net: nn.Module, image: Tensor) -> Tensor:
        """Logits from the encoder of `net`, for a normalised image."""
        return self.classify(encoder_of(net, "the model")(image)[-1])
