"""Test that weights on 8-bit steps survive int8 quantization, also with a folded norm."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from portrait_export.models.config import SegformerConfig, SersegConfig
from portrait_export.models.eight_bit import LARGEST, eight_bit_state, round_to_steps

from .support import SMALL, inputs_of, net_of


def weight(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def steps_of(rounded: Tensor) -> Tensor:
    """Each value in steps of its output channel."""
    return rounded / (rounded.abs().flatten(1).amax(1) / LARGEST).reshape(-1, *[1] * (rounded.dim() - 1))


def test_each_channel_is_on_its_own_steps_and_moves_by_half_a_step_at_most() -> None:
    given = weight(6, 3, 3, 3) * torch.tensor([1e-6, 1.0, 1e3, 1.0, 1.0, 1.0]).view(-1, 1, 1, 1)
    rounded = round_to_steps({"w": given})["w"]
    whole = steps_of(rounded)
    assert torch.allclose(whole, whole.round(), atol=1e-3)
    step = given.abs().flatten(1).amax(1) / LARGEST
    assert bool(((rounded - given).abs().flatten(1).amax(1) <= 0.5001 * step).all())


def test_rounding_again_changes_nothing_in_float16_and_after_a_scale_per_channel() -> None:
    rounded = round_to_steps({"w": weight(8, 4)})["w"]
    scaled = (rounded * torch.rand(8, 1, generator=torch.Generator().manual_seed(1))).half().float()
    again = round_to_steps({"w": scaled})["w"]
    assert torch.equal(steps_of(again).round(), steps_of(rounded).round())


def test_norms_biases_counters_and_dead_channels_stay() -> None:
    state = {"n": weight(5), "c": torch.tensor(3), "dead": torch.zeros(2, 4)}
    rounded = round_to_steps(state)
    assert all(torch.equal(rounded[key], value) for key, value in state.items())


@pytest.mark.parametrize(
    ("config", "kept"),
    [
        (SegformerConfig(), ()),
        (SegformerConfig(hidden_sizes=(8, 16, 40, 64), depths=(1, 1, 1, 1), decoder_width=24), (2, 3)),
        (SersegConfig(afn=True, upsample=False), (2, 3)),
    ],
    ids=["segformer", "narrow", "afn"],
)
def test_projections_become_identities_and_each_stage_of_the_fusion_is_on_steps(
    config: SegformerConfig, kept: tuple[int, ...]
) -> None:
    net = net_of(config)
    (image,) = inputs_of(config)
    with torch.no_grad():
        before = net(image)
        given = [linear.proj.weight.clone() for linear in net.decode_head.linear_c]
        net.decode_head.absorb_projections()
        assert (net(image) - before).abs().max() < 1e-4 * before.abs().max()
        state = eight_bit_state(net)
        net.load_state_dict(state)
        assert (net(image) - before).norm() < 0.1 * before.norm()  # measured: 0.017 to 0.052
    stages = state["decode_head.linear_fuse.weight"].chunk(4, dim=1)[::-1]
    for i, (projection, stage) in enumerate(zip(given, stages, strict=True)):
        whole = steps_of(stage)
        assert torch.allclose(whole, whole.round(), atol=1e-3)
        width = projection.shape[1]
        if i not in kept:
            assert torch.equal(state[f"decode_head.linear_c.{i}.proj.weight"], torch.eye(*projection.shape))
            assert not state[f"decode_head.linear_c.{i}.proj.bias"].any()
            assert not stage[:, width:].any()
        else:  # more channels than the head has: an identity would not hold them
            assert torch.equal(net.decode_head.linear_c[i].proj.weight, round_to_steps({"w": projection})["w"])


def test_projections_before_a_relu_stay() -> None:
    net = net_of(replace(SegformerConfig(**SMALL), projection_relu=True))
    state = {key: value.clone() for key, value in net.state_dict().items()}
    net.decode_head.absorb_projections()
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
