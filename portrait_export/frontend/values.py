"""The values that lowerings take and return: constants, MIL variables, over-rank tensors and sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from .refusals import Unsupported

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
MAX_RANK = 5  # a Core ML tensor has at most five dimensions
MIL_TYPES = {"float32": "fp32", "float16": "fp16", "int32": "int32", "int64": "int32", "bool": "bool"}
QUANTIZED_TYPES = {"int8": "int8", "uint8": "uint8"}
TARGETS_WITH_INT8 = ("iOS26",)  # targets whose programs may have int8 inputs and outputs


def feature_types(target: str) -> Mapping[str, str]:
    """The types that a program's inputs and outputs may have, from numpy's to MIL's."""
    return {**MIL_TYPES, "int8": "int8"} if target in TARGETS_WITH_INT8 else MIL_TYPES


class Operation(Protocol):
    """The part of coremltools' MIL Operation that the frontend uses.

    Attributes:
        inputs: Vars by parameter name; a list for variadic parameters, None for omitted ones.
        blocks: bodies of control flow.
    """

    name: str

    @property
    def op_type(self) -> str: ...
    @property
    def inputs(self) -> Mapping[str, Any]: ...
    @property
    def outputs(self) -> Sequence[Var]: ...
    @property
    def blocks(self) -> Sequence[object]: ...


class Var(Protocol):
    """The part of coremltools' MIL Var that the frontend uses: a value that the program computes.

    Attributes:
        shape: sizes of the dimensions; a symbol for one that varies.
        dtype: MIL's own type object; `Emitter.np_type` converts it.
        op: the operation that computes it, None for a program's input.
        val: the value if it is known at conversion, else None.
    """

    name: str

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> type: ...
    @property
    def op(self) -> Operation | None: ...
    @property
    def val(self) -> Any: ...


Constant: TypeAlias = np.ndarray | np.generic
Tensor: TypeAlias = Constant | Var  # what MIL operations take


@dataclass(frozen=True)
class OverRank:
    """A tensor with more dimensions than Core ML supports, represented by a lower-rank tensor of the same elements.

    Window attention and pixel shuffles reshape to rank 6, transpose and reshape back. Only lowerings that move
    elements accept an OverRank; all others refuse it.

    Attributes:
        var: the same elements in the same order, in at most five dimensions.
        shape: the shape in ONNX.
    """

    var: Tensor
    shape: tuple[int, ...]


AnyRank: TypeAlias = Tensor | OverRank  # what lowerings that only move elements take


@dataclass(frozen=True)
class TensorSequence:
    """An ONNX sequence of tensors whose length and order are known at conversion."""

    values: tuple[Tensor, ...]


class Unknown:
    """The value of a node that was refused and whose shape is not known either."""


UNKNOWN = Unknown()

Value: TypeAlias = Tensor | OverRank | TensorSequence
MaybeValue: TypeAlias = Value | Unknown | None  # None for an omitted input or output
Result: TypeAlias = Value | Sequence[MaybeValue]  # of a lowering: its only output, or all of them in order
# What a parameter of a MIL operation takes: a value or a plain setting.
Argument: TypeAlias = Tensor | bool | int | float | str | Sequence[int] | Sequence[bool] | Sequence[Tensor] | None


def narrow(array: np.ndarray) -> Constant:
    """Convert a constant to a type that MIL has: int64 becomes int32, and values out of range saturate.

    ONNX writes INT64_MAX for "to the end"; saturated, it still exceeds the size of every tensor that fits in memory.
    Raises Unsupported for types without a MIL counterpart (double, string, uint64 …).
    """
    if array.dtype == np.int64:
        return np.clip(array, INT32_MIN, INT32_MAX).astype(np.int32)
    if array.dtype.name in MIL_TYPES or array.dtype.name in QUANTIZED_TYPES:
        return array
    raise Unsupported(f"a constant of type {array.dtype.name}; MIL computes in float32, float16, int32 and bool")


def check_shape(shape: tuple[int, ...]) -> None:
    """Raise Unsupported for a shape that Core ML does not support."""
    if any(not isinstance(size, (int, np.integer)) for size in shape):
        raise Unsupported(f"a size that is not known before the model runs: {shape}")
    if len(shape) > MAX_RANK:
        raise Unsupported(f"a tensor of rank {len(shape)} {shape}; Core ML supports at most {MAX_RANK}")
    if 0 in shape:
        raise Unsupported(f"an empty tensor {shape}")


def shape_of(value: AnyRank) -> tuple[int, ...]:
    """The shape of a value, constant or computed."""
    return tuple(int(size) for size in value.shape)


def axis_of(axis: int, rank: int) -> int:
    """Convert a possibly negative axis to one in 0..rank-1. Raises Unsupported if it is out of range."""
    if not -rank <= axis < max(rank, 1):
        raise Unsupported(f"axis {axis} of a tensor of rank {rank}")
    return axis + rank if axis < 0 else axis
