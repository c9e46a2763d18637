"""Find the stored values of a function.

They are constants, and the operations that decode them, alone or in chains.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from ...errors import PackageError
from ..constants import Constant
from ..program import Function, Operation, Reference
from ..types import TensorType
from ..values import Values, is_decoder, is_stored
from ..weights import NUMPY_DTYPES
from .decode import decode_operator, index_bits

MAX_CHAIN = 8  # operators that decode one weight, one after the other; coremltools writes up to 3

# Operator → the parameters that its weights are. Constants that are computed by converters are read by others.
WEIGHTS = {"conv": ("weight",), "conv_transpose": ("weight",), "linear": ("weight",), "matmul": ("x", "y")}
# Operators whose constant parameters are a network's own.
_LAYERS = (*WEIGHTS, "batch_norm", "instance_norm", "layer_norm", "gru", "lstm", "rnn")

# Operator → the parameter that holds the weight's elements (the others are scales, tables and masks), and its form.
_PAYLOAD = {
    "constexpr_affine_dequantize": ("quantized_data", "linear"),
    "constexpr_blockwise_shift_scale": ("data", "linear"),
    "constexpr_lut_to_dense": ("indices", "palette"),
    "constexpr_sparse_to_dense": ("nonzero_data", "sparse"),
    "constexpr_lut_to_sparse": ("indices_nonzero_data", "palette"),
    "constexpr_sparse_blockwise_shift_scale": ("nonzero_data", "linear"),
    "constexpr_cast": ("source_val", "cast"),
}


@dataclass(frozen=True)
class StoredValues:
    """The stored values of one function.

    Attributes:
        constants: the value of each const operation, by name.
        decoders: the operation that computes each decoded value, by the value's name.
        readers: types of the operations that read each value, and as which parameter.
        weights: the operations whose result is not read by another decoder, constants included.
    """

    constants: dict[str, Constant]
    decoders: dict[str, Operation]
    readers: dict[str, frozenset[tuple[str, str]]]
    weights: tuple[Operation, ...] = field(repr=False)

    @classmethod
    def of(cls, function: Function) -> StoredValues:
        """Collect the stored values of a function, nested blocks included."""
        operations = list(function.block.walk())
        decoders = {name: op for op in operations if is_decoder(op) for name, _ in op.outputs}
        consumed = {name for op in operations if is_decoder(op) for name in op.references}
        readers: dict[str, set[tuple[str, str]]] = {}
        for op in operations:
            for parameter, inputs in op.inputs.items():
                for value in inputs:
                    if isinstance(value, Reference):
                        readers.setdefault(value.name, set()).add((op.type, parameter))
        return cls(
            constants=Values.of(function.inputs, function.block).constants,
            decoders=decoders,
            readers={name: frozenset(found) for name, found in readers.items()},
            weights=tuple(
                op
                for op in operations
                if is_stored(op) and op.outputs and consumed.isdisjoint(name for name, _ in op.outputs)
            ),
        )

    def users(self, op: Operation) -> tuple[str, ...]:
        """Types of the operations that read a stored value."""
        return tuple(sorted({kind for kind, _ in self._readers(op)}))

    def is_weight(self, op: Operation) -> bool:
        """Whether a layer reads a stored value as its weight."""
        return any(parameter in WEIGHTS.get(kind, ()) for kind, parameter in self._readers(op))

    def is_parameter(self, op: Operation) -> bool:
        """Whether a layer or a norm reads a stored value, as its weight, its bias or its factors."""
        return any(kind in _LAYERS for kind, _ in self._readers(op))

    def _readers(self, op: Operation) -> frozenset[tuple[str, str]]:
        return self.readers.get(op.outputs[0][0], frozenset())

    def parts(self, op: Operation) -> dict[str, Constant | Operation]:
        """The parameters of a decoder: constants, or the operations that decode them."""
        found: dict[str, Constant | Operation] = {key: value for key, value in op.attributes.items() if key != "name"}
        for parameter, values in op.inputs.items():
            for value in values:
                stored = self._stored(value.name) if isinstance(value, Reference) else value
                if stored is None:
                    raise PackageError(f"{_name(op)} is decoded from {value}, which is not stored in the package.")
                found[parameter] = stored
        return found

    def _stored(self, name: str) -> Constant | Operation | None:
        return self.constants.get(name) or self.decoders.get(name)

    def chain(self, op: Operation) -> list[Operation]:
        """A decoder and those that decode its elements, the last step first."""
        steps = [op]
        while True:
            parameter, _ = _PAYLOAD.get(steps[-1].type, ("", ""))
            inner = self.parts(steps[-1]).get(parameter)
            if not isinstance(inner, Operation):
                return steps
            if len(steps) == MAX_CHAIN:
                raise PackageError(f"{_name(op)} is decoded by more than {MAX_CHAIN} operations in a row.")
            steps.append(inner)

    def leaves(self, op: Operation, depth: int = 0) -> Iterator[Constant]:
        """Every constant that a weight is decoded from; a plain weight's own value."""
        if depth > MAX_CHAIN:
            raise PackageError(f"{_name(op)} is decoded by more than {MAX_CHAIN} operations in a row.")
        for part in self.parts(op).values():
            if isinstance(part, Constant):
                yield part
            else:
                yield from self.leaves(part, depth + 1)

    def dtype(self, op: Operation) -> str:
        """MIL type of a weight's stored elements; the operator's name if it is not known."""
        if op.type == "const":
            kind = op.outputs[0][1]
            return kind.dtype if isinstance(kind, TensorType) else str(kind)
        last = self.chain(op)[-1]
        parts = self.parts(last)
        table = parts.get("lut")
        if last.type == "constexpr_lut_to_dense" and "shape" in parts and isinstance(table, Constant):
            return f"uint{index_bits(table.numpy().size)}"  # iOS16 packs the indices into bytes
        payload = parts.get(_PAYLOAD.get(last.type, ("", ""))[0])
        return payload.type.dtype if isinstance(payload, Constant) and isinstance(payload.type, TensorType) else op.type

    def form(self, op: Operation) -> str:
        """How a weight is stored: `plain`, `linear`, `palette`, `sparse`, `cast` or several, as `sparse palette`."""
        if op.type == "const":
            return "plain"
        return " ".join(dict.fromkeys(_PAYLOAD.get(step.type, ("", "unknown"))[1] for step in self.chain(op)))

    def decode(self, op: Operation) -> np.ndarray:
        """The value of a stored operation in its declared type and shape. Raises PackageError with the reason."""
        return self._results(op, {}, 0)[0]

    def arrays(self, op: Operation) -> dict[str, np.ndarray]:
        """The parameters of a decoder as arrays, decoded where they are compressed themselves."""
        return self._arrays(op, {}, 0)

    def _arrays(self, op: Operation, done: dict[int, tuple[np.ndarray, ...]], depth: int) -> dict[str, np.ndarray]:
        arrays = {}
        for parameter, part in self.parts(op).items():
            if isinstance(part, Constant):
                arrays[parameter] = part.numpy()
                continue
            if id(part) not in done:
                done[id(part)] = self._results(part, done, depth + 1)
            wanted = next(value.name for value in op.inputs[parameter] if isinstance(value, Reference))
            arrays[parameter] = done[id(part)][[name for name, _ in part.outputs].index(wanted)]
        return arrays

    def _results(self, op: Operation, done: dict[int, tuple[np.ndarray, ...]], depth: int) -> tuple[np.ndarray, ...]:
        if depth > MAX_CHAIN:
            raise PackageError(f"{_name(op)} is decoded by more than {MAX_CHAIN} operations in a row.")
        if op.type == "const":
            return (op.attributes["val"].numpy(),)
        try:
            results = decode_operator(op.type, self._arrays(op, done, depth))
            return tuple(_typed(value, kind) for value, (_, kind) in zip(results, op.outputs, strict=True))
        except ValueError as error:
            raise PackageError(f"{_name(op)} cannot be decoded: {error}.") from error


def _typed(value: np.ndarray, kind: object) -> np.ndarray:
    """Round a result to its declared type. Raises ValueError if its shape is not the declared one."""
    if not isinstance(kind, TensorType) or kind.dtype not in NUMPY_DTYPES:
        raise ValueError(f"its result is declared as {kind}")
    if value.shape != tuple(kind.shape):
        raise ValueError(f"its shape is {list(value.shape)}; {kind} is declared")
    with np.errstate(over="ignore"):
        return value.astype(NUMPY_DTYPES[kind.dtype])


def _name(op: Operation) -> str:
    return op.outputs[0][0] if op.outputs else op.name
