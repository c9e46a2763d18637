"""Constants of a program can be replaced, and gradients of its values reach them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from portrait_export.errors import ExecutionError
from portrait_export.runtime import load
from portrait_export.runtime.gradients import DifferentiableProgram
from tests.runtime.packages import from_torch

X = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.GELU(), torch.nn.Conv2d(8, 1, 1)).eval()
    path = tmp_path_factory.mktemp("net") / "net.mlpackage"
    return from_torch(path, net, [torch.from_numpy(X)], precision="FLOAT32")


def weight_of(package: Path, shape: tuple[int, ...]) -> tuple[str, torch.Tensor]:
    program = load(package, arithmetic="fp32")
    found = [(name, read()) for name, read in program.plan.constants.items()]
    name, value = next((name, value) for name, value in found if tuple(value.shape) == shape)
    return name, torch.from_numpy(value.numpy().copy())


def run(package: Path, constants: dict[str, torch.Tensor] | None = None) -> torch.Tensor:
    program = DifferentiableProgram(package)
    feature = load(package).inputs[0].name
    return program.run({feature: X}, load(package).outputs[0].name, constants)


def test_the_same_values_give_the_same_output(package):
    name, weight = weight_of(package, (8, 3, 3, 3))
    plain = run(package)
    assert torch.equal(plain, run(package, {name: weight}))
    data = {load(package).inputs[0].name: X}
    theirs = load(package, arithmetic="fp32").predict(data, hook=lambda name, value: None)  # the plain plan, as ours
    assert np.array_equal(plain.detach().numpy(), next(iter(theirs.values())))


def test_gradients_are_those_of_small_changes(package):
    name, weight = weight_of(package, (8, 3, 3, 3))
    weight.requires_grad_()
    run(package, {name: weight}).sum().backward()
    change = torch.zeros_like(weight)
    change[2, 1, 0, 2] = 1e-2
    with torch.no_grad():
        up, down = (run(package, {name: weight + sign * change}).sum() for sign in (1, -1))
    assert weight.grad is not None
    assert float((up - down) / 2e-2) == pytest.approx(float(weight.grad[2, 1, 0, 2]), rel=1e-2)


def test_only_what_an_operation_reads_as_a_tensor_can_be_replaced(package):
    name, _ = weight_of(package, (8, 3, 3, 3))
    program = DifferentiableProgram(package)
    constants = set(load(package).plan.constants)
    pads = {each for each in constants if "pad" in each and "type" not in each}
    assert pads
    assert name in program.replaceable(constants)
    assert not pads & program.replaceable(constants)


def test_a_constant_that_is_missing_or_of_another_shape_is_refused(package):
    name, weight = weight_of(package, (8, 3, 3, 3))
    with pytest.raises(ExecutionError, match="no constant 'nothing' to replace"):
        run(package, {"nothing": weight})
    with pytest.raises(ExecutionError, match=r"has shape \[8, 3, 3, 3\]; found \[8, 3, 3\]"):
        run(package, {name: weight[..., 0]})
