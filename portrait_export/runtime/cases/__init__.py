"""List the cases of the kernels: one operation each, with its inputs, for any engine that runs ML Programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import inferred, layers

# Operators without a case of their own, and why.
WITHOUT_CASE = {
    **dict.fromkeys(
        ("random_bernoulli", "random_categorical", "random_normal", "random_uniform"),
        "its numbers come from a generator, which is not the same elsewhere",
    ),
    **dict.fromkeys(
        ("cond", "while_loop", "make_list", "list_gather", "list_length", "list_read", "list_scatter", "list_write"),
        "it needs blocks or lists, not one operation",
    ),
    **dict.fromkeys(("coreml_update_state", "read_state", "write_state"), "it needs a state"),
    "classify": "its result is a label and a dictionary",
    "reshape_like": "coremltools gives it no shape before it runs",
    **dict.fromkeys(
        (
            *("constexpr_cast", "constexpr_lut_to_dense", "constexpr_lut_to_sparse"),
            *("constexpr_sparse_blockwise_shift_scale", "constexpr_sparse_to_dense"),
        ),
        "it decodes weights of fewer than 8 bits, which the builder of single operations cannot hold",
    ),
}


@dataclass(frozen=True)
class Case:
    """One operation.

    Attributes:
        name: of the behaviour.
        op: the operator.
        inputs: its parameters: arrays, lists of arrays, numbers, strings.
        target: the deployment target whose definition the parameters are those of.
    """

    name: str
    op: str
    inputs: Mapping[str, Any]
    target: str = "iOS17"


def cases() -> list[Case]:
    """Every case, in the order of its file."""
    rows = {**inferred.ROWS, **layers.ROWS}
    return [Case(name, op, inputs, layers.TARGETS.get(op, "iOS17")) for name, (op, inputs) in rows.items()]
