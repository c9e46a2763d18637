"""Weights on 8-bit steps survive int8 quantization, also behind a folded norm."""

from __future__ import annotations

import torch
from torch import Tensor

from portrait_export.models.eight_bit import LARGEST, round_to_steps


def weight(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def steps_of(rounded: Tensor) -> Tensor:
    """Each value in steps of its output channel."""
    return rounded / (rounded.abs().flatten(1).amax(1) / LARGEST).reshape(-1, *[1] * (rounded.dim() - 1))


def test_each_channel_lies_on_its_own_steps_and_moves_by_half_a_step_at_most() -> None:
    given = weight(6, 3, 3, 3) * torch.tensor([1e-6, 1.0, 1e3, 1.0, 1.0, 1.0]).view(-1, 1, 1, 1)
    rounded = round_to_steps({"w": given})["w"]
    whole = steps_of(rounded)
    assert torch.allclose(whole, whole.round(), atol=1e-3)
    step = given.abs().flatten(1).amax(1) / LARGEST
    assert bool(((rounded - given).abs().flatten(1).amax(1) <= 0.5001 * step).all())


def test_rounding_again_changes_nothing_in_float16_and_behind_a_scale_per_channel() -> None:
    rounded = round_to_steps({"w": weight(8, 4)})["w"]
    scaled = (rounded * torch.rand(8, 1, generator=torch.Generator().manual_seed(1))).half().float()
    again = round_to_steps({"w": scaled})["w"]
    assert torch.equal(steps_of(again).round(), steps_of(rounded).round())


def test_norms_biases_counters_and_dead_channels_stay() -> None:
    state = {"n": weight(5), "c": torch.tensor(3), "dead": torch.zeros(2, 4)}
    rounded = round_to_steps(state)
    assert all(torch.equal(rounded[key], value) for key, value in state.items())
