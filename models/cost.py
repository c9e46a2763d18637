"""A ModelSpec in; its parameters and multiply-adds out, counted without weights or arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from .registry import ModelSpec, net_class


@dataclass(frozen=True)
class ModelCost:
    """What a network costs.

    Attributes:
        parameters: trainable ones.
        macs: multiply-adds of convolutions and matrix products for one image at the spec's size.
    """

    parameters: int
    macs: int


def count_cost(spec: ModelSpec) -> ModelCost:
    """Run the network on shapes alone (torch's meta device) and count."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        net = net_class(spec)(spec.config).eval()
        height, width = spec.size
        inputs = [torch.empty(1, 3 if name == "image" else 1, height, width) for name in spec.inputs]
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), counter:
            net(*inputs)
    parameters = sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad)
    return ModelCost(parameters=parameters, macs=counter.get_total_flops() // 2)
