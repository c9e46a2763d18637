"""Audit the weights that a saved package stores: type, bytes, and error against the original."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from .constants import Constant
from .encoded import Compression, EncodedWeight
from .program import Operation, Program, Reference
from .types import TensorType
from .values import is_decoder
from .weights import unpack_bits

WEIGHT_ELEMENTS = 256  # constants of up to this many elements are parameters, not weights

# The parameter of each decoding operator that holds the elements of the weight; the others are scales and tables.
_PAYLOAD = {
    "constexpr_affine_dequantize": "quantized_data",
    "constexpr_blockwise_shift_scale": "data",
    "constexpr_lut_to_dense": "indices",
    "constexpr_sparse_to_dense": "nonzero_data",
    "constexpr_cast": "source_val",
}
_SUFFIXES = ("_quantized", "_palettized", "_sparsified")  # that coremltools appends to a compressed weight's name
_AFFINE = ("quantized_data", "scale", "zero_point")  # parameters of constexpr_affine_dequantize
_CORRUPT_ERROR = 0.5  # rounding to 4 bits or more keeps the relative error far below; NaN and wrong scales do not


@dataclass(frozen=True)
class StoredWeight:
    """One weight as the package holds it.

    Attributes:
        name: of the value in the program.
        used_by: operator types that read it.
        shape: of the decoded weight.
        dtype: of the stored elements: `int8`, `fp16` …
        compressed: whether an operator decodes it at load.
        size_bytes: stored elements, scales and tables together.
        error: root mean square of (decoded - original) over that of the original; None if no original is known.
        skipped: why the requested compression left it alone; empty if it did not, or none was requested.
    """

    name: str
    used_by: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    compressed: bool
    size_bytes: int
    error: float | None = None
    skipped: str = ""


@dataclass(frozen=True)
class Audit:
    """The requested compression, and the weights that the package stores.

    Attributes:
        requested: the requested stored type, such as `int8`; None for no compression.
        weights: every stored weight, largest first.
        problems: every deviation from the request; empty if there is none.
    """

    requested: str | None
    weights: tuple[StoredWeight, ...]
    problems: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every weight is stored as requested."""
        return not self.problems

    @property
    def size_bytes(self) -> int:
        """Bytes of all weights."""
        return sum(weight.size_bytes for weight in self.weights)

    @property
    def applied(self) -> tuple[StoredWeight, ...]:
        """The weights stored in the requested type."""
        return tuple(weight for weight in self.weights if weight.compressed)

    @property
    def skipped(self) -> tuple[StoredWeight, ...]:
        """The weights that the requested compression left alone."""
        return tuple(weight for weight in self.weights if weight.skipped)

    @property
    def largest_error(self) -> float | None:
        """The largest relative error of a compressed weight."""
        return max((w.error for w in self.applied if w.error is not None), default=None)

    def by_dtype(self) -> dict[str, dict[str, int]]:
        """Stored type → number of weights, elements and bytes."""
        table: dict[str, dict[str, int]] = {}
        for weight in self.weights:
            row = table.setdefault(weight.dtype, {"weights": 0, "elements": 0, "bytes": 0})
            row["weights"] += 1
            row["elements"] += math.prod(weight.shape)
            row["bytes"] += weight.size_bytes
        return dict(sorted(table.items()))

    def to_json(self) -> dict[str, object]:
        """Plain values for export.json."""
        return {
            "requested": self.requested,
            "passed": self.passed,
            "problems": list(self.problems),
            "applied": len(self.applied),
            "skipped": len(self.skipped),
            "by_dtype": self.by_dtype(),
            "weights": [asdict(weight) for weight in self.weights],
        }


def audit_program(
    program: Program,
    *,
    requested: str | None = None,
    min_elements: int = 2048,
    originals: Mapping[str, np.ndarray] | None = None,
    compression: Compression | None = None,
) -> Audit:
    """Audit every weight of a saved program.

    Args:
        program: read from disk.
        requested: the stored type that the recipe requests, or None.
        min_elements: weights of up to this many elements need not be compressed.
        originals: the constants before compression, by name, to compute errors.
        compression: what the quantizer decided for each weight; then each must be stored so, bit for bit, and
            `requested` and `min_elements` do not count.
    """
    users = _users(program)
    constants = _constants(program)
    consumed = {name for op in _operations(program) if is_decoder(op) for name in op.references}
    weights = []
    for op in _operations(program):
        if not op.outputs or op.outputs[0][0] in consumed:
            continue
        if is_decoder(op):
            weights.append(_compressed_weight(op, constants, users, originals or {}))
        elif op.type == "const" and _elements(op) > WEIGHT_ELEMENTS:
            weights.append(_plain_weight(op, users, requested, min_elements))
    weights.sort(key=lambda weight: (-weight.size_bytes, weight.name))
    if compression is not None:
        weights = [replace(weight, skipped=_why_left(weight, compression)) for weight in weights]
        return Audit(requested, tuple(weights), _departures(program, weights, compression))
    return Audit(requested=requested, weights=tuple(weights), problems=_problems(weights, requested))


def _why_left(weight: StoredWeight, compression: Compression) -> str:
    if weight.compressed:
        return ""
    return compression.left.get(weight.name) or weight.skipped or "not compressed by the recipe"


def _departures(program: Program, weights: Sequence[StoredWeight], compression: Compression) -> tuple[str, ...]:
    """Every way in which the stored weights are not those that the quantizer computed."""
    constants = _constants(program)
    decoders = {op.outputs[0][0]: op for op in _operations(program) if is_decoder(op) and op.outputs}
    unasked = [weight for weight in weights if weight.compressed and weight.name not in compression.encoded]
    problems = [f"{weight.name} {weight.shape} is compressed; the recipe left it alone" for weight in unasked]
    for name, intended in compression.encoded.items():
        fault = _departure(decoders.get(name), intended, constants)
        if fault:
            problems.append(f"{name} {intended.decoded.shape} {fault}")
    return tuple(problems)


def _departure(op: Operation | None, intended: EncodedWeight, constants: Mapping[str, Constant | _Looked]) -> str:
    """How a stored weight differs from the intended one; empty if it decodes to the same values, bit for bit."""
    if op is None:
        return f"is not compressed; the recipe stores it as {intended.dtype}"
    parts = _parts(op, constants)
    if op.type != intended.operator:
        return f"is stored by {op.type}, not {intended.operator}"
    if _stored_dtype(op, parts) != intended.dtype:
        return f"is stored as {_stored_dtype(op, parts)}, not {intended.dtype}"
    decoded = _decode(op.type, parts)
    if decoded is None or decoded.shape != intended.decoded.shape:
        return "cannot be decoded to that shape"
    wrong = int((decoded.astype(intended.decoded.dtype) != intended.decoded).sum())
    return f"has {wrong} of {decoded.size} values that do not decode to what the recipe computed" if wrong else ""


def _operations(program: Program) -> list[Operation]:
    return [op for function in program.functions.values() for op in function.block.walk()]


def _users(program: Program) -> dict[str, tuple[str, ...]]:
    users: dict[str, list[str]] = {}
    for op in _operations(program):
        for name in op.references:
            users.setdefault(name, []).append(op.type)
    return {name: tuple(sorted(set(types))) for name, types in users.items()}


def _shape(op: Operation) -> tuple[int, ...]:
    kind = op.outputs[0][1]
    return tuple(d or 0 for d in kind.shape) if isinstance(kind, TensorType) else ()


def _elements(op: Operation) -> int:
    kind = op.outputs[0][1]
    return (kind.count or 0) if isinstance(kind, TensorType) and kind.dtype != "string" else 0


def _plain_weight(
    op: Operation, users: Mapping[str, tuple[str, ...]], requested: str | None, min_elements: int
) -> StoredWeight:
    kind = op.outputs[0][1]
    assert isinstance(kind, TensorType)
    return StoredWeight(
        name=op.outputs[0][0],
        used_by=users.get(op.outputs[0][0], ()),
        shape=_shape(op),
        dtype=kind.dtype,
        compressed=False,
        size_bytes=op.attributes["val"].size_bytes if "val" in op.attributes else 0,
        skipped=_reason_to_skip(op, min_elements) if requested else "",
    )


def _reason_to_skip(op: Operation, min_elements: int) -> str:
    kind = op.outputs[0][1]
    assert isinstance(kind, TensorType)
    if kind.dtype not in ("fp16", "fp32"):
        return f"{kind.dtype}, not a float"
    if _elements(op) <= min_elements:
        return f"{_elements(op)} elements, too small: scales would cost more than they save"
    if len(kind.shape) <= 1:
        return "one-dimensional"
    return "unexplained"


def _compressed_weight(
    op: Operation,
    constants: Mapping[str, Constant | _Looked],
    users: Mapping[str, tuple[str, ...]],
    originals: Mapping[str, np.ndarray],
) -> StoredWeight:
    parts = _parts(op, constants)
    name = op.outputs[0][0]
    return StoredWeight(
        name=name,
        used_by=users.get(name, ()),
        shape=_shape(op),
        dtype=_stored_dtype(op, parts),
        compressed=True,
        size_bytes=sum(part.size_bytes for part in parts.values()),
        error=_relative_error(op, parts, originals),
    )


def _stored_dtype(op: Operation, parts: Mapping[str, Constant | _Looked]) -> str:
    """The type of a decoder's elements, or the operator if its elements are not known."""
    if op.type == "constexpr_lut_to_dense" and "shape" in parts:
        return f"uint{_index_bits(parts['lut'].numpy())}"  # iOS16 packs the indices into bytes
    payload = parts.get(_PAYLOAD.get(op.type, ""))
    return payload.type.dtype if payload is not None and isinstance(payload.type, TensorType) else op.type


@dataclass(frozen=True, eq=False)
class _Looked:
    """Integers that another decoder reads: `constexpr_lut_to_dense` before a scale.

    Attributes:
        type: of the indices.
    """

    type: TensorType
    size_bytes: int
    values: np.ndarray

    def numpy(self) -> np.ndarray:
        return self.values


def _constants(program: Program) -> dict[str, Constant | _Looked]:
    """The values that decoders read, by name: const operations, and tables of integers."""
    consts = [op for op in _operations(program) if op.type == "const" and op.outputs and "val" in op.attributes]
    found: dict[str, Constant | _Looked] = {op.outputs[0][0]: op.attributes["val"] for op in consts}
    consumed = {name for op in _operations(program) if is_decoder(op) for name in op.references}
    for op in _operations(program):
        if op.type == "constexpr_lut_to_dense" and op.outputs[0][0] in consumed:
            parts = _parts(op, found)
            kind, values = parts["indices"].type, _decode(op.type, parts)
            if isinstance(kind, TensorType) and values is not None:
                found[op.outputs[0][0]] = _Looked(kind, sum(part.size_bytes for part in parts.values()), values)
    return found


def _parts(op: Operation, constants: Mapping[str, Constant | _Looked]) -> dict[str, Constant | _Looked]:
    """The values that a decoder reads, by parameter: literals, and references."""
    parts: dict[str, Constant | _Looked] = {name: value for name, value in op.attributes.items() if name != "name"}
    for name, values in op.inputs.items():
        for value in values:
            constant = constants.get(value.name) if isinstance(value, Reference) else value
            if constant is not None:
                parts[name] = constant
    return parts


def _relative_error(
    op: Operation, parts: Mapping[str, Constant | _Looked], originals: Mapping[str, np.ndarray]
) -> float | None:
    name = op.outputs[0][0]
    original = next((originals[base] for base in _base_names(name) if base in originals), None)
    decoded = _decode(op.type, parts)
    if original is None or decoded is None or decoded.shape != original.shape:
        return None
    reference = original.astype(np.float64)
    scale = math.sqrt(float(np.mean(reference**2))) or 1.0
    return math.sqrt(float(np.mean((decoded - reference) ** 2))) / scale


def _base_names(name: str) -> list[str]:
    return [name, *(name.removesuffix(suffix) for suffix in _SUFFIXES)]


def _decode(kind: str, parts: Mapping[str, Constant | _Looked]) -> np.ndarray | None:
    """The decoded weight in float64, None for sparse and chained schemes.

    Linear: W = scale · (data - zero_point), with scale and zero point per channel along `axis` or per block.
    Tables: W = table[index], with packed indices up to iOS17, and one table per block from iOS18 on.
    """
    if kind == "constexpr_affine_dequantize":
        data, scale, zero = (parts[name].numpy().astype(np.float64) for name in _AFFINE)
        shape = [1] * data.ndim
        shape[int(parts["axis"].numpy())] = -1
        return (data - zero.reshape(shape if zero.ndim else [])) * scale.reshape(shape if scale.ndim else [])
    if kind == "constexpr_blockwise_shift_scale":
        data, scale = (parts[name].numpy().astype(np.float64) for name in ("data", "scale"))
        offset = parts["offset"].numpy().astype(np.float64) if "offset" in parts else np.zeros_like(scale)
        for axis, (n, blocks) in enumerate(zip(data.shape, scale.shape, strict=True)):
            scale, offset = (np.repeat(part, n // blocks, axis=axis) for part in (scale, offset))
        return (data - offset) * scale
    if kind == "constexpr_lut_to_dense":
        return _decode_table(parts)
    return None


def _index_bits(table: np.ndarray) -> int:
    """Bits of an index into a table of 2ᵇ values."""
    return max(1, table.size.bit_length() - 1)


def _decode_table(parts: Mapping[str, Constant | _Looked]) -> np.ndarray | None:
    indices, table = parts["indices"].numpy(), parts["lut"].numpy().astype(np.float64)
    if "shape" in parts:
        shape = tuple(int(side) for side in parts["shape"].numpy())
        bits = _index_bits(table)
        count = math.prod(shape)
        flat = unpack_bits(indices, bits, count, signed=False) if bits < 8 else indices[:count]
        return table[flat].reshape(shape)
    if table.shape[-1] != 1:
        return _decode_vectors(indices, table, parts)
    table = table[..., 0]
    for axis, (n, blocks) in enumerate(zip(indices.shape, table.shape[:-1], strict=True)):
        table = np.repeat(table, n // blocks, axis=axis)
    return np.take_along_axis(table, indices[..., None].astype(np.int64), axis=-1)[..., 0]


def _decode_vectors(
    indices: np.ndarray, table: np.ndarray, parts: Mapping[str, Constant | _Looked]
) -> np.ndarray | None:
    """Entries of several values, which stand along an axis; None for several tables."""
    if "vector_axis" not in parts or math.prod(table.shape[:-2]) != 1:
        return None
    axis = int(parts["vector_axis"].numpy())
    vectors = np.moveaxis(table.reshape(table.shape[-2:])[indices], -1, axis + 1)
    return vectors.reshape(*indices.shape[:axis], -1, *indices.shape[axis + 1 :])


def _problems(weights: list[StoredWeight], requested: str | None) -> tuple[str, ...]:
    if requested is None:
        return ()
    unexplained = [w for w in weights if w.skipped == "unexplained"]
    other_type = [w for w in weights if w.compressed and w.dtype != requested]
    damaged = [w for w in weights if w.error is not None and not w.error < _CORRUPT_ERROR]
    problems = [f"{w.name} {w.shape} stayed {w.dtype} ({', '.join(w.used_by)})" for w in unexplained]
    problems += [f"{w.name} is stored as {w.dtype}, not {requested}" for w in other_type]
    problems += [f"{w.name} does not decode to the original: relative error {w.error}" for w in damaged]
    if not any(w.compressed for w in weights):
        problems.append(f"no weight is stored as {requested}")
    return tuple(problems)
