"""What errors of values do to masks is predicted as runs with these errors show it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from portrait_export.errors import ExecutionError
from portrait_export.runtime.gradients import DifferentiableProgram
from portrait_export.runtime.model import CoreMLProgram
from portrait_export.runtime.value_gradients import ValueGradients, mean_of
from tests.runtime.packages import from_torch

X = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.GELU(), torch.nn.Conv2d(8, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 1, 1)
    ).eval()
    path = tmp_path_factory.mktemp("net") / "net.mlpackage"
    return from_torch(path, net, [torch.from_numpy(X)], precision="FLOAT32")


def inputs_of(program: CoreMLProgram) -> dict[str, np.ndarray]:
    return {program.inputs[0].name: X}


def rounded(value: torch.Tensor) -> torch.Tensor:
    """The error of rounding to steps of 0.02."""
    return (value / 0.02).round() * 0.02 - value


def test_each_value_alone_moves_the_masks_as_predicted(package: Path) -> None:
    program = CoreMLProgram.load(package, arithmetic="fp32")
    logits = program.outputs[0].name
    names = [name for name in program.names if name != logits]
    assert len(names) == 4
    found = ValueGradients(package, logits).of(inputs_of(program), dict.fromkeys(names, rounded), 400)
    assert found.keys() == set(names)
    plain = torch.sigmoid(DifferentiableProgram(package).run(inputs_of(program), logits))
    for changed in names:

        def change(name: str, value: torch.Tensor, changed: str = changed) -> torch.Tensor | None:
            return value + rounded(value) if name == changed else None

        moved = torch.sigmoid(DifferentiableProgram(package).run(inputs_of(program), logits, hook=change)) - plain
        assert found[changed] == pytest.approx(float(moved.square().mean()), rel=0.25), changed


def test_values_without_errors_and_unknown_ones_have_none(package: Path) -> None:
    program = CoreMLProgram.load(package, arithmetic="fp32")
    first = program.names[0]
    gradients = ValueGradients(package, program.outputs[0].name)
    found = gradients.of(inputs_of(program), {first: torch.zeros_like, "nothing": rounded}, 2)
    assert found == {first: 0.0}


def test_logits_that_do_not_depend_on_the_values_are_refused(package: Path) -> None:
    program = CoreMLProgram.load(package, arithmetic="fp32")
    with pytest.raises(ExecutionError, match="The logits have no gradient"):
        ValueGradients(package, program.outputs[0].name).of(inputs_of(program), {}, 1)
    with pytest.raises(ExecutionError, match="computes no value 'nothing'"):
        ValueGradients(package, "nothing").of(inputs_of(program), {}, 1)


def test_mean_over_photographs() -> None:
    assert mean_of([{"a": 1.0, "b": 4.0}, {"a": 3.0}]) == {"a": 2.0, "b": 2.0}
