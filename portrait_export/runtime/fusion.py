"""Fuse a compiled plan: the same values from fewer passes over memory.

A chain is an operation whose result is new memory (such as a convolution), followed by elementwise operations that
each read nothing but the value before and, some of them, another value of the same shape. Its steps, the rounding to
half included, run in chunks that stay in the cache, by the same kernels and in the same order as without fusing: the
results are the same bits. Convolutions use packed weights, and attention runs over some queries at a time; both sum in
float32 in another order than the plain plan. A convolution whose result is proved to hold no NaN computes the
activation that follows, which would turn a NaN into a number; the proof holds for inputs of a bounded size.

A fused plan has no values inside of a chain, so runs with a hook use the plain plan. It checks nothing but its inputs:
where a fused run fails, the plain plan runs and says why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..errors import ExecutionError
from .attention import with_attention
from .bounds import bounds_of, check_inputs
from .chunks import Step, run_steps
from .executor import Input, Instruction, Plan, Result, slots_read, with_dead
from .packed import PackedConv, can_pack, pack_conv

# Operators whose kernels return memory that nothing else holds, so that a chain may write over it.
HEADS = frozenset(
    {
        "batch_norm",
        "conv",
        "conv_transpose",
        "instance_norm",
        "layer_norm",
        "linear",
        "matmul",
        "resize_bilinear",
        "softmax",
        "upsample_bilinear",
    }
)
UNARY = frozenset(
    {
        "abs",
        "clip",
        "elu",
        "erf",
        "exp",
        "gelu",
        "leaky_relu",
        "relu",
        "relu6",
        "scaled_tanh",
        "sigmoid",
        "sigmoid_hard",
        "silu",
        "softplus",
        "sqrt",
        "square",
        "tanh",
    }
)
# Rounding commutes with them: both keep the order of numbers, and what is cut off is one number.
MONOTONE = frozenset({"clip", "relu", "relu6"})
BINARY = frozenset({"add", "maximum", "minimum", "mul", "real_div", "sub"})


@dataclass(frozen=True)
class Chain:
    """The call of a fused instruction.

    Attributes:
        head: computes the value that the steps change; None if they start from the input `x` and leave it as it is.
        shape: of the value.
    """

    head: Any
    steps: tuple[Step, ...]
    shape: tuple[int, ...]

    def __call__(self, others: Sequence[Tensor] = (), **inputs: Any) -> Tensor:
        value = (inputs["x"] if self.head is None else self.head(**inputs)).to(torch.float32)
        if tuple(value.shape) != self.shape:
            raise ExecutionError(f"a chain of shape {list(self.shape)} starts with shape {list(value.shape)}")
        return run_steps(value, self.steps, others, in_place=self.head is not None) if self.steps else value


@dataclass
class _Open:
    """A chain that is being collected."""

    head: Instruction | None
    inputs: tuple[Input, ...]
    steps: list[Step]
    others: list[int]
    last: Instruction

    def instruction(self, shape: tuple[int, ...]) -> Instruction:
        head = None if self.head is None else self.head.call
        steps = [step for step in self.steps if step.call is not None or step.rounds]
        if isinstance(head, PackedConv) and steps:
            head, steps = _with_activation(head, steps)
        fused = Chain(head, tuple(steps), shape)
        inputs = (*self.inputs, Input("others", tuple(self.others), None)) if self.others else self.inputs
        results = tuple(replace(result, rounds=False) for result in self.last.results)
        return replace(self.last, call=fused, inputs=inputs, results=results)


def _with_activation(head: PackedConv, steps: list[Step]) -> tuple[PackedConv, list[Step]]:
    """Let the convolution compute the first step, if it can."""
    active = head.with_activation(steps[0])
    if active is None:
        return head, steps
    return active, [Step(), *steps[1:]] if steps[0].rounds else steps[1:]


def fuse(plan: Plan) -> Plan:
    """Fuse the function's own block; nested blocks stay as they are."""
    shapes, bounds = _float_shapes(plan), bounds_of(plan)
    steps = [_packed(step, shapes, bounds) for step in plan.block.instructions]
    needed = {slot for _, slot in plan.outputs}
    reads = Counter([slot for step in steps for slot in _read_slots(step)] + [slot for _, slot in plan.outputs])
    instructions = _Fuser(shapes, with_attention(steps, shapes, reads), reads).fused()
    constants = {slot for slot, value in enumerate(plan.slots) if value is not None}
    block = replace(plan.block, instructions=with_dead(instructions, needed | constants))
    proved = any(isinstance(step.call, PackedConv) and step.call.never_nan for step in steps)
    return replace(plan, block=block, check=check_inputs if proved else None)


def _float_shapes(plan: Plan) -> dict[int, tuple[int, ...]]:
    """Slot → shape, of the float values whose shape is known."""
    results = [result for step in plan.block.instructions for result in step.results]
    return {
        result.slot: tuple(side or 0 for side in result.shape)
        for result in results
        if result.carrier == torch.float32 and result.shape is not None and None not in result.shape
    } | _input_shapes(plan)


def _input_shapes(plan: Plan) -> dict[int, tuple[int, ...]]:
    found = {}
    for _, kind, slot in plan.inputs:
        shape = getattr(kind, "shape", None)
        if shape is not None and None not in shape and getattr(kind, "dtype", "") in ("fp16", "fp32"):
            found[slot] = tuple(shape)
    return found


def _packed(step: Instruction, shapes: Mapping[int, tuple[int, ...]], bounds: Mapping[int, float]) -> Instruction:
    """A convolution with packed weights; other instructions as they are."""
    if step.operation.type != "conv" or not can_pack() or not isinstance(step.call, partial):
        return step
    bound = step.call.keywords
    if len(step.inputs) != 1 or "weight" not in bound:  # none where the convolution is of a constant
        return step
    (given,) = step.inputs
    if given.parameter != "x" or given.slots not in shapes:
        return step
    shape = shapes[given.slots]  # type: ignore[index]  # a slot of `shapes` is one slot
    never_nan = step.results[0].slot in bounds
    try:
        call = pack_conv(shape, **bound, never_nan=never_nan)
    except (ExecutionError, LookupError, RuntimeError, ValueError, TypeError):
        return step  # the plain kernel says what is wrong
    return step if call is None or call.result != step.results[0].shape else replace(step, call=call)


class _Fuser:
    """Collects the chains of a list of instructions."""

    def __init__(self, shapes: Mapping[int, tuple[int, ...]], steps: Sequence[Instruction], reads: Mapping[int, int]):
        self._shapes = shapes
        self._steps = steps
        self._reads = reads

    def fused(self) -> list[Instruction]:
        placed: dict[int, Instruction | _Open] = {}  # index of the last instruction of a chain → the chain
        open_: dict[int, int] = {}  # slot of a chain's value → its index
        for index, step in enumerate(self._steps):
            made = self._extended(step, placed, open_) or self._started(step)
            placed[index] = made or step
            if made is not None:
                open_[step.results[0].slot] = index
        return [self._closed(one) if isinstance(one, _Open) else one for _, one in sorted(placed.items())]

    def _closed(self, chain: _Open) -> Instruction:
        return chain.instruction(self._shapes[chain.last.results[0].slot])

    def _one_float(self, step: Instruction) -> Result | None:
        if len(step.results) != 1 or step.blocks or step.results[0].slot not in self._shapes:
            return None
        return step.results[0]

    def _started(self, step: Instruction) -> _Open | None:
        """A chain that starts with this instruction."""
        result = self._one_float(step)
        if result is None:
            return None
        if step.operation.type in HEADS:
            rounding = [Step()] if result.rounds else []
            return _Open(step, step.inputs, rounding, [], step)
        operands = self._operands(step, result)
        if operands is None or not result.rounds:
            return None
        value, *others = operands
        made = _step(step, value, others, result)
        return _Open(None, (Input("x", value.slots, None),), [made], _slots(others), step)

    def _extended(self, step: Instruction, placed: dict[int, Any], open_: dict[int, int]) -> _Open | None:
        """The chain that this instruction continues, taken from its old place."""
        result = self._one_float(step)
        operands = None if result is None else self._operands(step, result)
        if result is None or operands is None:
            return None
        free = [one for one in operands if one.slots in open_ and self._reads[one.slots] == 1]
        if not free:
            return None
        slot = max(_slots(free), key=lambda slot: open_[slot])  # the latest: the other values are there by then
        value = next(one for one in free if one.slots == slot)
        chain: _Open = placed.pop(open_.pop(slot))
        others = [one for one in operands if one is not value]
        made = replace(_step(step, value, others, result), rounds_other=self._takes_rounding(others, placed, open_))
        if step.operation.type in MONOTONE and chain.steps and chain.steps[-1].rounds:
            chain.steps[-1] = replace(chain.steps[-1], rounds=False)
            made = replace(made, rounds=True)
        chain.steps.append(made)
        chain.others += _slots(others)
        chain.last = step
        return chain

    def _takes_rounding(self, others: list[Input], placed: dict[int, Any], open_: dict[int, int]) -> bool:
        """Leave the rounding of another value, which nothing else reads, to the step that reads it: one pass less."""
        for slot in _slots(others):
            chain = placed.get(open_.get(slot, -1))
            if chain is not None and self._reads[slot] == 1 and chain.head and chain.steps == [Step()]:
                chain.steps.clear()
                return True
        return False

    def _operands(self, step: Instruction, result: Result) -> list[Input] | None:
        """The computed inputs of an elementwise instruction, all of the result's shape; None for others."""
        kind = step.operation.type
        if kind not in UNARY | BINARY or not isinstance(step.call, partial):
            return None
        shape = self._shapes[result.slot]
        fits = all(
            one.convert is None and isinstance(one.slots, int) and self._shapes.get(one.slots) == shape
            for one in step.inputs
        )
        constants = [value for value in step.call.keywords.values() if isinstance(value, Tensor)]
        single = all(value.numel() == 1 and value.dtype == torch.float32 for value in constants)
        if not fits or not single or not step.inputs or any(value.ndim > len(shape) for value in constants):
            return None
        return list(step.inputs)


def _step(step: Instruction, value: Input, others: list[Input], result: Result) -> Step:
    assert isinstance(step.call, partial)
    constants = {name: v.reshape(()) if isinstance(v, Tensor) else v for name, v in step.call.keywords.items()}
    other = others[0].parameter if others else None
    return Step(step.operation.type, step.call.func, constants, value.parameter, other, result.rounds)


def _slots(inputs: list[Input]) -> list[int]:
    return [one.slots for one in inputs if isinstance(one.slots, int)]


def _read_slots(step: Instruction) -> list[int]:
    """Every slot that an instruction reads, as often as its own inputs name it."""
    own = [slot for one in step.inputs for slot in ((one.slots,) if isinstance(one.slots, int) else one.slots)]
    return [*own, *(slots_read(step) - set(own))]
