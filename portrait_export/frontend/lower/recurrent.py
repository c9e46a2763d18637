"""Lower ONNX recurrent layers to MIL, unrolled: RNN, GRU, LSTM.

MIL's own layers have a different gate order, one set of activations and no sequence lengths. The length is static here,
so the steps are unrolled into matrix products and gates, exactly as the ONNX standard defines them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from ..context import NodeContext
from ..refusals import Unsupported
from ..registry import lowers
from ..values import Tensor, Var, shape_of
from ._common import require_float, select, xy

MAX_STEPS = 512  # a step takes about ten operations
DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
ACTIVATIONS = {"Sigmoid": "sigmoid", "Tanh": "tanh", "Relu": "relu", "Softsign": "softsign", "Softplus": "softplus"}


@dataclass(frozen=True)
class Layer:
    """One direction of a recurrent layer.

    Attributes:
        weight: (gates · hidden, inputs).
        recurrent: (gates · hidden, hidden).
        bias, recurrent_bias: (gates · hidden,).
        peepholes: (3 · hidden,) for input, output and forget gate; zeros if there are none.
        activations: functions of a value, in the standard's order f, g, h.
        hidden: size of a state.
    """

    weight: np.ndarray
    recurrent: np.ndarray
    bias: np.ndarray
    recurrent_bias: np.ndarray
    peepholes: np.ndarray
    activations: tuple[Callable[[Tensor], Var], ...]
    hidden: int


States: TypeAlias = tuple[Tensor, ...]
Step: TypeAlias = Callable[[NodeContext, Layer, Tensor, States], States]


@lowers("RNN", since=7)
def rnn(node: NodeContext) -> tuple[Var, ...]:
    """H = f(W·x + Wb + R·H + Rb)."""
    return _run(node, _rnn_step, states=1, gates=1)


@lowers("GRU", since=7)
def gru(node: NodeContext) -> tuple[Var, ...]:
    """z, r = f(…); h = g(W·x + r ∘ (R·H)); H = (1 − z) ∘ h + z ∘ H."""
    after = bool(node.attr("linear_before_reset", 0))
    return _run(node, _gru_after if after else _gru_before, states=1, gates=3)


@lowers("LSTM", since=7)
def lstm(node: NodeContext) -> tuple[Var, ...]:
    """i, o, f = f(…); c = g(…); C = f ∘ C + i ∘ c; H = o ∘ h(C)."""
    if node.attr("input_forget", 0):
        raise Unsupported("coupled input and forget gates")
    return _run(node, _lstm_step, states=2, gates=4)


def _rnn_step(node: NodeContext, layer: Layer, x: Tensor, states: States) -> States:
    total = _add(node, x, _linear(node, states[0], layer.recurrent, layer.recurrent_bias))
    return (layer.activations[0](total),)


def _gru_gates(node: NodeContext, layer: Layer, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Update and reset gate, and the input's part of the candidate."""
    n = 2 * layer.hidden
    gates = _add(node, _columns(node, x, 0, n), _linear(node, h, layer.recurrent[:n], layer.recurrent_bias[:n]))
    opened = layer.activations[0](gates)
    z, r = _columns(node, opened, 0, layer.hidden), _columns(node, opened, layer.hidden, n)
    return z, r, _columns(node, x, n, 3 * layer.hidden)


def _gru_before(node: NodeContext, layer: Layer, x: Tensor, states: States) -> States:
    """The reset gate is applied before the recurrent product."""
    z, r, candidate = _gru_gates(node, layer, x, states[0])
    n = 2 * layer.hidden
    kept = _linear(node, _mul(node, r, states[0]), layer.recurrent[n:], layer.recurrent_bias[n:])
    return (_blend(node, z, layer.activations[1](_add(node, candidate, kept)), states[0]),)


def _gru_after(node: NodeContext, layer: Layer, x: Tensor, states: States) -> States:
    """The reset gate is applied after the recurrent product (linear_before_reset)."""
    z, r, candidate = _gru_gates(node, layer, x, states[0])
    n = 2 * layer.hidden
    kept = _mul(node, r, _linear(node, states[0], layer.recurrent[n:], layer.recurrent_bias[n:]))
    return (_blend(node, z, layer.activations[1](_add(node, candidate, kept)), states[0]),)


def _blend(node: NodeContext, z: Tensor, new: Tensor, old: Tensor) -> Var:
    """(1 − z) ∘ new + z ∘ old = new + z ∘ (old − new)."""
    return _add(node, new, _mul(node, z, node.emit("sub", **xy(node, old, new))))


def _lstm_step(node: NodeContext, layer: Layer, x: Tensor, states: States) -> States:
    h, c = states
    f, g, last = layer.activations
    n = layer.hidden
    gates = _add(node, x, _linear(node, h, layer.recurrent, layer.recurrent_bias))
    i, o, forget, new = (_columns(node, gates, k * n, (k + 1) * n) for k in range(4))
    peep_i, peep_o, peep_f = (layer.peepholes[k * n : (k + 1) * n] for k in range(3))
    i, forget = f(_peep(node, i, peep_i, c)), f(_peep(node, forget, peep_f, c))
    cell = _add(node, _mul(node, forget, c), _mul(node, i, g(new)))
    return _mul(node, f(_peep(node, o, peep_o, cell)), last(cell)), cell


def _peep(node: NodeContext, gate: Tensor, weight: np.ndarray, cell: Tensor) -> Tensor:
    """A gate plus its peephole's view of the cell."""
    return _add(node, gate, _mul(node, cell, weight[None])) if weight.any() else gate


def _run(node: NodeContext, step: Step, *, states: int, gates: int) -> tuple[Var, ...]:
    """Unroll all directions; the outputs are Y, then the last value of each state."""
    require_float(node)
    if node.attr("clip") is not None:
        raise Unsupported("clip")
    batch_first = bool(node.attr("layout", 0))
    x = node.transpose(node.var(0), [1, 0, 2]) if batch_first else node.var(0)
    length, batch, _ = shape_of(x)
    if length > MAX_STEPS:
        raise Unsupported(f"{length} steps; at most {MAX_STEPS} are unrolled")
    direction = node.attr("direction", "forward")
    backward = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[direction]
    lengths = _lengths(node, length, batch)
    if lengths is not None and any(backward):
        raise Unsupported("sequences of different lengths in the reverse direction")
    rows, ends = [], []
    for index, reverse in enumerate(backward):
        layer = _layer(node, index, gates, len(backward))
        first = [_initial(node, 5 + k, index, batch, layer.hidden, batch_first) for k in range(states)]
        outputs, last = _steps(node, step, layer, x, first, reverse, lengths)
        rows.append(outputs)
        ends.append(last)
    return _outputs(node, rows, ends, batch_first)


def _steps(
    node: NodeContext,
    step: Step,
    layer: Layer,
    x: Tensor,
    first: Sequence[Tensor],
    reverse: bool,
    lengths: np.ndarray | None,
) -> tuple[list[Tensor], States]:
    """Each step's output (batch, hidden) in the order of the sequence, and the last states."""
    length, batch, _ = shape_of(x)
    projected = node.emit("linear", x=x, weight=layer.weight, bias=layer.bias)
    current: States = tuple(first)
    outputs: dict[int, Tensor] = {}
    for position in range(length)[:: -1 if reverse else 1]:
        row = node.reshape(node.take(projected, np.asarray([position]), 0), (batch, layer.weight.shape[0]))
        new = step(node, layer, row, current)
        outputs[position] = new[0]
        if lengths is not None and (position >= lengths).any():
            running = (position < lengths)[:, None]
            outputs[position] = select(node, running, new[0], np.zeros((batch, layer.hidden), node.dtype()))
            new = tuple(select(node, running, a, b) for a, b in zip(new, current, strict=True))
        current = new
    return [outputs[position] for position in range(length)], current


def _outputs(node: NodeContext, rows: list[list[Tensor]], ends: list[States], batch_first: bool) -> tuple[Var, ...]:
    """(L, directions, N, H) and (directions, N, H), or the same with the batch first."""
    per_direction = [node.emit("stack", values=[node.as_var(v) for v in row], axis=0) for row in rows]
    y = node.emit("stack", values=per_direction, axis=1)
    finals = [node.emit("stack", values=[node.as_var(end[k]) for end in ends], axis=0) for k in range(len(ends[0]))]
    if batch_first:
        y = node.transpose(y, [2, 0, 1, 3])
        finals = [node.transpose(final, [1, 0, 2]) for final in finals]
    return (y, *finals)


def _layer(node: NodeContext, index: int, gates: int, directions: int) -> Layer:
    weight, recurrent = node.const(1, "weight")[index], node.const(2, "recurrent weight")[index]
    hidden = recurrent.shape[1]
    both = node.optional_const(3, "bias")
    bias = np.zeros(2 * gates * hidden, weight.dtype) if both is None else both[index]
    peepholes = node.optional_const(7, "peepholes") if gates == 4 else None
    if node.attr("hidden_size", hidden) != hidden:
        raise Unsupported(f"hidden_size={node.attr('hidden_size')} with weights for {hidden}")
    return Layer(
        weight=np.ascontiguousarray(weight),
        recurrent=np.ascontiguousarray(recurrent),
        bias=bias[: gates * hidden],
        recurrent_bias=bias[gates * hidden :],
        peepholes=np.zeros(3 * hidden, weight.dtype) if peepholes is None else peepholes[index],
        activations=_activations(node, index, directions),
        hidden=hidden,
    )


def _activations(node: NodeContext, index: int, directions: int) -> tuple[Callable[[Tensor], Var], ...]:
    default = DEFAULTS[node.op_type]
    names = node.attr("activations", default * directions)
    if node.attr("activation_alpha") or node.attr("activation_beta"):
        raise Unsupported("activations with parameters")
    own = names[index * len(default) : (index + 1) * len(default)]
    unknown = sorted(set(own) - set(ACTIVATIONS))
    if unknown:
        raise Unsupported(f"the activation {', '.join(unknown)}")

    def make(name: str) -> Callable[[Tensor], Var]:
        return lambda x: node.emit(ACTIVATIONS[name], x=node.as_var(x))

    return tuple(make(name) for name in own)


def _lengths(node: NodeContext, length: int, batch: int) -> np.ndarray | None:
    """The length of each sequence in the batch, None if all are full."""
    lengths = node.optional_const(4, "sequence lengths")
    return None if lengths is None or (lengths == length).all() else lengths.reshape(batch)


def _initial(node: NodeContext, index: int, direction: int, batch: int, hidden: int, batch_first: bool) -> Tensor:
    """A state before the first step, (batch, hidden)."""
    if not node.has(index):
        return np.zeros((batch, hidden), node.dtype())
    taken = node.take(node.x(index), np.asarray([direction]), 1 if batch_first else 0)
    return node.reshape(taken, (batch, hidden))


def _linear(node: NodeContext, x: Tensor, weight: np.ndarray, bias: np.ndarray) -> Tensor:
    if isinstance(x, np.ndarray):
        result: np.ndarray = x @ weight.T + bias
        return result
    return node.emit("linear", x=x, weight=np.ascontiguousarray(weight), bias=np.ascontiguousarray(bias))


def _columns(node: NodeContext, x: Tensor, start: int, end: int) -> Tensor:
    return node.take(x, np.arange(start, end), 1)


def _add(node: NodeContext, x: Tensor, y: Tensor) -> Var:
    return node.emit("add", **xy(node, x, y))


def _mul(node: NodeContext, x: Tensor, y: Tensor) -> Var:
    return node.emit("mul", **xy(node, x, y))
