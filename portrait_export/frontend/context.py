"""One ONNX node and what its lowering needs: its inputs as values, its attributes, and a way to emit MIL ops."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
MAX_RANK = 5  # Core ML's tensors have five dimensions at most
MIL_TYPES = {"float32": "fp32", "float16": "fp16", "int32": "int32", "int64": "int32", "bool": "bool"}
QUANTIZED_TYPES = {"int8": "int8", "uint8": "uint8"}


class Unsupported(Exception):
    """Why this node has no faithful MIL expression. `convert` collects them all into one LoweringError."""


class MissingOperator(Unsupported):
    """No lowering and no function body for an operator."""


def narrow(array: np.ndarray) -> np.ndarray:
    """A constant in a type that MIL has: int64 becomes int32, values beyond its range saturate.

    ONNX writes INT64_MAX for "to the end"; saturated it still lies beyond every tensor that fits in memory.
    Raises Unsupported for types without a MIL counterpart (double, string, uint64 …).
    """
    if array.dtype == np.int64:
        return np.clip(array, INT32_MIN, INT32_MAX).astype(np.int32)
    if array.dtype.name in MIL_TYPES or array.dtype.name in QUANTIZED_TYPES:
        return array
    raise Unsupported(f"a constant of type {array.dtype.name}; MIL computes in float32, float16, int32 and bool")


def identifier(name: str) -> str:
    """An ONNX name as a MIL identifier: what is not a letter, digit or underscore becomes an underscore."""
    clean = re.sub(r"[^a-zA-Z0-9_]", "_", name)
    return clean if clean and not clean[0].isdigit() else f"_{clean}"


class UnknownAttribute(Unsupported):
    """An attribute that no lowering understands, so that nothing else can stand in for the lowering either."""


@dataclass(frozen=True)
class View:
    """A tensor of more dimensions than Core ML has, which so far exists only as another way to count its elements.

    Window attention and pixel shuffles reshape to rank 6, transpose and reshape back. Only what moves elements takes
    a View; every other lowering refuses it.

    Attributes:
        var: the same elements in the same order, in at most five dimensions.
        shape: what ONNX calls their shape.
    """

    var: Any
    shape: tuple[int, ...]


@dataclass(frozen=True)
class TensorSequence:
    """An ONNX sequence whose tensors are known one by one."""

    values: tuple[Any, ...]


@dataclass
class Emitter:
    """Writes MIL ops into the current function, each under a name that only it has.

    Attributes:
        builder: coremltools' `mb`.
        types: coremltools' MIL types.
        target: deployment target, such as `iOS17`.
        taken: names in use.
    """

    builder: Any
    types: Any
    target: str
    taken: set[str] = field(default_factory=set)
    _counts: dict[str, int] = field(default_factory=dict)

    def free(self, wanted: str) -> str:
        """A name like `wanted` that nothing has yet; it is taken from now on."""
        name, count = wanted, 1
        if wanted in self.taken:
            count = self._counts.get(wanted, 1)
        while name in self.taken:
            count += 1
            name = f"{wanted}_{count}"
        self._counts[wanted] = count
        self.taken.add(name)
        return name

    def emit(self, op: str, name: str, **inputs: Any) -> Any:
        """One MIL op. Raises Unsupported if Core ML cannot have it: its rank, an empty result, its types."""
        try:
            result = getattr(self.builder, op)(name=self.free(name), **inputs)
        except (ValueError, TypeError, AssertionError, IndexError, NotImplementedError, AttributeError) as error:
            raise Unsupported(f"MIL's {op} refuses it: {_one_line(error)}") from error
        for var in result if isinstance(result, (tuple, list)) else (result,):
            check_shape(tuple(var.shape))
        return result

    def rename(self, var: Any, wanted: str) -> None:
        """Give a value that `emit` made the name of the ONNX value that it is."""
        name = self.free(wanted)
        if len(var.op.outputs) == 1:
            var.op.name = name
        var.name = name

    def np_type(self, var: Any) -> np.dtype:
        """The numpy type of a MIL value."""
        return np.dtype(self.types.nptype_from_builtin(var.dtype))


def check_shape(shape: tuple[int, ...]) -> None:
    """Raise Unsupported for shapes that Core ML does not have."""
    if any(not isinstance(size, (int, np.integer)) for size in shape):
        raise Unsupported(f"a size that is not known before the model runs: {shape}")
    if len(shape) > MAX_RANK:
        raise Unsupported(f"a tensor of rank {len(shape)} {shape}; Core ML stops at {MAX_RANK}")
    if 0 in shape:
        raise Unsupported(f"an empty tensor {shape}")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__


class Node:
    """An ONNX node as its lowering sees it. Values are numpy arrays where constant, MIL Vars where computed.

    Attributes:
        op_type, name: of the ONNX node.
        opset: version of the operator set that defines it.
        inputs: one value per input, None where it is left out.
        outputs: names of the outputs, empty where nobody wants one.
        graphs: attributes that are graphs, by name.
    """

    def __init__(
        self,
        *,
        op_type: str,
        name: str,
        opset: int,
        inputs: Sequence[Any],
        outputs: Sequence[str],
        attributes: dict[str, Any],
        emitter: Emitter,
        converter: Any,
        input_names: Sequence[str] = (),
    ):
        self.op_type = op_type
        self.name = name
        self.opset = opset
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.input_names = tuple(input_names)
        self.converter = converter
        self._attributes = attributes
        self._read: set[str] = set()
        self._emitter = emitter

    # attributes

    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute, or its default. Every attribute must be read by the lowering, or the node is refused."""
        self._read.add(name)
        return self._attributes.get(name, default)

    def ignore(self, *names: str) -> None:
        """Say that these attributes change nothing for inference with static shapes."""
        self._read.update(names)

    def unread(self) -> list[str]:
        """Attributes that the lowering has not looked at."""
        return sorted(set(self._attributes) - self._read)

    # inputs

    @property
    def target(self) -> str:
        """Deployment target, such as `iOS17`."""
        return self._emitter.target

    def has(self, index: int) -> bool:
        """Whether the input is given."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def wants(self, index: int) -> bool:
        """Whether the output is asked for."""
        return index < len(self.outputs) and bool(self.outputs[index])

    def value(self, index: int) -> Any:
        """The input as it is: numpy array, Var, View or TensorSequence."""
        if not self.has(index):
            raise Unsupported(f"input {index} is missing")
        return self.inputs[index]

    def is_const(self, index: int) -> bool:
        """Whether the input is given and constant."""
        return self.has(index) and isinstance(self.inputs[index], np.ndarray)

    def const(self, index: int, what: str) -> np.ndarray:
        """The input's value, which must be known before the model runs."""
        if not self.is_const(index):
            raise Unsupported(f"its {what} is computed by the model; it must be a constant")
        return np.asarray(self.inputs[index])

    def optional_const(self, index: int, what: str) -> np.ndarray | None:
        """As `const`, None where the input is left out."""
        return self.const(index, what) if self.has(index) else None

    def ints(self, index: int, what: str) -> list[int]:
        """A constant input as a list of Python ints."""
        return [int(v) for v in self.const(index, what).reshape(-1)]

    def x(self, index: int = 0) -> Any:
        """The input as something a MIL op takes: a Var, or a narrowed numpy constant."""
        value = self.elements(index)
        if isinstance(value, View):
            check_shape(value.shape)
        return value

    def elements(self, index: int = 0) -> Any:
        """The input for what only moves elements: as `x`, or a View."""
        value = self.value(index)
        if isinstance(value, TensorSequence):
            raise Unsupported("a sequence of tensors")
        return narrow(value) if isinstance(value, np.ndarray) else value

    def var(self, index: int = 0) -> Any:
        """The input as a Var, constants too."""
        return self.as_var(self.x(index))

    def as_var(self, value: Any) -> Any:
        """A value as a Var."""
        if isinstance(value, np.ndarray | np.generic):
            return self.emit("const", val=np.asarray(value) if np.ndim(value) else np.asarray(value)[()])
        return value

    def shape(self, index: int = 0) -> tuple[int, ...]:
        """The input's shape."""
        return shape_of(self.value(index))

    def dtype(self, index: int = 0) -> np.dtype:
        """The input's type as MIL has it (int64 counts as int32)."""
        return self.dtype_of(self.x(index))

    def dtype_of(self, value: Any) -> np.dtype:
        """The numpy type of a value."""
        return value.dtype if isinstance(value, np.ndarray | np.generic) else self._emitter.np_type(value)

    # emission

    def emit(self, op: str, **inputs: Any) -> Any:
        """Emit one MIL op; numpy scalars and arrays are constants."""
        base = identifier(next((name for name in self.outputs if name), self.name))
        return self._emitter.emit(op, f"{base}_{op}", **{key: _plain(value) for key, value in inputs.items()})

    def float_scalar(self, value: float, like: Any) -> Any:
        """A constant in the float type of `like`."""
        return self.dtype_of(like).type(value)

    def cast(self, value: Any, dtype: Any) -> Any:
        """A value as another type: numpy constants at once, Vars by MIL's cast."""
        wanted = np.dtype(dtype)
        if isinstance(value, np.ndarray | np.generic):
            return np.asarray(value).astype(wanted)
        if self.dtype_of(value) == wanted:
            return value
        return self.emit("cast", x=value, dtype={**MIL_TYPES, **QUANTIZED_TYPES}[wanted.name])

    def reshape(self, value: Any, shape: Iterable[int]) -> Any:
        """A value in another shape of as many elements; a View where Core ML has no such shape."""
        wanted = tuple(int(size) for size in shape)
        if isinstance(value, np.ndarray):
            return value.reshape(wanted)
        value = value.var if isinstance(value, View) else value
        if tuple(value.shape) == wanted:
            return value
        if len(wanted) > MAX_RANK and 0 not in wanted:
            return View(value, wanted)
        check_shape(wanted)
        if not wanted:
            return self.emit("squeeze", x=value, axes=np.arange(len(value.shape), dtype=np.int32))
        return self.emit("reshape", x=value, shape=np.asarray(wanted, np.int32))

    def transpose(self, value: Any, perm: Sequence[int]) -> Any:
        """A value with its dimensions in another order."""
        if list(perm) == list(range(len(perm))):
            return value
        if isinstance(value, np.ndarray):
            return value.transpose(perm)
        if isinstance(value, View):
            return _transposed_view(self, value, perm)
        return self.emit("transpose", x=value, perm=np.asarray(perm, np.int32))

    def take(self, value: Any, indices: np.ndarray, axis: int) -> Any:
        """Constant indices along one axis: `np.take`, as a slice where the indices are a range."""
        return _take(self, value, np.asarray(indices), axis)


def _transposed_view(node: Node, view: View, perm: Sequence[int]) -> Any:
    """Transpose in fewer dimensions: those that stay neighbours move as one, those of size 1 are left out."""
    moved = [axis for axis in perm if view.shape[axis] != 1]
    groups: list[list[int]] = []
    for axis in moved:
        if groups and _next_of(groups[-1][-1], view.shape) == axis:
            groups[-1].append(axis)
        else:
            groups.append([axis])
    inside = sorted(groups)
    sizes = [int(np.prod([view.shape[axis] for axis in group])) for group in inside]
    order = [inside.index(group) for group in groups]
    if len(sizes) > MAX_RANK:
        result = _transposed_stepwise(node, view.var, sizes, order)
    else:
        result = node.transpose(node.reshape(view.var, sizes), order)
    return node.reshape(result, [view.shape[axis] for axis in perm])


def _transposed_stepwise(node: Node, x: Any, sizes: list[int], order: list[int]) -> Any:
    """Bring one dimension after the other to its place: each step swaps two neighbouring blocks, in rank 4."""
    current = list(range(len(sizes)))
    for place, wanted in enumerate(order):
        found = current.index(wanted)
        if found == place:
            continue
        parts = current[:place], current[place:found], current[found : found + 1], current[found + 1 :]
        blocks = [int(np.prod([sizes[axis] for axis in part])) for part in parts]
        x = node.transpose(node.reshape(x, blocks), [0, 2, 1, 3])
        current = [*parts[0], *parts[2], *parts[1], *parts[3]]
    return x


def _next_of(axis: int, shape: tuple[int, ...]) -> int:
    """The next dimension that is not of size 1."""
    return next((later for later in range(axis + 1, len(shape)) if shape[later] != 1), -1)


def _take(node: Node, value: Any, indices: np.ndarray, axis: int) -> Any:
    if isinstance(value, np.ndarray):
        return np.take(value, indices, axis)
    size = value.shape[axis]
    if len(indices) == size and np.array_equal(indices, np.arange(size)):
        return value
    if len(indices) and np.array_equal(indices, np.arange(indices[0], indices[0] + len(indices))):
        begin, end = [0] * len(value.shape), list(value.shape)
        begin[axis], end[axis] = int(indices[0]), int(indices[-1]) + 1
        return node.emit("slice_by_index", x=value, begin=np.asarray(begin, np.int32), end=np.asarray(end, np.int32))
    if node.dtype_of(value) == np.bool_:
        gathered = node.emit("gather", x=node.cast(value, np.int32), indices=indices.astype(np.int32), axis=axis)
        return node.cast(gathered, np.bool_)
    return node.emit("gather", x=value, indices=indices.astype(np.int32), axis=axis)


def shape_of(value: Any) -> tuple[int, ...]:
    """The shape of a value, constant or computed."""
    return tuple(int(size) for size in value.shape)


def _plain(value: Any) -> Any:
    """A 0-d array as a numpy scalar, which is what coremltools calls a scalar."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return value[()]
    return value


def axis_of(axis: int, rank: int) -> int:
    """A possibly negative axis as one in 0..rank-1. Raises Unsupported outside."""
    if not -rank <= axis < max(rank, 1):
        raise Unsupported(f"axis {axis} of a tensor of rank {rank}")
    return axis + rank if axis < 0 else axis
