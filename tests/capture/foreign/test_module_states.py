"""Test that arguments of a PyTorch module are paired with the results that they become, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from portrait_export.capture.foreign.load import load_foreign
from portrait_export.capture.foreign.module_states import find_states, left_out
from portrait_export.capture.foreign.options import ForeignOptions
from portrait_export.errors import CaptureError, UsageError

from .nets import bilinear, seeded
from .recurrent_nets import Memory, NestedMemory, OptionalRvm, decided, memory
from .test_carried import PLAIN, sequence, torch_masks

PICTURE = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


class Plain(nn.Module):
    """A mean and a half of a picture; `rest` is whatever a test makes of it."""

    def forward(self, image: Tensor) -> Any:
        return image.mean(1, keepdim=True), image / 2


class WithTargets(Plain):
    def forward(self, image: Tensor, targets: Any = None) -> Any:
        out, aux = super().forward(image)
        return (out, aux) if targets is None else {"loss": ((out - targets) ** 2).mean()}


class LearnedStart(Plain):
    def forward(self, image: Tensor, state: Tensor | None = None) -> Any:
        out, half = super().forward(image)
        state = half + (torch.ones_like(half) if state is None else state)
        return out, state


class Required(Plain):
    def forward(self, image: Tensor, state: Tensor) -> Any:
        out, half = super().forward(image)
        return out + state.mean(), half + state


class Shrinking(Plain):
    def forward(self, image: Tensor, state: Tensor) -> Any:
        out, half = super().forward(image)
        return out, (half + state)[..., 1:]


def test_states_that_are_none_at_first_take_the_last_results():
    states = find_states(OptionalRvm().eval(), PICTURE, ())
    assert states is not None
    assert states.flat_pairs == {"r1": "output_2", "r2": "output_3", "r3": "output_4", "r4": "output_5"}
    assert [tuple(tensor.shape) for tensor in states.inputs.values()] == [(1, 2, side, side) for side in (32, 16, 8, 4)]


def test_nested_states_are_taken_apart():
    states = find_states(NestedMemory().eval(), PICTURE, ())
    assert states is not None
    assert states.flat_pairs == {"state_0_in": "state_0", "state_1_0_in": "state_1_0"}


def test_a_required_state_starts_from_zeros():
    states = find_states(Required(), PICTURE, ())
    assert states is not None
    assert dict(states.pairs) == {"state": "output_1"}


@pytest.mark.parametrize("net", [Plain(), WithTargets()], ids=["one_argument", "targets_of_training"])
def test_other_arguments_are_not_carried(net):
    assert find_states(net, PICTURE, ()) is None


REFUSED = {
    "one_shape": (memory(), (), "h0, h1 have one shape"),
    "learned_start": (LearnedStart(), (), "starts from something other than zeros"),
    "another_shape": (Shrinking(), (), "takes state besides the picture"),
    "swapped_shapes": (OptionalRvm(), (("r1", "output_3"), ("r2", "output_2")), "does not take its own results"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_states_that_cannot_be_settled_are_refused(name):
    net, carry, message = REFUSED[name]
    with pytest.raises(CaptureError, match=message) as caught:
        find_states(net.eval(), PICTURE, carry)
    assert "`carry=" in caught.value.hint


def test_names_that_do_not_exist_are_refused():
    with pytest.raises(UsageError, match="no argument 'x'"):
        find_states(Required(), PICTURE, (("x", "output_1"),))
    with pytest.raises(UsageError, match="returns no 'x'"):
        find_states(Required(), PICTURE, (("state", "x"),))


CODE = """
from tests.capture.foreign.recurrent_nets import NestedMemory, decided, memory, seeded


def nested():
    return decided(seeded(NestedMemory), "head", 80.0, 7.0)
"""
TORCH = {"nested": (), "memory": (("h0", "output_1"), ("h1", "output_2"))}


@pytest.mark.parametrize("name", TORCH)
def test_the_captured_module_carries_as_the_module_does(name, tmp_path: Path):
    (tmp_path / "nets.py").write_text(CODE)
    network = load_foreign(ForeignOptions(torch=f"{tmp_path / 'nets.py'}:{name}", carry=TORCH[name], **PLAIN))
    assert len(network.carried) == 2
    network.to_onnx()  # compares two frames with the module
    expected = torch_masks(memory(), 2, 0)
    for one, other in zip(expected, network.open_runner().run(sequence()), strict=True):
        np.testing.assert_allclose(other.probability, one, atol=2e-6)


class Fading(nn.Module):
    """A program whose state may be None, and whose number has a default."""

    def forward(self, image: Tensor, state: Tensor | None = None, gain: float = 9.0) -> tuple[Tensor, Tensor]:
        whole = gain * (image.mean(1, keepdim=True) - 0.5)
        if state is not None:
            whole = whole + 0.5 * state
        return whole.sigmoid(), whole


def test_states_of_a_program_may_be_none():
    states = find_states(torch.jit.script(Fading()), PICTURE, ())
    assert states is not None
    assert states.flat_pairs == {"state": "output_1"}
    assert left_out(torch.jit.script(Fading())) == ["state", "gain"]


class Scripted(Memory):
    """The same with results that a program can declare."""

    def forward(self, image: Tensor, h0: Tensor, h1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.encode(image)
        h0 = self.first(x, h0)
        h1 = self.second(h0, h1)
        return bilinear(self.head(torch.cat([h0, h1], 1)), image.shape[-2:]).sigmoid(), h0, h1


@pytest.mark.parametrize("way", ["scripted", "traced"])
def test_a_program_carries_as_its_module_does(way, tmp_path: Path):
    net, start = decided(seeded(Scripted), "head", 80.0, 7.0), torch.zeros(1, 4, 32, 32)
    program = torch.jit.script(net) if way == "scripted" else torch.jit.trace(net, (PICTURE, start, start))
    torch.jit.save(program, tmp_path / "net.pt")
    options = ForeignOptions(torchscript=tmp_path / "net.pt", carry=TORCH["memory"], **PLAIN)
    network = load_foreign(options)
    assert [value.name for value in network.carried] == ["h0", "h1"]
    network.to_onnx()  # compares two frames with the program
    expected = torch_masks(net, 2, 0)
    for one, other in zip(expected, network.open_runner().run(sequence()), strict=True):
        np.testing.assert_allclose(other.probability, one, atol=2e-6)
