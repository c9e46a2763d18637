"""Types, constants and stored values of a saved program's function, by name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .constants import Constant
from .program import Block, Operation, Reference
from .types import TensorType, ValueType
from .weights import BITS


def is_decoder(op: Operation) -> bool:
    """Whether an operation decodes a compressed weight when the package is loaded."""
    return op.type.startswith("constexpr_")


def is_stored(op: Operation) -> bool:
    """Whether an operation is a constant, or decodes one when the package is loaded."""
    return op.type == "const" or is_decoder(op)


@dataclass(frozen=True)
class Values:
    """The values of one function.

    Attributes:
        types: type of every value.
        constants: the value of every const operation.
        stored: names of the values that are stored in the package, compressed or not.
    """

    types: dict[str, ValueType]
    constants: dict[str, Constant]
    stored: set[str]

    @classmethod
    def of(cls, inputs: Iterable[tuple[str, ValueType]], block: Block) -> Values:
        """Collect the values of a block, nested blocks included, and its inputs."""
        values = cls(dict(inputs), {}, set())
        for op in block.walk():
            values.types.update(op.outputs)
            for inner in op.blocks:
                values.types.update(inner.inputs)
            if is_stored(op):
                values.stored.update(name for name, _ in op.outputs)
            if op.type == "const" and op.outputs and "val" in op.attributes:
                values.constants[op.outputs[0][0]] = op.attributes["val"]
        return values

    def input_types(self, op: Operation, parameter: str) -> list[ValueType | None]:
        """The types of an input's values; None for an unknown one."""
        values = op.inputs.get(parameter, ())
        return [self.types.get(value.name) if isinstance(value, Reference) else value.type for value in values]

    def constant(self, op: Operation, parameter: str) -> Constant | None:
        """The first value of an input if it is constant, else None."""
        value = next(iter(op.inputs.get(parameter, ())), None)
        return self.constants.get(value.name) if isinstance(value, Reference) else value

    def numbers(self, op: Operation, parameter: str) -> tuple[int, ...]:
        """The numbers of a constant input; empty if it is absent, computed or text."""
        constant = self.constant(op, parameter)
        if constant is None or not isinstance(constant.type, TensorType) or constant.type.dtype not in BITS:
            return ()
        return tuple(int(value) for value in constant.numpy().ravel())

    def text(self, op: Operation, parameter: str) -> str:
        """The text of a constant input; empty if it is absent, computed or not text."""
        constant = self.constant(op, parameter)
        if constant is None or constant.type != TensorType("string"):
            return ""
        return str(constant.python())

    def stored_inputs(self, op: Operation, *parameters: str) -> list[bool]:
        """For each value of some inputs, whether it is stored."""
        values = [value for parameter in parameters for value in op.inputs.get(parameter, ())]
        return [not isinstance(value, Reference) or value.name in self.stored for value in values]
