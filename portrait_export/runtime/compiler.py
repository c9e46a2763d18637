"""Compile a program's function into a plan that can run many times.

Compiling does the work that is the same for every run: it looks up the kernel of each operator, decodes the constants,
resolves names to numbered slots, and records after which instruction a value is no longer needed. Running a plan
(`executor.py`) is a loop over its instructions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from ..errors import ExecutionError
from ..mil.constants import Constant
from ..mil.program import Block, Function, Operation
from ..mil.types import StateType, TensorType, ValueType
from .dtypes import CARRIERS, from_numpy, round_to_half
from .environment import Environment
from .executor import BlockPlan, Input, Instruction, Plan, Result, run_block, with_dead
from .limits import MAX_RANK, claim
from .registry import Kernel, OpInfo, Parameter, kernels


def compile_function(function: Function, environment: Environment) -> Plan:
    """Compile a function.

    Raises:
        ExecutionError: for operators without a kernel (all of them at once), inputs that are missing or that a kernel
            does not have, names that are used before they are defined, or declared sizes beyond the limits.
        PackageError: for constants that cannot be decoded.
    """
    missing = _missing_operators(function.block)
    if missing:
        raise ExecutionError(
            f"Cannot run function {function.name!r}: {len(missing)} operator types have no kernel.",
            code="unsupported-mil-op",
            context=[
                f"{name}  {count} operations, first {first!r}" for name, (count, first) in sorted(missing.items())
            ],
        )
    return _Compiler(function, environment).plan()


def _missing_operators(block: Block) -> dict[str, tuple[int, str]]:
    """Operators without a kernel: type → (number of operations, name of the first)."""
    missing: dict[str, tuple[int, str]] = {}
    for operation in block.walk():
        if operation.type not in kernels() and operation.type != "const":
            count, first = missing.get(operation.type, (0, operation.name))
            missing[operation.type] = (count + 1, first)
    return missing


def _numbers(x: Tensor | list[Tensor]) -> list[Any]:
    """The elements of a vector, or of several scalars."""
    return x.flatten().tolist() if isinstance(x, Tensor) else [one for value in x for one in _numbers(value)]


# Kind of a kernel's parameter → conversion of a computed tensor to the Python value that the kernel takes.
_FROM_TENSOR: dict[Any, Callable[[Any], Any]] = {
    int: lambda x: int(x),
    float: lambda x: float(x),
    bool: lambda x: bool(x),
    str: lambda x: str(x),
    list[int]: lambda x: [int(one) for one in _numbers(x)],
    list[float]: lambda x: [float(one) for one in _numbers(x)],
    list[bool]: lambda x: [bool(one) for one in _numbers(x)],
}
_FROM_NUMPY: dict[Any, Callable[[np.ndarray], Any]] = {
    int: lambda a: int(a.item()),
    float: lambda a: float(a.item()),
    bool: lambda a: bool(a.item()),
    str: lambda a: str(a.item()),
    list[int]: lambda a: [int(v) for v in a.ravel().tolist()],
    list[float]: lambda a: [float(v) for v in a.ravel().tolist()],
    list[bool]: lambda a: [bool(v) for v in a.ravel().tolist()],
    list[str]: lambda a: [str(v) for v in a.ravel().tolist()],
}


class _Compiler:
    """Compiles one function.

    Attributes:
        scope: name → its slot, its Constant (not yet decoded), or the tensor of a decompressed weight.
        slots: initial value of each slot.
        decoded: id of a Constant → its tensor.
        names: values that a run computes, in order.
        kept: slots that hold constants, which no instruction may free.
    """

    def __init__(self, function: Function, environment: Environment):
        self.function = function
        self.environment = environment
        self.slots: list[Any] = []
        self.scope: dict[str, int | Constant | Tensor] = {}
        self.decoded: dict[int, Tensor] = {}
        self.names: list[str] = []
        self.kept: set[int] = set()

    def plan(self) -> Plan:
        for name, kind in self.function.inputs:
            self._check_size(name, kind)
        inputs = tuple((name, kind, self._define(name)) for name, kind in self.function.inputs)
        block = self.block(self.function.block, set())
        outputs = tuple(zip(self.function.block.outputs, block.outputs, strict=True))
        constants = {
            name: partial(self._constant_tensor, value)
            for name, value in self.scope.items()
            if isinstance(value, Tensor) or (isinstance(value, Constant) and _is_numeric(value.type))
        }
        return Plan(self.function.name, tuple(self.slots), inputs, block, outputs, tuple(self.names), constants)

    def block(self, block: Block, outer: set[int]) -> BlockPlan:
        """Compile a block. `outer` are the slots of the enclosing blocks, which this block must not free."""
        inputs = tuple(self._define(name) for name, _ in block.inputs)
        compiled = [self.operation(operation) for operation in block.operations]
        instructions = [instruction for instruction in compiled if instruction is not None]
        outputs = tuple(self._slot(name, "the block's output") for name in block.outputs)
        return BlockPlan(inputs, with_dead(instructions, set(outputs) | outer | self.kept), outputs)

    def nested(self, block: Block) -> BlockPlan:
        """Compile a nested block. Names defined inside it are not visible after it."""
        before = dict(self.scope)
        plan = self.block(block, {slot for slot in before.values() if isinstance(slot, int)})
        self.scope = before
        return plan

    def operation(self, operation: Operation) -> Instruction | None:
        """Compile one operation; None for constants, which need no instruction."""
        for name, kind in operation.outputs:
            self._check_size(name, kind)
        if operation.type == "const":
            self._constant(operation)
            return None
        kernel = kernels()[operation.type]
        self._check_inputs(operation, kernel)
        arguments: dict[str, tuple[Any, ...]] = dict(operation.inputs)
        arguments.update({name: (value,) for name, value in operation.attributes.items() if name in kernel.parameters})
        values = {name: self._value(operation, kernel.parameters[name], arguments[name]) for name in arguments}
        inputs = tuple(value for value in values.values() if isinstance(value, Input))
        bound = {name: value for name, value in values.items() if not isinstance(value, Input)}
        extras = {"op": OpInfo(operation.type, operation.name, operation.outputs), "env": self.environment}
        bound.update({name: extras[name] for name in kernel.extras if name in extras})
        call = partial(kernel.function, **bound)
        if operation.type.startswith("constexpr_") and not inputs:
            self._fold(operation, kernel, call)
            return None
        blocks = tuple(self.nested(block) for block in operation.blocks)
        results = tuple(self._result(name, kind, kernel, self._define(name)) for name, kind in operation.outputs)
        self.names.extend(name for name, _ in operation.outputs)
        return Instruction(operation, call, inputs, results, (), blocks)

    def _value(self, operation: Operation, parameter: Parameter, arguments: tuple[Any, ...]) -> Any:
        """What a parameter is bound to: the Python value or tensor of a constant, or an Input for a computed value."""
        where, kind = f"{operation.type} {operation.name!r}", parameter.kind
        sources = [a if isinstance(a, Constant) else self._lookup(a.name, where) for a in arguments]
        if kind == list[Tensor] or (len(sources) > 1 and kind is not Tensor):
            convert = None if kind in (list[Tensor], Any) else _from_tensor(parameter, where)
            return Input(parameter.name, tuple(self._materialise(source) for source in sources), convert)
        if len(sources) != 1:
            raise ExecutionError(f"{where} takes one value for its input {parameter.name!r}; found {len(sources)}.")
        source, as_tensor = sources[0], kind in (Tensor, Any)
        if isinstance(source, int):
            return Input(parameter.name, source, None if as_tensor else _from_tensor(parameter, where))
        if isinstance(source, Tensor):
            return source if as_tensor else self._from_weight(source, parameter, where)
        if kind is Tensor or (kind is Any and _is_numeric(source.type)):
            return self._constant_tensor(source)
        return self._python(source, parameter, where)

    def _python(self, source: Constant, parameter: Parameter, where: str) -> Any:
        if parameter.kind is Any or not isinstance(source.type, TensorType):
            return source.python()
        try:
            return _FROM_NUMPY[parameter.kind](source.numpy())
        except (ArithmeticError, ValueError, TypeError) as error:
            raise ExecutionError(
                f"{where} takes {parameter.kind_name} for {parameter.name!r}, but {source.owner} is a {source.type}."
            ) from error

    def _from_weight(self, source: Tensor, parameter: Parameter, where: str) -> Any:
        """The Python value of a decompressed weight."""
        try:
            return _from_tensor(parameter, where)(source)
        except (ArithmeticError, RuntimeError, ValueError, TypeError) as error:
            raise ExecutionError(
                f"{where} takes {parameter.kind_name} for {parameter.name!r}, but it is a compressed weight of shape"
                f" {list(source.shape)}."
            ) from error

    def _constant(self, operation: Operation) -> None:
        value = operation.attributes.get("val")
        if value is None or len(operation.outputs) != 1:
            raise ExecutionError(f"The constant {operation.name!r} has no value.")
        name, kind = operation.outputs[0]
        if isinstance(kind, TensorType) and kind != value.type:
            raise ExecutionError(f"The constant {name!r} is declared as {kind} but holds a {value.type}.")
        self._new(name)
        self.scope[name] = value

    def _fold(self, operation: Operation, kernel: Kernel, call: Callable[..., Any]) -> None:
        """Compute a compressed weight once, when the program is loaded."""
        results = tuple(self._result(name, kind, kernel, slot) for slot, (name, kind) in enumerate(operation.outputs))
        values: list[Any] = [None] * len(results)
        instruction = Instruction(operation, call, (), results)
        run_block(BlockPlan((), (instruction,), ()), values, None, self.function.name)
        for result in results:
            self._new(result.name)
            self.scope[result.name] = values[result.slot]

    def _constant_tensor(self, constant: Constant | Tensor) -> Tensor:
        """A constant as a carrier tensor. Each constant is decoded once."""
        if isinstance(constant, Tensor):
            return constant
        if id(constant) not in self.decoded:
            if not isinstance(constant.type, TensorType) or constant.type.dtype not in CARRIERS:
                raise ExecutionError(f"{constant.owner} is a {constant.type}; a tensor is needed here.")
            claim(side or 0 for side in constant.type.shape)
            value = from_numpy(constant.numpy(), constant.type.dtype, self.environment.device)
            self.decoded[id(constant)] = round_to_half(value) if self.environment.rounds(constant.type.dtype) else value
        return self.decoded[id(constant)]

    def _materialise(self, source: int | Constant | Tensor) -> int:
        """The slot of a source. A constant gets a slot that already holds its value."""
        if isinstance(source, int):
            return source
        self.slots.append(self._constant_tensor(source))
        self.kept.add(len(self.slots) - 1)
        return len(self.slots) - 1

    def _lookup(self, name: str, where: str) -> int | Constant | Tensor:
        if name not in self.scope:
            later = any(name == out for op in self.function.block.walk() for out, _ in op.outputs)
            reason = "which is computed later (a cycle?)" if later else "which does not exist"
            raise ExecutionError(f"{where} in function {self.function.name!r} takes {name!r}, {reason}.")
        return self.scope[name]

    def _slot(self, name: str, where: str) -> int:
        source = self._lookup(name, where)
        if isinstance(source, Constant) and not _is_numeric(source.type):
            self.slots.append(source.python())
            self.kept.add(len(self.slots) - 1)
            return len(self.slots) - 1
        return self._materialise(source)

    def _new(self, name: str) -> None:
        if name in self.scope:
            raise ExecutionError(f"Function {self.function.name!r} defines {name!r} twice.")

    def _define(self, name: str) -> int:
        self._new(name)
        self.slots.append(None)
        self.scope[name] = len(self.slots) - 1
        return len(self.slots) - 1

    def _result(self, name: str, kind: ValueType, kernel: Kernel, slot: int) -> Result:
        if not isinstance(kind, TensorType) or kind.dtype not in CARRIERS:
            return Result(name, slot, None, "", None, False)
        rounds = self.environment.rounds(kind.dtype) and not kernel.exact
        return Result(name, slot, kind.shape if kind.ranked else None, kind.dtype, CARRIERS[kind.dtype], rounds)

    def _check_size(self, name: str, kind: ValueType) -> None:
        kind = kind.wrapped if isinstance(kind, StateType) else kind
        if not isinstance(kind, TensorType):
            return
        if len(kind.shape) > MAX_RANK:
            raise ExecutionError(
                f"{name!r} is declared with {len(kind.shape)} dimensions; at most {MAX_RANK} are allowed."
            )
        try:
            claim(side for side in kind.shape if side is not None)
        except ExecutionError as error:
            raise ExecutionError(f"{name!r} is declared as {kind}. {error.message}", code="too-large") from error

    def _check_inputs(self, operation: Operation, kernel: Kernel) -> None:
        given = {name for name, values in operation.inputs.items() if values} | set(operation.attributes)
        missing = [p.name for p in kernel.parameters.values() if p.required and p.name not in given]
        unknown = [name for name in operation.inputs if name not in kernel.parameters]
        if missing or unknown:
            context = [f"missing: {name}" for name in missing] + [f"unknown: {name}" for name in unknown]
            raise ExecutionError(
                f"{operation.type} {operation.name!r} has missing or unknown inputs."
                f" The inputs of {operation.type} are: {', '.join(kernel.parameters)}.",
                context=context,
            )


def _from_tensor(parameter: Parameter, where: str) -> Callable[[Any], Any]:
    """The conversion of a computed value to the parameter's kind."""
    if parameter.kind not in _FROM_TENSOR:
        raise ExecutionError(f"{where} needs a constant for its input {parameter.name!r} ({parameter.kind_name}).")
    return _FROM_TENSOR[parameter.kind]


def _is_numeric(kind: ValueType) -> bool:
    return isinstance(kind, TensorType) and kind.dtype in CARRIERS
