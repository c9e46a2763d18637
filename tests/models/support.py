"""Small networks and inputs shared by the tests of models and checkpoints."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from portrait_export.models.config import EfficientNetFPNConfig, NetConfig, SegformerConfig, SernetConfig, SersegConfig
from portrait_export.models.initialise import empty_net, randomize_
from portrait_export.models.registry import model_spec, net_class

REFERENCE = Path(__file__).parent / "reference"
# The research system's own key lists, and the configuration that makes each.
REFERENCES: dict[str, NetConfig] = {
    "segformer_b0": SegformerConfig(),
    "serseg_dconv": SersegConfig(),
    "serseg_abg_dbn_dam": SersegConfig(abg=True, dbn=True, dam=True),
    "serseg_abg_dbn_dam_depth": SersegConfig(abg=True, dbn=True, dam=True, depth=True),
    "serseg_abg_dbn_dam_afn": SersegConfig(abg=True, dbn=True, dam=True, afn=True),
    "serseg_afn_noup": SersegConfig(afn=True, upsample=False),
    "sernet_former": SernetConfig(),
}
SMALL = {"hidden_sizes": (8, 16, 40, 64), "depths": (1, 2, 1, 1), "decoder_width": 24}
EQUAL = 1e-4  # of the logits' scale; the largest measured: 3.4e-6 oracle, 1.4e-6 transformers, 1.6e-6 mmseg


def entry(config: NetConfig) -> str:
    """A registered model of the configuration's architecture."""
    return {
        SegformerConfig: "segformer_b0",
        SersegConfig: "serseg_b0",
        SernetConfig: "sernet_former",
        EfficientNetFPNConfig: "lite0_fpn",
    }[type(config)]


def net_of(config: NetConfig, *, seed: int = 0) -> nn.Module:
    """A network in evaluation mode with no trivial tensor in it."""
    return randomize_(empty_net(net_class(model_spec(entry(config))), config), seed=seed).eval()


def meta_net(config: NetConfig) -> nn.Module:
    """A network without memory, for shapes."""
    with torch.device("meta"):
        return net_class(model_spec(entry(config)))(config)


def inputs_of(config: NetConfig, height: int = 64, width: int = 96, *, batch: int = 1) -> tuple[Tensor, ...]:
    """A random image in normalised units, and a depth map if the network takes one."""
    generator = torch.Generator().manual_seed(7)
    image = torch.randn(batch, 3, height, width, generator=generator)
    depth = torch.rand(batch, 1, height, width, generator=generator)
    return (image, depth) if config.takes_depth else (image,)


def reference_keys(name: str) -> tuple[dict[str, tuple[int, ...]], int]:
    """Key → shape as the research system has them, and the number of trainable parameters."""
    first, *lines = (REFERENCE / f"{name}.txt").read_text().splitlines()
    keys = {}
    for line in lines:
        key, _, shape = line.partition(" ")
        keys[key] = tuple(int(size) for size in shape.split("x")) if shape else ()
    return keys, int(first.split()[-1])


def relative_error(found: Tensor, expected: Tensor) -> float:
    """The largest deviation, over the expected values' largest magnitude."""
    assert found.shape == expected.shape
    return float((found.double() - expected.double()).abs().max() / expected.abs().max())
