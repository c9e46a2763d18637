"""Start a training from another network's tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from ..errors import CheckpointError
from ..models.efficientnet_fpn import EfficientNetFPN
from ..models.efficientnet_weights import is_published_lite, load_published_lite
from ..models.grow import grow, has_abg
from ..models.weights_io import backbone_name, load_into


@dataclass(frozen=True)
class Start:
    """What a training starts from.

    Attributes:
        tensors: under our names.
        abg: whether they belong to a network with attention-boosting gates, which have no tensors of their own.
    """

    tensors: Mapping[str, Tensor]
    abg: bool = False

    @classmethod
    def of(cls, net: nn.Module) -> Start:
        """A network's own tensors."""
        return cls(net.state_dict(), has_abg(net))


def start_from(net: nn.Module, start: Start, *, source: str) -> list[str]:
    """Load tensors into a network: all of them if they are of the same network, else those that fit.

    Args:
        start: of another network, its encoder must fit: a SERSeg starts from a SegFormer, and as one (see
            `models.grow`); an EfficientNet-Lite network starts from the published ImageNet weights, too.
    Returns:
        The names of the tensors that stayed random.
    Raises:
        CheckpointError: not even the encoder fits.
    """
    if set(net.state_dict()) == set(start.tensors) and has_abg(net) == start.abg:
        load_into(net, start.tensors, source=source)
        return []
    if is_published_lite(start.tensors) and isinstance(net, EfficientNetFPN):
        return load_published_lite(net, start.tensors, source=source)
    if backbone_name(net) is None:
        raise CheckpointError(f"{source} is not of this network, and this network has no encoder to start from it.")
    return grow(net, start.tensors, source=source, abg=start.abg)
