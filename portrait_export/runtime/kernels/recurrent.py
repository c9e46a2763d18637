"""Recurrent layers: rnn, gru and lstm. Weights hold the gates along their first axis."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...errors import ExecutionError
from ..limits import MAX_ITERATIONS, claim
from ..registry import kernel

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "hard_sigmoid": lambda x: (0.2 * x + 0.5).clamp(0, 1),
    "sigmoid_hard": lambda x: (0.2 * x + 0.5).clamp(0, 1),
    "linear": lambda x: x,
    "relu": torch.relu,
    "scaled_tanh": torch.tanh,  # α·tanh(β·x) with α = β = 1, as in coremltools' tests
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}


def _activation(name: str) -> Callable[[Tensor], Tensor]:
    if name.lower() not in _ACTIVATIONS:
        raise ExecutionError(f"activation {name!r} is not one of {', '.join(sorted(_ACTIVATIONS))}")
    return _ACTIVATIONS[name.lower()]


def _steps(x: Tensor, direction: str) -> Tensor:
    """The sequence in processing order."""
    if x.ndim != 3 or x.shape[0] > MAX_ITERATIONS:
        raise ExecutionError(
            f"x of shape {list(x.shape)} is not a sequence (s, b, I) of at most {MAX_ITERATIONS} steps"
        )
    if direction not in ("forward", "reverse"):
        raise ExecutionError(f"direction {direction!r} is not forward or reverse")
    return x if direction == "forward" else x.flip(0)


def _initial(state: Tensor, name: str, steps: Tensor, width: int) -> Tensor:
    """An initial state as (b, width).

    In packages with packed sequences, coremltools gives the initial state another number of rows than the batch has.
    The rows are all equal (zeros), so any of them can start each sequence. Rows that differ cannot be assigned.
    """
    batch = steps.shape[1]
    if state.ndim == 2 and 0 < state.shape[0] != batch and bool((state == state[:1]).all()):
        state = state[:1].expand(batch, -1)
    if tuple(state.shape) != (batch, width):
        raise ExecutionError(f"{name} has shape {list(state.shape)}; a batch of {batch} needs {[batch, width]}")
    return state


def _collected(states: list[Tensor], output_sequence: bool) -> Tensor:
    """Stack the states to (s, b, H) in processing order, or return the last as (1, b, H)."""
    if not states:
        raise ExecutionError("the sequence is empty")
    claim([len(states), *states[0].shape])
    return torch.stack(states) if output_sequence else states[-1].unsqueeze(0)


@kernel("rnn")
def rnn(
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    activation: str = "tanh",
) -> tuple[Tensor, Tensor]:
    """h_t = act(W_ih·x_t + W_hh·h_{t−1} + b)."""
    act, states = _activation(activation), []
    steps = _steps(torch.nn.functional.linear(x, weight_ih, bias), direction)
    h = _initial(initial_h, "initial_h", steps, weight_hh.shape[1])
    for step in steps:
        h = act(step + h @ weight_hh.T)
        states.append(h)
    return _collected(states, output_sequence), h


@kernel("gru")
def gru(
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    activation: str = "tanh",
    reset_after: bool = False,
    input_bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Weights hold the gates in the order r, o, z.

    r = σ(W_ir·x + b_ir + W_hr·h + b_hr),   z likewise
    o = act(W_io·x + b_io + W_ho·(r∗h) + b_ho), or with reset_after  act(W_io·x + b_io + r∗(W_ho·h + b_ho))
    h' = (1 − z)∗o + z∗h
    """
    gate, act, states = _activation(recurrent_activation), _activation(activation), []
    size = weight_hh.shape[1]
    if weight_hh.shape[0] != 3 * size or weight_ih.shape[0] != 3 * size:
        raise ExecutionError(f"weights {list(weight_ih.shape)} and {list(weight_hh.shape)} do not hold three gates")
    b = torch.zeros(3 * size, device=x.device) if bias is None else bias
    w_r, w_o, w_z = weight_hh.split(size)
    b_r, b_o, b_z = b.split(size)
    steps = _steps(torch.nn.functional.linear(x, weight_ih, input_bias), direction)
    h = _initial(initial_h, "initial_h", steps, size)
    for step in steps:
        i_r, i_o, i_z = step.split(size, -1)
        r, z = gate(i_r + h @ w_r.T + b_r), gate(i_z + h @ w_z.T + b_z)
        o = act(i_o + r * (h @ w_o.T + b_o)) if reset_after else act(i_o + (r * h) @ w_o.T + b_o)
        h = (1 - z) * o + z * h
        states.append(h)
    return _collected(states, output_sequence), h


def _lstm_direction(
    x: Tensor,
    h: Tensor,
    c: Tensor,
    weights: tuple[Tensor, Tensor, Tensor | None, Tensor | None],
    activations: tuple[str, str, str],
    clip: float | None,
) -> tuple[list[Tensor], Tensor, Tensor]:
    """Run one direction in the order of x. Returns all hidden states, the last one, and the last cell state."""
    weight_ih, weight_hh, bias, peephole = weights
    gate, cell, act = (_activation(name) for name in activations)
    size = weight_hh.shape[1]
    if weight_hh.shape[0] != 4 * size or weight_ih.shape[0] != 4 * size:
        raise ExecutionError(f"weights {list(weight_ih.shape)} and {list(weight_hh.shape)} do not hold four gates")
    p_i, p_f, p_o = peephole.split(size) if peephole is not None else (0.0, 0.0, 0.0)
    states = []
    for step in torch.nn.functional.linear(x, weight_ih, bias):
        i, f, o, z = (step + h @ weight_hh.T).split(size, -1)
        c = gate(f + p_f * c) * c + gate(i + p_i * c) * cell(z)
        if clip is not None:
            c = c.clamp(-clip, clip)
        o = gate(o + p_o * c)
        h = o * act(c)
        states.append(h)
    return states, h, c


@kernel("lstm")
def lstm(
    x: Tensor,
    initial_h: Tensor,
    initial_c: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    peephole: Tensor | None = None,
    weight_ih_back: Tensor | None = None,
    weight_hh_back: Tensor | None = None,
    bias_back: Tensor | None = None,
    peephole_back: Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    cell_activation: str = "tanh",
    activation: str = "tanh",
    clip: float | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights hold the gates in the order i, f, o, z. With two directions, h and c are concatenated.

    i = σ(W_i·x + R_i·h + b_i + p_i∗c),  f likewise,  z = cell(W_z·x + R_z·h + b_z)
    c' = f∗c + i∗z, clipped to ±clip,   o = σ(W_o·x + R_o·h + b_o + p_o∗c'),   h' = o∗act(c')
    """
    names = (recurrent_activation, cell_activation, activation)
    own = (weight_ih, weight_hh, bias, peephole)
    two, size = direction == "bidirectional", weight_hh.shape[1]
    steps = _steps(x, "forward" if two else direction)
    h = _initial(initial_h, "initial_h", steps, 2 * size if two else size)
    c = _initial(initial_c, "initial_c", steps, 2 * size if two else size)
    if not two:
        states, h, c = _lstm_direction(steps, h, c, own, names, clip)
        return _collected(states, output_sequence), h, c
    if weight_ih_back is None or weight_hh_back is None:
        raise ExecutionError("a bidirectional lstm needs weight_ih_back and weight_hh_back")
    (h_f, h_b), (c_f, c_b) = h.split(size, -1), c.split(size, -1)
    back = (weight_ih_back, weight_hh_back, bias_back, peephole_back)
    forward, h_f, c_f = _lstm_direction(steps, h_f, c_f, own, names, clip)
    backward, h_b, c_b = _lstm_direction(_steps(x, "reverse"), h_b, c_b, back, names, clip)
    h, c = torch.cat([h_f, h_b], -1), torch.cat([c_f, c_b], -1)
    if not output_sequence:
        return h.unsqueeze(0), h, c
    # The backward states are in processing order; flip them so that both halves belong to the same time step.
    return torch.cat([_collected(forward, True), _collected(backward[::-1], True)], -1), h, c
