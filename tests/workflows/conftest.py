"""A small network that every recipe can compress."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

SIDE = 64


class Net(nn.Module):
    """Three layers that can have few bits between two that keep eight."""

    def __init__(self, head: nn.Module | None = None) -> None:
        super().__init__()
        wide = [layer for _ in range(3) for layer in (nn.Conv2d(48, 48, 1), nn.ReLU())]
        self.body = nn.Sequential(nn.Conv2d(3, 48, 5, 4, 2), nn.ReLU(), *wide, nn.Conv2d(48, 48, 3, 1, 1), nn.ReLU())
        self.last = nn.Conv2d(48, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        low = self.last(self.body(image))
        return nn.functional.interpolate(low, size=image.shape[-2:], mode="bilinear")


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file whose masks cover about half of every picture."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net, pictures = Net().eval(), torch.rand(4, 3, SIDE, SIDE)
    with torch.no_grad():
        logits = net(pictures)
        net.last.bias -= logits.mean()
        net.last.weight *= 4 / logits.std()
        net.last.bias *= 4 / logits.std()
    path = tmp_path_factory.mktemp("own") / "net.onnx"
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (pictures[:1],), path, dynamo=False, input_names=["x"], output_names=["logits"])
    return path
