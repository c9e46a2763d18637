"""Recurrent layers."""

from __future__ import annotations

import numpy as np

from .model import Case, ints, values

STEPS, BATCH, INPUTS, HIDDEN = 4, 2, 3, 5
X = {"x": values(STEPS, BATCH, INPUTS)}


def _weights(gates: int, directions: int = 1) -> dict[str, np.ndarray]:
    return {
        "w": values(directions, gates * HIDDEN, INPUTS, seed=1, low=-1, high=1),
        "r": values(directions, gates * HIDDEN, HIDDEN, seed=2, low=-1, high=1),
        "b": values(directions, 2 * gates * HIDDEN, seed=3, low=-1, high=1),
    }


def _case(op: str, name: str, gates: int, *, directions: int = 1, outputs: int = 2, **attrs: object) -> Case:
    attrs = {"hidden_size": HIDDEN, **attrs}
    return Case(f"{op.lower()}_{name}", op, X, _weights(gates, directions), outputs=outputs, opset=14, attrs=attrs)


H0 = {"h0": values(1, BATCH, HIDDEN, seed=4)}

CASES = [
    _case("RNN", "forward", 1),
    _case("RNN", "bidirectional_relu", 1, directions=2, direction="bidirectional", activations=["Relu", "Tanh"]),
    _case("GRU", "forward", 3),
    _case("GRU", "reset_after", 3, linear_before_reset=1),
    _case("GRU", "reverse", 3, direction="reverse"),
    _case("LSTM", "forward", 4, outputs=3),
    _case("LSTM", "bidirectional", 4, directions=2, outputs=3, direction="bidirectional"),
    Case(
        "lstm_peepholes_and_initial_states",
        "LSTM",
        {**X, **H0, "c0": values(1, BATCH, HIDDEN, seed=5)},
        {**_weights(4), "p": values(1, 3 * HIDDEN, seed=6)},
        ("x", "w", "r", "b", "", "h0", "c0", "p"),
        outputs=3,
        opset=14,
        attrs={"hidden_size": HIDDEN},
    ),
    Case(
        "gru_sequences_of_different_lengths",
        "GRU",
        {**X, **H0},
        {**_weights(3), "lengths": ints(4, 2).astype(np.int32)},
        ("x", "w", "r", "b", "lengths", "h0"),
        outputs=2,
        opset=14,
        attrs={"hidden_size": HIDDEN},
    ),
]
