"""Types of a saved program's values, read from protobuf."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

MAX_DIMENSION = 2**31 - 1

DTYPE_CODES = {
    1: "bool",
    2: "string",
    10: "fp16",
    11: "fp32",
    12: "fp64",
    13: "bf16",
    21: "int8",
    22: "int16",
    23: "int32",
    24: "int64",
    25: "int4",
    31: "uint8",
    32: "uint16",
    33: "uint32",
    34: "uint64",
    35: "uint4",
    36: "uint2",
    37: "uint1",
    38: "uint6",
    39: "uint3",
    40: "fp8e4m3fn",
    41: "fp8e5m2",
}


@dataclass(frozen=True)
class TensorType:
    """A tensor's element type and shape; None is a dimension known only at run time. Rank 0 is a scalar.

    `ranked` is False if the number of dimensions is unknown too.
    """

    dtype: str
    shape: tuple[int | None, ...] = ()
    ranked: bool = True

    @property
    def count(self) -> int | None:
        """Number of elements, or None if a dimension is unknown."""
        return math.prod(d for d in self.shape if d is not None) if self.static else None

    @property
    def static(self) -> bool:
        """Whether every dimension is known."""
        return self.ranked and None not in self.shape

    def __str__(self) -> str:
        sizes = ", ".join("?" if d is None else str(d) for d in self.shape) if self.ranked else "…"
        return f"tensor<{self.dtype}, [{sizes}]>" if self.shape or not self.ranked else self.dtype


@dataclass(frozen=True)
class ListType:
    """A list of values of one type; `length` is None if it is not fixed."""

    element: ValueType
    length: int | None = None

    def __str__(self) -> str:
        return f"list<{self.element}, {'?' if self.length is None else self.length}>"


@dataclass(frozen=True)
class StateType:
    """A value that persists between calls (iOS18)."""

    wrapped: ValueType

    def __str__(self) -> str:
        return f"state<{self.wrapped}>"


@dataclass(frozen=True)
class DictionaryType:
    """A dictionary, such as a classifier's probabilities by label."""

    key: ValueType
    value: ValueType

    def __str__(self) -> str:
        return f"dict<{self.key}, {self.value}>"


@dataclass(frozen=True)
class TupleType:
    """A fixed sequence of values of any types."""

    elements: tuple[ValueType, ...]

    def __str__(self) -> str:
        return f"tuple<{', '.join(map(str, self.elements))}>"


ValueType: TypeAlias = TensorType | ListType | StateType | DictionaryType | TupleType


def value_type(message: Any) -> ValueType:
    """Convert a type message. Raises ValueError for an unknown type."""
    kind = message.WhichOneof("type")
    if kind == "tensorType":
        return _tensor_type(message.tensorType)
    if kind == "listType":
        return ListType(value_type(message.listType.type), _dimension(message.listType.length))
    if kind == "stateType":
        return StateType(value_type(message.stateType.wrappedType))
    if kind == "dictionaryType":
        return DictionaryType(value_type(message.dictionaryType.keyType), value_type(message.dictionaryType.valueType))
    if kind == "tupleType":
        return TupleType(tuple(value_type(element) for element in message.tupleType.types))
    raise ValueError("a value has no type")


def _tensor_type(message: Any) -> TensorType:
    if message.dataType not in DTYPE_CODES:
        raise ValueError(f"data type {message.dataType} is unknown")
    dtype = DTYPE_CODES[message.dataType]
    if message.rank < 0 or any(d.unknown.variadic for d in message.dimensions):
        return TensorType(dtype, (), ranked=False)
    if message.rank != len(message.dimensions):
        raise ValueError(f"a tensor of rank {message.rank} has {len(message.dimensions)} dimensions")
    return TensorType(dtype, tuple(_dimension(d) for d in message.dimensions))


def _dimension(message: Any) -> int | None:
    if message.WhichOneof("dimension") != "constant":
        return None
    size = message.constant.size
    if size > MAX_DIMENSION:
        raise ValueError(f"a dimension of {size} is larger than {MAX_DIMENSION}")
    return int(size)
