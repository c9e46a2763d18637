"""Test the learning rate, what decays, and Muon's steps."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from portrait_export.models.registry import create_model
from portrait_export.training.config import OptimizerConfig, Phase, TrainConfig
from portrait_export.training.optimizers import (
    Muon,
    is_matrix,
    learning_rate,
    optimizers_for,
    parameter_groups,
    with_unit_singular_values,
)


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.1), (9, 0.91), (10, 0.9), (50, 0.5), (100, 0.0)],
    ids=["first", "warm", "after_warm_up", "middle", "end"],
)
def test_learning_rate_warms_up_and_decays_to_zero(step: int, expected: float) -> None:
    config = TrainConfig(phases=(Phase(steps=100),), optimizer=OptimizerConfig(lr=1.0, warmup=10, power=1.0))
    assert learning_rate(config, step) == pytest.approx(expected)


def test_encoder_learns_at_its_own_rate_and_norms_do_not_decay() -> None:
    net = create_model("segformer_b0")
    config = TrainConfig(optimizer=OptimizerConfig(encoder=0.25, weight_decay=0.5))
    groups = parameter_groups(net, config)
    assert sum(p.numel() for g in groups for p in g["params"]) == sum(p.numel() for p in net.parameters())
    for name, parameter in net.named_parameters():
        (group,) = (g for g in groups if any(p is parameter for p in g["params"]))
        assert group["factor"] == (0.25 if ".encoder." in name else 1.0), name
        assert group["weight_decay"] == (0.5 if parameter.dim() > 1 else 0.0), name


@pytest.mark.parametrize("shape", [(24, 96), (96, 24), (32, 32)], ids=["wide", "tall", "square"])
def test_singular_values_become_about_one_and_vectors_stay(shape: tuple[int, int]) -> None:
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    matrix = u * torch.linspace(0.1, 5, len(s), dtype=torch.float64) @ v
    inside = u.T @ with_unit_singular_values(matrix) @ v.T
    assert inside.diagonal().min() > 0.6
    assert inside.diagonal().max() < 1.3
    assert (inside - inside.diagonal().diag()).abs().max() < 1e-5


def test_a_matrix_of_zeros_stays_one() -> None:
    assert torch.equal(with_unit_singular_values(torch.zeros(3, 5)), torch.zeros(3, 5))


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon to compare with")
def test_moves_matrices_as_torchs_muon_does() -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(16, 40, generator=generator)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizers = (
        Muon([ours], lr=0.1, weight_decay=0.2),
        torch.optim.Muon([theirs], lr=0.1, weight_decay=0.2, adjust_lr_fn="match_rms_adamw"),
    )
    for _ in range(4):
        gradient = torch.randn(16, 40, generator=generator)
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            parameter.grad = gradient.clone()
            optimizer.step()
    moved = (theirs - start).abs().max()
    assert (ours - theirs).abs().max() < 0.02 * moved  # theirs computes in bfloat16
    assert moved > 0.1


def test_a_kernel_moves_as_the_matrix_of_its_products() -> None:
    generator = torch.Generator().manual_seed(0)
    start, gradient = (torch.randn(8, 4, 3, 3, generator=generator) for _ in range(2))
    kernel, matrix = nn.Parameter(start.clone()), nn.Parameter(start.flatten(1).clone())
    kernel.grad, matrix.grad = gradient.contiguous(memory_format=torch.channels_last), gradient.flatten(1)
    Muon([kernel, matrix], lr=0.1).step()
    assert torch.allclose(kernel.flatten(1), matrix)
    assert not torch.allclose(kernel, start, atol=1e-2)


def test_muon_moves_the_matrices_and_adamw_the_rest() -> None:
    net = create_model("lite0_fpn")
    extra = nn.Parameter(torch.zeros(4, 4))
    config = TrainConfig(optimizer=OptimizerConfig(kind="muon"))
    adamw, muon = optimizers_for(net, config, [extra])
    moved = [{id(p) for group in o.param_groups for p in group["params"]} for o in (adamw, muon)]
    assert moved[0].isdisjoint(moved[1])
    assert moved[0] | moved[1] == {id(p) for p in (*net.parameters(), extra)}
    assert moved[1] == {id(p) for p in net.parameters() if is_matrix(p)}
    depthwise = {id(m.weight) for m in net.modules() if isinstance(m, nn.Conv2d) and m.groups > 1}
    assert depthwise <= moved[0]
    assert len(optimizers_for(net, TrainConfig(), [extra])) == 1
