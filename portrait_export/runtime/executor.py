"""A plan and a program's inputs in, its outputs out: a loop over steps that read and fill numbered slots."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..errors import ExecutionError, PortraitError
from ..mil.program import Operation
from ..mil.types import ValueType
from .dtypes import round_to_half

# Sees each value as it is computed; what it returns, unless None, takes the value's place.
Observer = Callable[[str, Any], Any]


class StopExecution(Exception):
    """Raised by an observer that needs nothing further."""


@dataclass(frozen=True)
class Result:
    """Where one result of a step goes, and what must hold of it.

    Attributes:
        shape: the declared one, or None if it is known only when it runs.
        dtype: declared MIL type, or empty for lists, states and texts.
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
class Step:
    """One operation, ready to run.

    Attributes:
        call: the kernel with its constants and extras bound.
        inputs: (parameter, slot or slots, conversion or None).
        dead: slots that nobody needs after this step.
        blocks: nested plans; they share the slots.
    """

    operation: Operation
    call: Callable[..., Any]
    inputs: tuple[tuple[str, int | tuple[int, ...], Callable[[Any], Any] | None], ...]
    results: tuple[Result, ...]
    dead: tuple[int, ...] = ()
    blocks: tuple[BlockPlan, ...] = ()


@dataclass(frozen=True)
class BlockPlan:
    """A block, ready to run on the slots of its function."""

    inputs: tuple[int, ...]
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """A function, ready to run.

    Attributes:
        slots: the values that are there from the start (constants used as tensors), None elsewhere.
        inputs: (name, declared type, slot).
        outputs: (name, slot).
        names: every value that a run computes, in order.
    """

    function: str
    slots: tuple[Any, ...]
    inputs: tuple[tuple[str, ValueType, int], ...]
    block: BlockPlan
    outputs: tuple[tuple[str, int], ...]
    names: tuple[str, ...]
    constants: Mapping[str, Callable[[], Tensor]] = field(repr=False)

    def run(self, inputs: Mapping[str, Any], observer: Observer | None = None) -> dict[str, Any]:
        """Compute the outputs.

        Args:
            inputs: a carrier tensor (or state) for each input.
            observer: sees every computed value by name, may replace it, may raise StopExecution.
        Raises:
            ExecutionError: naming the operation, its inputs' shapes and types, and its place.
        """
        values = list(self.slots)
        for name, _, slot in self.inputs:
            values[slot] = inputs[name]
        run_block(self.block, values, observer, self.function)
        return {name: values[slot] for name, slot in self.outputs}


def run_block(plan: BlockPlan, values: list[Any], observer: Observer | None, place: str) -> None:
    """Run the steps in order, on and into `values`."""
    step = None
    try:
        for step in plan.steps:
            arguments = {
                name: _gather(values, slot) if convert_input is None else convert_input(_gather(values, slot))
                for name, slot, convert_input in step.inputs
            }
            if step.blocks:
                inner = f"{place}/{step.operation.name}"
                arguments["blocks"] = [partial(_call_block, block, values, observer, inner) for block in step.blocks]
            results = step.call(**arguments)
            if len(step.results) == 1 and not isinstance(results, tuple):
                results = (results,)
            _store(step, results, values, observer)
            for slot in step.dead:
                values[slot] = None
    except StopExecution:
        raise
    except PortraitError as error:
        if step is None or getattr(error, "located", False):
            raise
        raise _located(error.message, step, values, place) from error
    except (MemoryError, RecursionError, ArithmeticError, LookupError, TypeError, ValueError, RuntimeError) as error:
        if step is None:
            raise
        text = str(error).splitlines()[0] if str(error) else ""
        raise _located(
            f"{type(error).__name__}: {text}" if text else type(error).__name__, step, values, place
        ) from error


def _call_block(plan: BlockPlan, values: list[Any], observer: Observer | None, place: str, *inputs: Any) -> list[Any]:
    """Run a nested block on given inputs; what control flow kernels call."""
    for slot, value in zip(plan.inputs, inputs, strict=True):
        values[slot] = value
    run_block(plan, values, observer, place)
    return [values[slot] for slot in plan.outputs]


def _gather(values: list[Any], slot: int | tuple[int, ...]) -> Any:
    return values[slot] if isinstance(slot, int) else [values[one] for one in slot]


def _store(step: Step, results: Any, values: list[Any], observer: Observer | None) -> None:
    """Bring each result to its declared type and put it into its slot."""
    if len(results) != len(step.results):
        raise ExecutionError(f"it gave {len(results)} results where {len(step.results)} are declared")
    for value, target in zip(results, step.results, strict=True):
        if target.carrier is not None:
            value = _typed(value, target)
        if observer is not None:
            replaced = observer(target.name, value)
            value = value if replaced is None else replaced
        values[target.slot] = value


def _typed(value: Any, target: Result) -> Tensor:
    if not isinstance(value, Tensor):
        raise ExecutionError(f"its result {target.name!r} is a {type(value).__name__}, not a tensor")
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
    return pairs is not None and all(want is None or size == want for size, want in pairs)


def _located(message: str, step: Step, values: list[Any], place: str) -> ExecutionError:
    """The error with the operation, its place, and what it was given."""
    operation = step.operation
    given = [f"{name}: {_describe(_gather(values, slot))}" for name, slot, _ in step.inputs]
    given += [f"{name}: constant" for name in sorted(set(operation.inputs) - {name for name, _, _ in step.inputs})]
    error = ExecutionError(
        f"{operation.type} {operation.name!r} in function {place!r} failed: {message}",
        context=[f"input {g}" for g in given],
    )
    error.located = True  # type: ignore[attr-defined]  # an outer block passes it on as it is
    return error


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if isinstance(value, list):
        return "[" + ", ".join(_describe(one) for one in value[:8]) + (", …]" if len(value) > 8 else "]")
    return type(value).__name__
