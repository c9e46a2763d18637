"""Sequences of tensors of known length: one operator makes a sequence, the next (`then`) reads it."""

from __future__ import annotations

from typing import Any

import numpy as np

from .model import Case, ints, values

X = {"x": values(2, 6)}
TWO = {"a": values(2, 3), "b": values(2, 3, seed=1)}


def _split(name: str, split: np.ndarray | None = None, at: int = 1, **attrs: int) -> Case:
    return Case(
        f"split_to_sequence_{name}",
        "SplitToSequence",
        X,
        {} if split is None else {"s": split},
        attrs={"axis": 1, **attrs},
        then="SequenceAt",
        then_params={"p": np.asarray(at, np.int64)},
    )


def _built(name: str, then: str, params: dict[str, np.ndarray] | None = None, **attrs: Any) -> Case:
    return Case(f"sequence_{name}", "SequenceConstruct", TWO, then=then, then_params=params, then_attrs=attrs)


CASES = [
    _split("of_single_elements"),
    _split("without_the_dimension", at=-1, keepdims=0),
    _split("of_sizes", ints(1, 2, 3)),
    _split("of_equal_sizes", np.asarray(4, np.int64)),
    _built("at_the_end", "SequenceAt", {"p": np.asarray(-1, np.int64)}),
    _built("length", "SequenceLength"),
    _built("concatenated", "ConcatFromSequence", axis=1),
    _built("stacked", "ConcatFromSequence", axis=-1, new_axis=1),
]
