"""Control flow, lists, states and class labels. Nested blocks are passed as callables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...errors import ExecutionError
from ...mil.types import ListType, TensorType
from ...utils.names import with_article
from .. import limits
from ..dtypes import CARRIERS
from ..environment import Environment
from ..registry import OpInfo, kernel

Blocks = list[Callable[..., list[Any]]]


@kernel("cond", exact=True)
def cond(pred: bool, blocks: Blocks) -> tuple[Any, ...]:
    """The outputs of the first block if pred is true, else those of the second."""
    if len(blocks) != 2:
        raise ExecutionError(f"cond needs two blocks; it has {len(blocks)}")
    return tuple(blocks[0]() if pred else blocks[1]())


@kernel("while_loop", exact=True)
def while_loop(loop_vars: list[Tensor], blocks: Blocks) -> tuple[Any, ...]:
    """Repeat values = body(values) while condition(values) is true."""
    if len(blocks) != 2:
        raise ExecutionError(f"while_loop needs two blocks, condition and body; it has {len(blocks)}")
    condition, body = blocks
    values = list(loop_vars)
    for _ in range(limits.MAX_ITERATIONS):
        if not bool(condition(*values)[0]):
            return tuple(values)
        values = body(*values)
    raise ExecutionError(f"the loop did not end within {limits.MAX_ITERATIONS:,} iterations")


# ---------------------------------------------------------------------------------------------------------------------
# Lists: Python lists of tensors, never changed in place. Elements start as zeros if their shape is known, else as None.


def _place(ls: list[Any], index: int) -> int:
    if not -len(ls) <= index < len(ls):
        raise ExecutionError(f"index {index} is outside a list of {len(ls)}")
    return index % len(ls)


@kernel("make_list", exact=True)
def make_list(
    elem_shape: Any,
    op: OpInfo,
    env: Environment,
    init_length: int = 1,
    dynamic_length: bool = True,
    dtype: str = "fp32",
) -> list[Tensor | None]:
    """A list of `init_length` elements."""
    limits.claim([init_length])
    declared = op.outputs[0][1]
    element = declared.element if isinstance(declared, ListType) else None
    if isinstance(element, TensorType) and element.static:
        sides = [side or 0 for side in element.shape]
        limits.claim([init_length, *sides])
        return [torch.zeros(sides, dtype=CARRIERS[element.dtype], device=env.device) for _ in range(init_length)]
    return [None] * init_length


@kernel("list_length", exact=True)
def list_length(ls: Any, env: Environment) -> Tensor:
    """The number of elements."""
    return torch.tensor(len(ls), dtype=torch.int32, device=env.device)


@kernel("list_read", exact=True)
def list_read(ls: Any, index: int) -> Tensor:
    """One element."""
    value = ls[_place(ls, index)]
    if value is None:
        raise ExecutionError(f"element {index} was never written")
    return value


@kernel("list_write", exact=True)
def list_write(ls: Any, index: int, value: Tensor) -> list[Any]:
    """A copy of the list with one element replaced; an index after the end extends the list."""
    return _written(list(ls), index, value)


def _written(values: list[Any], index: int, value: Tensor) -> list[Any]:
    if index >= len(values):
        limits.claim([index + 1, *value.shape])
        values.extend([torch.zeros_like(value)] * (index + 1 - len(values)))
    values[_place(values, index)] = value
    return values


@kernel("list_gather", exact=True)
def list_gather(ls: Any, indices: list[int]) -> Tensor:
    """The elements at `indices`, stacked along a new first axis."""
    return torch.stack([list_read(ls, index) for index in indices])


@kernel("list_scatter", exact=True)
def list_scatter(ls: Any, indices: list[int], value: Tensor) -> list[Any]:
    """A copy of the list with the elements at `indices` replaced by the slices of `value`."""
    if len(indices) != value.shape[0]:
        raise ExecutionError(f"{value.shape[0]} values for {len(indices)} indices")
    values = list(ls)
    for index, one in zip(indices, value, strict=True):
        values = _written(values, index, one)
    return values


# ---------------------------------------------------------------------------------------------------------------------
# States (iOS18): a `StateCell` keeps its value between calls


def _state(given: Any) -> Any:
    """The cell of a state. A damaged package may name any value."""
    if not isinstance(getattr(given, "value", None), Tensor):
        raise ExecutionError(f"a state is needed; found {with_article(type(given).__name__)}")
    return given


@kernel("read_state", exact=True)
def read_state(input: Any) -> Tensor:
    """A copy of a state's value."""
    value: Tensor = _state(input).value
    return value.clone()


@kernel("write_state", exact=True)
def write_state(input: Any, data: Tensor) -> tuple[()]:
    """Store a value in a state. No outputs."""
    state = _state(input)
    if state.value.shape != data.shape:
        raise ExecutionError(
            f"a value of shape {list(data.shape)} does not match a state of shape {list(state.value.shape)}"
        )
    state.value = data.to(state.value.dtype).clone()
    return ()


@kernel("coreml_update_state", exact=True)
def coreml_update_state(state: Any, value: Tensor) -> Tensor:
    """Store a value in a state and return it."""
    write_state(state, value)
    return value


# ---------------------------------------------------------------------------------------------------------------------


@kernel("classify", exact=True)
def classify(probabilities: Tensor, classes: Any) -> tuple[Any, dict[Any, float]]:
    """The label with the highest probability, and the probability of each label. Labels are strings or integers."""
    flat = probabilities.flatten().tolist()
    labels = classes.tolist() if isinstance(classes, Tensor) else list(classes)
    if len(labels) != len(flat) or not flat:
        raise ExecutionError(f"{len(flat)} probabilities for {len(labels)} labels")
    best = labels[max(range(len(flat)), key=flat.__getitem__)]
    label = torch.tensor(best, device=probabilities.device) if isinstance(best, int) else best
    return label, dict(zip(labels, flat, strict=True))
