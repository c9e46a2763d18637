"""Branches, loops, lists, states and class labels. Nested blocks arrive as callables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...errors import ExecutionError
from ...mil.types import ListType, TensorType
from .. import limits
from ..dtypes import CARRIERS
from ..environment import Environment
from ..registry import Node, kernel

Blocks = list[Callable[..., list[Any]]]


@kernel("cond", exact=True)
def cond(pred: bool, blocks: Blocks) -> tuple[Any, ...]:
    """The first block's outputs if pred holds, else the second's."""
    if len(blocks) != 2:
        raise ExecutionError(f"a branch needs two blocks; it has {len(blocks)}")
    return tuple(blocks[0]() if pred else blocks[1]())


@kernel("while_loop", exact=True)
def while_loop(loop_vars: list[Tensor], blocks: Blocks) -> tuple[Any, ...]:
    """values = body(values) as long as condition(values) holds."""
    if len(blocks) != 2:
        raise ExecutionError(f"a loop needs a condition and a body; it has {len(blocks)} blocks")
    condition, body = blocks
    values = list(loop_vars)
    for _ in range(limits.MAX_ITERATIONS):
        if not bool(condition(*values)[0]):
            return tuple(values)
        values = body(*values)
    raise ExecutionError(f"the loop did not end within {limits.MAX_ITERATIONS:,} iterations")


# ---------------------------------------------------------------------------------------------------------------------
# Lists: Python lists of tensors, never changed in place. Unwritten places hold zeros if the element's shape is known.


def _place(ls: list[Any], index: int) -> int:
    if not -len(ls) <= index < len(ls):
        raise ExecutionError(f"index {index} is not within a list of {len(ls)}")
    return index % len(ls)


@kernel("make_list", exact=True)
def make_list(
    node: Node,
    env: Environment,
    elem_shape: Any = None,
    init_length: int = 1,
    dynamic_length: bool = True,
    dtype: str = "fp32",
) -> list[Tensor | None]:
    """A list of `init_length` elements."""
    limits.claim([init_length])
    declared = node.outputs[0][1]
    element = declared.element if isinstance(declared, ListType) else None
    if isinstance(element, TensorType) and element.static:
        sides = [side or 0 for side in element.shape]
        limits.claim([init_length, *sides])
        return [torch.zeros(sides, dtype=CARRIERS[element.dtype], device=env.device) for _ in range(init_length)]
    return [None] * init_length


@kernel("list_length", exact=True)
def list_length(ls: Any, env: Environment) -> Tensor:
    """How many elements a list has."""
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
    """The list with one element replaced; one beyond the end makes it longer."""
    return _written(list(ls), index, value)


def _written(values: list[Any], index: int, value: Tensor) -> list[Any]:
    if index >= len(values):
        limits.claim([index + 1, *value.shape])
        values.extend([torch.zeros_like(value)] * (index + 1 - len(values)))
    values[_place(values, index)] = value
    return values


@kernel("list_gather", exact=True)
def list_gather(ls: Any, indices: list[int]) -> Tensor:
    """Some elements, stacked along a new first axis."""
    return torch.stack([list_read(ls, index) for index in indices])


@kernel("list_scatter", exact=True)
def list_scatter(ls: Any, indices: list[int], value: Tensor) -> list[Any]:
    """The list with the elements at `indices` replaced by the slices of `value`."""
    if len(indices) != value.shape[0]:
        raise ExecutionError(f"{value.shape[0]} values for {len(indices)} places")
    values = list(ls)
    for index, one in zip(indices, value, strict=True):
        values = _written(values, index, one)
    return values


# ---------------------------------------------------------------------------------------------------------------------
# States (iOS18): cells shared between calls


@kernel("read_state", exact=True)
def read_state(input: Any) -> Tensor:
    """A copy of a state's value."""
    return input.value.clone()


@kernel("write_state", exact=True)
def write_state(input: Any, data: Tensor) -> tuple[()]:
    """Put a value into a state. No outputs."""
    if input.value.shape != data.shape:
        raise ExecutionError(f"a state of shape {list(input.value.shape)} cannot take {list(data.shape)}")
    input.value = data.to(input.value.dtype).clone()
    return ()


@kernel("coreml_update_state", exact=True)
def coreml_update_state(state: Any, value: Tensor) -> Tensor:
    """Put a value into a state, and give it on."""
    write_state(state, value)
    return value


# ---------------------------------------------------------------------------------------------------------------------


@kernel("classify", exact=True)
def classify(probabilities: Tensor, classes: Any) -> tuple[Any, dict[Any, float]]:
    """The likeliest label, and each label's probability."""
    flat = probabilities.flatten().tolist()
    labels = classes.tolist() if isinstance(classes, Tensor) else list(classes)
    if len(labels) != len(flat) or not flat:
        raise ExecutionError(f"{len(flat)} probabilities for {len(labels)} labels")
    return labels[max(range(len(flat)), key=flat.__getitem__)], dict(zip(labels, flat, strict=True))
