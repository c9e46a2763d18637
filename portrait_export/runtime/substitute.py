"""Replace constants of a compiled plan, such as weights in another encoding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from ..errors import ExecutionError
from .executor import BlockPlan, Instruction, Plan


def replaceable(plan: Plan, names: Iterable[str]) -> set[str]:
    """Those of some constants that an operation reads as tensors, so that `with_constants` can replace them."""
    bound: set[int] = {id(value) for value in plan.slots if isinstance(value, Tensor)}

    def note(value: Any) -> Any:
        bound.add(id(value))
        return value

    _block(plan.block, note)
    return {name for name in names if name in plan.constants and id(plan.constants[name]()) in bound}


def with_constants(plan: Plan, values: Mapping[str, Tensor]) -> Plan:
    """Return the plan with other values for some constants, by name.

    The values may need gradients; nothing is copied. Raises ExecutionError if a constant is missing, has another shape,
    or is read by no operation as a tensor.
    """
    replaced: dict[int, Tensor] = {}
    for name, value in values.items():
        if name not in plan.constants:
            raise ExecutionError(f"The program has no constant {name!r} to replace.")
        old = plan.constants[name]()
        if old.shape != value.shape:
            raise ExecutionError(f"The constant {name!r} has shape {list(old.shape)}; found {list(value.shape)}.")
        replaced[id(old)] = value
    used: set[int] = set()

    def swap(value: Any) -> Any:
        if isinstance(value, Tensor) and id(value) in replaced:
            used.add(id(value))
            return replaced[id(value)]
        return value

    block = _block(plan.block, swap)
    slots = tuple(map(swap, plan.slots))
    unused = [name for name in values if id(plan.constants[name]()) not in used]
    if unused:
        raise ExecutionError(f"No operation reads the constants {', '.join(unused)} as tensors.")
    return replace(plan, block=block, slots=slots)


def _block(plan: BlockPlan, swap: Any) -> BlockPlan:
    return replace(plan, instructions=tuple(_instruction(one, swap) for one in plan.instructions))


def _instruction(instruction: Instruction, swap: Any) -> Instruction:
    call = instruction.call
    if isinstance(call, partial):
        call = partial(call.func, **{name: swap(value) for name, value in call.keywords.items()})
    return replace(instruction, call=call, blocks=tuple(_block(block, swap) for block in instruction.blocks))
