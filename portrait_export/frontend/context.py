"""One ONNX node as its lowering sees it: inputs as values, attributes, and methods that emit MIL operations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
from numpy.typing import DTypeLike

from . import over_rank
from .emitter import Emitter
from .names import identifier
from .refusals import Unsupported
from .values import (
    MAX_RANK,
    MIL_TYPES,
    QUANTIZED_TYPES,
    AnyRank,
    Argument,
    Constant,
    MaybeValue,
    OverRank,
    Tensor,
    TensorSequence,
    Value,
    Var,
    check_shape,
    narrow,
    shape_of,
)

if TYPE_CHECKING:
    from onnx import GraphProto

T = TypeVar("T")


@dataclass(kw_only=True)
class NodeContext:
    """An ONNX node, and what its lowering needs to express it in MIL.

    Attributes:
        op_type, name: of the ONNX node.
        opset: version of the operator set that defines it.
        inputs: one value per input, None for an omitted one.
        outputs: names of the outputs, empty for an unused one.
        attributes: as Python values; read them with `attr`, which records that they were read.
        emitter: writes MIL operations.
        lower_graph: lowers a subgraph of the node, under a label for its names; returns the values of its outputs.
    """

    op_type: str
    name: str
    opset: int
    inputs: Sequence[Value | None]
    outputs: Sequence[str]
    attributes: Mapping[str, Any]
    emitter: Emitter
    lower_graph: Callable[[GraphProto, str], list[MaybeValue]]
    _read: set[str] = field(default_factory=set, init=False)

    # attributes

    @overload
    def attr(self, name: str) -> Any: ...
    @overload
    def attr(self, name: str, default: T) -> T: ...
    def attr(self, name: str, default: object = None) -> object:
        """An attribute, or its default. A lowering must read or ignore every attribute, or the node is refused."""
        self._read.add(name)
        return self.attributes.get(name, default)

    def ignore(self, *names: str) -> None:
        """Declare that these attributes change nothing at inference with static shapes."""
        self._read.update(names)

    def unread(self) -> list[str]:
        """Attributes that the lowering has neither read nor ignored."""
        return sorted(set(self.attributes) - self._read)

    # inputs

    @property
    def target(self) -> str:
        """Deployment target, such as `iOS17`."""
        return self.emitter.target

    def has(self, index: int) -> bool:
        """Whether the input is given."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def wants(self, index: int) -> bool:
        """Whether the output is used."""
        return index < len(self.outputs) and bool(self.outputs[index])

    def value(self, index: int) -> Value:
        """The input as it is, without conversion."""
        value = self.inputs[index] if index < len(self.inputs) else None
        if value is None:
            raise Unsupported(f"input {index} is missing")
        return value

    def is_const(self, index: int) -> bool:
        """Whether the input is given and constant."""
        return self.has(index) and isinstance(self.inputs[index], np.ndarray)

    def const(self, index: int, what: str) -> np.ndarray:
        """The value of an input that must be constant; `what` names the input in the error."""
        value = self.inputs[index] if index < len(self.inputs) else None
        if not isinstance(value, np.ndarray):
            raise Unsupported(f"its {what} is computed by the model; it must be a constant")
        return value

    def optional_const(self, index: int, what: str) -> np.ndarray | None:
        """As `const`, but None for an omitted input."""
        return self.const(index, what) if self.has(index) else None

    def ints(self, index: int, what: str) -> list[int]:
        """A constant input as a list of Python ints."""
        return [int(v) for v in self.const(index, what).reshape(-1)]

    def x(self, index: int = 0) -> Tensor:
        """The input as a MIL operation takes it: a Var or a narrowed constant."""
        value = self.elements(index)
        if isinstance(value, OverRank):
            raise over_rank.refusal(value)
        return value

    def elements(self, index: int = 0) -> AnyRank:
        """The input for a lowering that only moves elements: as `x`, or an OverRank."""
        value = self.value(index)
        if isinstance(value, TensorSequence):
            raise Unsupported("a sequence of tensors")
        return narrow(value) if isinstance(value, np.ndarray) else value

    def var(self, index: int = 0) -> Var:
        """The input as a Var, even if it is constant."""
        return self.as_var(self.x(index))

    def as_var(self, value: Tensor) -> Var:
        """A value as a Var, even if it is constant."""
        if isinstance(value, np.ndarray | np.generic):
            return self.emit("const", val=np.asarray(value) if np.ndim(value) else np.asarray(value)[()])
        return value

    def computed(self, value: AnyRank) -> Var | OverRank:
        """A value as a Var, unless it is an OverRank."""
        return value if isinstance(value, OverRank) else self.as_var(value)

    def shape(self, index: int = 0) -> tuple[int, ...]:
        """The input's shape."""
        value = self.value(index)
        if isinstance(value, TensorSequence):
            raise Unsupported("a sequence of tensors")
        return shape_of(value)

    def dtype(self, index: int = 0) -> np.dtype:
        """The input's type in MIL (int32 for int64)."""
        return self.dtype_of(self.x(index))

    def dtype_of(self, value: Tensor) -> np.dtype:
        """The numpy type of a value."""
        return self.emitter.np_type(value)

    # emission

    def emit(self, op: str, **inputs: Argument) -> Var:
        """Emit one MIL operation and return its only output; numpy scalars and arrays become constants."""
        return self.emitter.emit(op, self._name_for(op), **_plain(inputs))

    def emit_all(self, op: str, **inputs: Argument) -> tuple[Var, ...]:
        """Emit one MIL operation and return all of its outputs."""
        return self.emitter.emit_all(op, self._name_for(op), **_plain(inputs))

    def _name_for(self, op: str) -> str:
        base = identifier(next((name for name in self.outputs if name), self.name))
        return f"{base}_{op}"

    def float_scalar(self, value: float, like: Tensor) -> np.generic:
        """A constant in the float type of `like`."""
        scalar: np.generic = self.dtype_of(like).type(value)
        return scalar

    @overload
    def cast(self, value: Constant, dtype: DTypeLike) -> np.ndarray: ...
    @overload
    def cast(self, value: Var, dtype: DTypeLike) -> Var: ...
    def cast(self, value: Tensor, dtype: DTypeLike) -> Tensor:
        """Convert a value to another type: a constant at once, a Var by MIL's cast."""
        wanted = np.dtype(dtype)
        if isinstance(value, np.ndarray | np.generic):
            return np.asarray(value).astype(wanted)
        if self.dtype_of(value) == wanted:
            return value
        return self.emit("cast", x=value, dtype={**MIL_TYPES, **QUANTIZED_TYPES}[wanted.name])

    @overload
    def reshape(self, value: np.ndarray, shape: Iterable[int]) -> np.ndarray: ...
    @overload
    def reshape(self, value: Var, shape: Iterable[int]) -> Var: ...
    @overload
    def reshape(self, value: AnyRank, shape: Iterable[int]) -> Tensor: ...
    def reshape(self, value: AnyRank, shape: Iterable[int]) -> Tensor:
        """Reshape to a shape that Core ML supports. Raises Unsupported for any other."""
        result = self.reshape_any_rank(value, shape)
        if isinstance(result, OverRank):
            raise over_rank.refusal(result)
        return result

    @overload
    def reshape_any_rank(self, value: np.ndarray, shape: Iterable[int]) -> np.ndarray: ...
    @overload
    def reshape_any_rank(self, value: AnyRank, shape: Iterable[int]) -> AnyRank: ...
    def reshape_any_rank(self, value: AnyRank, shape: Iterable[int]) -> AnyRank:
        """Reshape; the result is an OverRank if it has more dimensions than Core ML supports."""
        wanted = tuple(int(size) for size in shape)
        if isinstance(value, np.ndarray):
            return value.reshape(wanted)
        tensor = value.var if isinstance(value, OverRank) else value
        if tuple(tensor.shape) == wanted:
            return tensor
        if len(wanted) > MAX_RANK and 0 not in wanted:
            return OverRank(tensor, wanted)
        check_shape(wanted)
        if not wanted:
            return self.emit("squeeze", x=tensor, axes=np.arange(len(tensor.shape), dtype=np.int32))
        return self.emit("reshape", x=tensor, shape=np.asarray(wanted, np.int32))

    @overload
    def transpose(self, value: np.ndarray, perm: Sequence[int]) -> np.ndarray: ...
    @overload
    def transpose(self, value: Var, perm: Sequence[int]) -> Var: ...
    @overload
    def transpose(self, value: AnyRank, perm: Sequence[int]) -> AnyRank: ...
    def transpose(self, value: AnyRank, perm: Sequence[int]) -> AnyRank:
        """Reorder the dimensions of a value."""
        if list(perm) == list(range(len(perm))):
            return value
        if isinstance(value, np.ndarray):
            return value.transpose(perm)
        if isinstance(value, OverRank):
            return over_rank.transpose(self, value, perm)
        return self.emit("transpose", x=value, perm=np.asarray(perm, np.int32))

    @overload
    def take(self, value: Var, indices: np.ndarray, axis: int) -> Var: ...
    @overload
    def take(self, value: Tensor, indices: np.ndarray, axis: int) -> Tensor: ...
    def take(self, value: Tensor, indices: np.ndarray, axis: int) -> Tensor:
        """Select constant indices along one axis, as `np.take` does; a contiguous range becomes a slice."""
        if isinstance(value, np.ndarray):
            return np.take(value, indices, axis)
        size = value.shape[axis]
        if len(indices) == size and np.array_equal(indices, np.arange(size)):
            return value
        if len(indices) and np.array_equal(indices, np.arange(indices[0], indices[0] + len(indices))):
            begin, end = [0] * len(value.shape), list(value.shape)
            begin[axis], end[axis] = int(indices[0]), int(indices[-1]) + 1
            bounds = {"begin": np.asarray(begin, np.int32), "end": np.asarray(end, np.int32)}
            return self.emit("slice_by_index", x=value, **bounds)
        if self.dtype_of(value) == np.bool_:
            numbers = self.cast(value, np.int32)
            return self.cast(self.emit("gather", x=numbers, indices=indices.astype(np.int32), axis=axis), np.bool_)
        return self.emit("gather", x=value, indices=indices.astype(np.int32), axis=axis)


def _plain(inputs: Mapping[str, Argument]) -> dict[str, Argument]:
    """Convert 0-d arrays to numpy scalars, which is what coremltools takes for a scalar."""
    return {
        key: value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value for key, value in inputs.items()
    }
