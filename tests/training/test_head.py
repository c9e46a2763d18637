"""Test that a linear head on the encoder's deepest map stands for the decoder, and which networks cannot have one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from portrait_export.errors import TrainingError
from portrait_export.models.registry import create_model, list_models, model_spec
from portrait_export.training.head import LinearHead

from .test_features import pictures

WITHOUT_DEPTH = [name for name in list_models() if "depth" not in model_spec(name).inputs]
WITH_DEPTH = [name for name in list_models() if "depth" in model_spec(name).inputs]


@pytest.mark.parametrize("name", WITHOUT_DEPTH)
def test_only_the_encoder_and_the_head_compute(name: str) -> None:
    net = create_model(name, seed=1)
    head = LinearHead(net, model_spec(name))
    logits = head(net, pictures(3))
    assert logits.shape == (4, 1, 64 // deepest_stride(name), 64 // deepest_stride(name))
    logits.square().mean().backward()
    reached = {"encoder." in name for name, parameter in net.named_parameters() if parameter.grad is not None}
    assert reached == {True}
    assert all(parameter.grad is not None for parameter in head.parameters())


def deepest_stride(name: str) -> int:
    return 16 if name == "sernet_former" else 32


def test_making_a_head_leaves_the_network_as_it_is() -> None:
    net = create_model("sernet_former", seed=1).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    LinearHead(net, model_spec("sernet_former"))
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert all(module.training for module in net.modules())


@pytest.mark.parametrize("name", WITH_DEPTH)
def test_encoders_that_take_depth_are_refused(name: str) -> None:
    with pytest.raises(TrainingError, match="takes depth maps"):
        LinearHead(create_model(name, seed=1), model_spec(name))


def test_networks_without_an_encoder_are_refused() -> None:
    with pytest.raises(TrainingError, match="the model has none"):
        LinearHead(nn.Conv2d(3, 1, 1), model_spec("segformer_b0"))
