"""Find the weights of a program that can be compressed, and the reason for each large constant that cannot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..mil.constants import Constant
from ..mil.program import Function, Operation, Reference
from ..mil.types import TensorType
from ..mil.values import Values, is_stored
from .layer import Layer

# Operator → parameters that hold weights. Rows of a weight are output channels unless the comment says otherwise.
WEIGHTS = {
    "conv": ("weight",),
    "conv_transpose": ("weight",),  # rows are input channels
    "linear": ("weight",),
    "matmul": ("x", "y"),
    "gru": ("weight_ih", "weight_hh"),
    "lstm": ("weight_ih", "weight_hh", "weight_ih_back", "weight_hh_back"),
    "rnn": ("weight_ih", "weight_hh"),
}


@dataclass(frozen=True)
class Use:
    """One operator that reads a weight, and the value that it multiplies it with."""

    operation: Operation
    parameter: str

    @property
    def input(self) -> str | None:
        """The name of the layer's input; None if it is a constant."""
        other = {"matmul": "y" if self.parameter == "x" else "x"}.get(self.operation.type, "x")
        values = self.operation.inputs.get(other, ())
        return values[0].name if values and isinstance(values[0], Reference) else None


@dataclass(frozen=True)
class Weights:
    """The large constants of a function.

    Attributes:
        layers: those that can be compressed, by name.
        uses: the operators that read each of them.
        constants: their values.
        left: why each other large constant cannot be compressed.
    """

    layers: dict[str, Layer]
    uses: dict[str, tuple[Use, ...]]
    constants: dict[str, Constant]
    left: dict[str, str]


def find_weights(function: Function, *, min_elements: int) -> Weights:
    """Look at every constant of more than `min_elements` elements."""
    values = Values.of(function.inputs, function.block)
    readers = _readers(function)
    edges = _edges(function, values)
    layers, uses, left = {}, {}, {}
    for name, constant in values.constants.items():
        kind = constant.type
        if not isinstance(kind, TensorType) or kind.dtype not in ("fp16", "fp32") or (kind.count or 0) <= min_elements:
            continue
        found = tuple(Use(op, p) for op, p in readers.get(name, ()) if p in WEIGHTS.get(op.type, ()))
        reason = _reason(readers.get(name, ()), found, kind)
        if reason:
            left[name] = reason
            continue
        uses[name] = found
        layers[name] = _layer(name, kind, found, values, edge=any(use.operation.name in edges for use in found))
    return Weights(layers, uses, {name: values.constants[name] for name in layers}, left)


def _readers(function: Function) -> dict[str, list[tuple[Operation, str]]]:
    readers: dict[str, list[tuple[Operation, str]]] = {}
    for op in function.block.walk():
        for parameter, arguments in op.inputs.items():
            for argument in arguments:
                if isinstance(argument, Reference):
                    readers.setdefault(argument.name, []).append((op, parameter))
    return readers


def _reason(readers: Sequence[tuple[Operation, str]], found: tuple[Use, ...], kind: TensorType) -> str:
    if not readers:
        return "nothing reads it"
    if not found:
        types = sorted({op.type for op, _ in readers})
        return f"read by {', '.join(types)}, which is not a layer"
    if len(kind.shape) < 2:
        return "one-dimensional"
    return ""


def _layer(name: str, kind: TensorType, uses: tuple[Use, ...], values: Values, *, edge: bool) -> Layer:
    shape = tuple(side or 0 for side in kind.shape)
    operators = tuple(dict.fromkeys(use.operation.type for use in uses))
    groups = max((values.numbers(use.operation, "groups") or (1,))[0] for use in uses)
    return Layer(
        name=name,
        shape=shape,
        operators=operators,
        grouped=groups > 1,
        edge=edge,
        transposed=operators == ("matmul",) and _outputs_last(uses, values),
    )


def _outputs_last(uses: tuple[Use, ...], values: Values) -> bool:
    """Whether the output channels of a matmul's constant factor are its last axis: y of x·y, unless transposed."""
    flips = {bool((values.numbers(u.operation, f"transpose_{u.parameter}") or (0,))[0]) for u in uses}
    sides = {use.parameter for use in uses}
    return sides == {"y"} and flips == {False}


def _edges(function: Function, values: Values) -> set[str]:
    """Names of the layers that no other layer precedes, or none follows."""
    producers = {name: op for op in function.block.walk() for name, _ in op.outputs}
    after: dict[str, bool] = {}
    first: set[str] = set()
    for op in function.block.walk():
        if is_stored(op):
            continue
        preceded = any(after.get(name, False) for name in _reads(op))
        layer = op.type in WEIGHTS and any(values.stored_inputs(op, *WEIGHTS[op.type]))
        if layer and not preceded:
            first.add(op.name)
        after.update({name: preceded or layer for name, _ in op.outputs})
    waiting = list(function.block.outputs)
    seen: set[str] = set()
    last: set[str] = set()
    while waiting:
        name = waiting.pop()
        producer = producers.get(name)
        if producer is None or name in seen or is_stored(producer):
            continue
        seen.add(name)
        if producer.type in WEIGHTS and any(values.stored_inputs(producer, *WEIGHTS[producer.type])):
            last.add(producer.name)
        else:
            waiting += _reads(producer)
    return first | last


def _reads(op: Operation) -> Iterator[str]:
    yield from op.references
    for block in op.blocks:
        for inner in block.operations:
            yield from _reads(inner)
