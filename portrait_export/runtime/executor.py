"""Run a compiled plan: a loop over instructions that read and fill numbered slots."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import ExecutionError, PortraitError
from ..mil.program import Operation
from ..mil.types import ValueType
from ..utils.names import with_article
from .dtypes import round_to_half

# Called with the name and value of each result as it is computed. What it returns, unless None, replaces the value.
Hook = Callable[[str, Any], Any]


class StopExecution(Exception):
    """Raised by a hook that needs no further values."""


class LocatedError(ExecutionError):
    """A failure that already names its operation; enclosing blocks pass it on unchanged."""


class Input(NamedTuple):
    """A kernel parameter whose value is computed by the program.

    Attributes:
        slots: the slot to read, or one per element of a variadic input.
        convert: makes the kernel's Python value from the tensors; None passes them on unchanged.
    """

    parameter: str
    slots: int | tuple[int, ...]
    convert: Callable[[Any], Any] | None

    def read(self, values: list[Any]) -> Any:
        """What the slots hold: one value, or a list of them."""
        return values[self.slots] if isinstance(self.slots, int) else [values[slot] for slot in self.slots]


@dataclass(frozen=True)
class Result:
    """Where one result of an instruction is stored, and what it must look like.

    Attributes:
        shape: the declared shape, or None if it is known only at run time.
        dtype: declared MIL type, or empty for lists, states and strings.
        carrier: torch type of the slot's value.
        rounds: whether it is rounded to half.
    """

    name: str
    slot: int
    shape: tuple[int | None, ...] | None
    dtype: str
    carrier: torch.dtype | None
    rounds: bool


@dataclass(frozen=True)
class Instruction:
    """One operation, ready to run.

    Attributes:
        call: the kernel with its constants and extras bound.
        dead: slots that are not read after this instruction.
        blocks: nested plans; they share the slots.
    """

    operation: Operation
    call: Callable[..., Any]
    inputs: tuple[Input, ...]
    results: tuple[Result, ...]
    dead: tuple[int, ...] = ()
    blocks: tuple[BlockPlan, ...] = ()


@dataclass(frozen=True)
class BlockPlan:
    """A block, ready to run on the slots of its function."""

    inputs: tuple[int, ...]
    instructions: tuple[Instruction, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """A function, ready to run.

    Attributes:
        slots: the initial values: constants used as tensors, None elsewhere.
        inputs: (name, declared type, slot).
        outputs: (name, slot).
        names: every value that a run computes, in order.
        constants: name → a function that decodes the constant.
        check: raises ExecutionError for inputs that the plan gives no right result for; None if it takes all.
    """

    function: str
    slots: tuple[Any, ...]
    inputs: tuple[tuple[str, ValueType, int], ...]
    block: BlockPlan
    outputs: tuple[tuple[str, int], ...]
    names: tuple[str, ...]
    constants: Mapping[str, Callable[[], Tensor]] = field(repr=False)
    check: Callable[[Mapping[str, Any]], None] | None = None

    def run(self, inputs: Mapping[str, Any], hook: Hook | None = None) -> dict[str, Any]:
        """Compute the outputs.

        Args:
            inputs: a carrier tensor (or state) for each input.
            hook: called with every computed value; may replace it, may raise StopExecution.
        Raises:
            ExecutionError: with the operation's name, its block, and its inputs' types and shapes.
        """
        if self.check is not None:
            self.check(inputs)
        values = list(self.slots)
        for name, _, slot in self.inputs:
            values[slot] = inputs[name]
        run_block(self.block, values, hook, self.function)
        return {name: values[slot] for name, slot in self.outputs}

    def with_outputs(self, names: Sequence[str]) -> Plan:
        """A plan that also returns these values of the function's own block; other names are left out."""
        steps = self.block.instructions
        slots = {result.name: result.slot for step in steps for result in step.results}
        more = tuple((name, slots[name]) for name in names if name in slots and (name, slots[name]) not in self.outputs)
        if not more:
            return self
        held = {slot for _, slot in more}
        kept = tuple(replace(step, dead=tuple(slot for slot in step.dead if slot not in held)) for step in steps)
        return replace(self, block=replace(self.block, instructions=kept), outputs=(*self.outputs, *more))


def slots_read(instruction: Instruction) -> set[int]:
    """Slots that an instruction reads, including those that its nested blocks read."""
    used: set[int] = set()
    for entry in instruction.inputs:
        used |= {entry.slots} if isinstance(entry.slots, int) else set(entry.slots)
    for block in instruction.blocks:
        used |= set(block.outputs)
        for inner in block.instructions:
            used |= slots_read(inner)
    return used


def with_dead(instructions: Sequence[Instruction], kept: set[int]) -> tuple[Instruction, ...]:
    """Record for each instruction which slots it is the last to use; those of `kept` are never freed."""
    done, seen = [], set(kept)
    for instruction in reversed(instructions):
        used = {result.slot for result in instruction.results} | slots_read(instruction)
        done.append(replace(instruction, dead=tuple(sorted(used - seen))))
        seen |= used
    return tuple(reversed(done))


def run_block(plan: BlockPlan, values: list[Any], hook: Hook | None, block: str) -> None:
    """Run the instructions in order; they read from `values` and write into it. `block` names the block in errors."""
    instruction = None
    try:
        for instruction in plan.instructions:
            execute(instruction, values, hook, block)
    except (StopExecution, LocatedError):
        raise
    except PortraitError as error:
        if instruction is None:
            raise
        raise _located(error.message, instruction, values, block) from error
    except (MemoryError, RecursionError, ArithmeticError, LookupError, TypeError, ValueError, RuntimeError) as error:
        if instruction is None:
            raise
        first_line = str(error).splitlines()[0] if str(error) else ""
        message = f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__
        raise _located(message, instruction, values, block) from error


def execute(instruction: Instruction, values: list[Any], hook: Hook | None, block: str) -> None:
    """Run one instruction on the slots."""
    arguments = {
        entry.parameter: entry.read(values) if entry.convert is None else entry.convert(entry.read(values))
        for entry in instruction.inputs
    }
    if instruction.blocks:
        inner = f"{block}/{instruction.operation.name}"
        arguments["blocks"] = [partial(_call_block, nested, values, hook, inner) for nested in instruction.blocks]
    results = instruction.call(**arguments)
    if len(instruction.results) == 1 and not isinstance(results, tuple):
        results = (results,)
    _store(instruction, results, values, hook)
    for slot in instruction.dead:
        values[slot] = None


def _call_block(plan: BlockPlan, values: list[Any], hook: Hook | None, block: str, *inputs: Any) -> list[Any]:
    """Run a nested block on the given inputs. Control flow kernels call this."""
    for slot, value in zip(plan.inputs, inputs, strict=True):
        values[slot] = value
    run_block(plan, values, hook, block)
    return [values[slot] for slot in plan.outputs]


def _store(instruction: Instruction, results: Any, values: list[Any], hook: Hook | None) -> None:
    """Convert each result to its declared type and put it into its slot."""
    if len(results) != len(instruction.results):
        raise ExecutionError(f"it returned {len(results)} results; {len(instruction.results)} are declared")
    for value, target in zip(results, instruction.results, strict=True):
        if target.carrier is not None:
            value = _typed(value, target)
        if hook is not None:
            replaced = hook(target.name, value)
            value = value if replaced is None else replaced
        values[target.slot] = value


def _typed(value: Any, target: Result) -> Tensor:
    if not isinstance(value, Tensor):
        raise ExecutionError(f"its result {target.name!r} is {with_article(type(value).__name__)}, not a tensor")
    if value.dtype != target.carrier:
        value = value.to(target.carrier)
    if target.rounds:
        value = round_to_half(value)
    shape = target.shape
    if shape is not None and tuple(value.shape) != shape and not _fits(value.shape, shape):
        raise ExecutionError(f"its result {target.name!r} has shape {list(value.shape)}; {list(shape)} is declared")
    return value


def _fits(found: Sequence[int], declared: tuple[int | None, ...]) -> bool:
    pairs = zip(found, declared, strict=True) if len(found) == len(declared) else None
    return pairs is not None and all(side is None or size == side for size, side in pairs)


def _located(message: str, instruction: Instruction, values: list[Any], block: str) -> LocatedError:
    """The error with the operation, its block and its inputs."""
    operation = instruction.operation
    computed = {entry.parameter: _describe(entry.read(values)) for entry in instruction.inputs}
    constants = dict.fromkeys(sorted(set(operation.inputs) - set(computed)), "constant")
    return LocatedError(
        f"{operation.type} {operation.name!r} in function {block!r} failed: {message}",
        context=[f"input {name}: {text}" for name, text in (computed | constants).items()],
    )


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if isinstance(value, list):
        return "[" + ", ".join(_describe(one) for one in value[:8]) + (", …]" if len(value) > 8 else "]")
    return type(value).__name__
