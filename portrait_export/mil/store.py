"""Store weights of a compiled program in compressed form: rewrite its operations and its weight file.

It works on the protobuf that will be saved, not through a pass of coremltools: those derive scales again from the
weights, which loses what error-compensated rounding has gained.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import PackageError
from .compile import CompiledProgram
from .encoded import MIL_TYPES, EncodedWeight, Part
from .types import DTYPE_CODES
from .weights import ALIGNMENT, BITS, BLOB_DTYPES, HEADER_BYTES, METADATA_BYTES, NUMPY_DTYPES, SENTINEL, VERSION

WEIGHT_FILE = "@model_path/weights/weight.bin"
IN_THE_SPECIFICATION = 10  # arrays of fewer elements are literals of the specification, as coremltools writes them

_BLOB_CODES = {dtype: code for code, dtype in BLOB_DTYPES.items()}
_TYPE_CODES = {dtype: code for code, dtype in DTYPE_CODES.items()}
_INTS = ("int32",)  # types that a literal holds as numbers; of the others it holds the stored bytes


def store(compiled: CompiledProgram, encoded: Mapping[str, EncodedWeight]) -> CompiledProgram:
    """Return the program with some constants stored in compressed form. `compiled.spec` is changed.

    Args:
        encoded: by the name of the constant.
    Raises:
        PackageError: the program has no constant of a name, or its type is another.
    """
    file = _WeightFileWriter()
    left = dict(encoded)
    for block in _blocks(compiled.spec):
        rewritten = []
        for operation in block.operations:
            name = operation.outputs[0].name if operation.outputs else ""
            if operation.type == "const" and name in left:
                ios18 = compiled.spec.specificationVersion >= 9
                rewritten += _encode(operation, left.pop(name), file, ios18=ios18)
            else:
                for value in _values(operation):
                    _move(value, compiled.weights, file)
                rewritten.append(operation)
        if len(rewritten) != len(block.operations):
            operations = [type(operation).FromString(operation.SerializeToString()) for operation in rewritten]
            del block.operations[:]
            block.operations.extend(operations)
    if left:
        raise PackageError(f"The program has no constants {', '.join(sorted(left))} to compress.")
    return replace(compiled, weights=file.content())


def _blocks(spec: Any) -> Iterator[Any]:
    """Every block of every function, outer blocks after those inside them."""
    for name in sorted(spec.mlProgram.functions):
        function = spec.mlProgram.functions[name]
        yield from _walk(function.block_specializations[function.opset])


def _walk(block: Any) -> Iterator[Any]:
    for operation in block.operations:
        for inner in operation.blocks:
            yield from _walk(inner)
    yield block


def _values(operation: Any) -> Iterator[Any]:
    """The literals of an operation."""
    for name in sorted(operation.attributes):
        yield operation.attributes[name]
    for name in sorted(operation.inputs):
        yield from (a.value for a in operation.inputs[name].arguments if a.WhichOneof("binding") == "value")


def _move(value: Any, weights: bytes, file: _WeightFileWriter) -> None:
    """Copy a literal's blob to the new file."""
    if value.WhichOneof("value") != "blobFileValue":
        return
    offset = value.blobFileValue.offset
    _, code, size, start, padding = struct.unpack_from("<IIQQQ", weights, offset)
    used = padding if BITS[BLOB_DTYPES[code]] < 8 else 0  # for other types older files hold any number there
    value.blobFileValue.offset = file.add(code, weights[start : start + size], used)


def _encode(operation: Any, weight: EncodedWeight, file: _WeightFileWriter, *, ios18: bool) -> list[Any]:
    """Turn a const operation into one that decodes the weight, and return it behind those that it reads.

    Its output keeps its name and type. Up to iOS17 the parameters are attributes, from iOS18 on inputs.
    """
    shape = tuple(dimension.constant.size for dimension in operation.outputs[0].type.tensorType.dimensions)
    name = operation.outputs[0].name
    if shape != weight.decoded.shape:
        raise PackageError(f"{name} has shape {shape}; it was compressed as {weight.decoded.shape}.")
    before: list[Any] = []
    template = type(operation).FromString(operation.SerializeToString())
    operation.type = weight.operator
    del operation.attributes["val"]
    ios18 = ios18 and weight.operator != "const"  # constants always are attributes
    for parameter, part in weight.parts.items():
        if isinstance(part, EncodedWeight):
            inner = _renamed(template, f"{name}_{parameter}", part)
            before += _encode(inner, part, file, ios18=ios18)
            operation.inputs[parameter].arguments.add().name = f"{name}_{parameter}"
        else:
            value = operation.inputs[parameter].arguments.add().value if ios18 else operation.attributes[parameter]
            _write(value, part, file)
    return [*before, operation]


def _renamed(operation: Any, name: str, weight: EncodedWeight) -> Any:
    """A copy of a const operation for a value of another name and type."""
    copy = type(operation).FromString(operation.SerializeToString())
    copy.outputs[0].name = name
    copy.outputs[0].type.tensorType.dataType = _TYPE_CODES[MIL_TYPES[weight.decoded.dtype]]
    if "name" in copy.attributes:
        copy.attributes["name"].immediateValue.tensor.strings.values[0] = name
    return copy


def _write(value: Any, part: Part, file: _WeightFileWriter) -> None:
    tensor = value.type.tensorType
    tensor.dataType = _TYPE_CODES[part.dtype]
    tensor.rank = part.values.ndim
    for side in part.values.shape:
        tensor.dimensions.add().constant.size = side
    if part.dtype in _BLOB_CODES and part.values.size >= IN_THE_SPECIFICATION:
        padding = part.size_bytes * 8 - part.values.size * BITS[part.dtype]
        value.blobFileValue.fileName = WEIGHT_FILE
        value.blobFileValue.offset = file.add(_BLOB_CODES[part.dtype], packed(part), padding)
    elif part.dtype in _INTS:
        value.immediateValue.tensor.ints.values.extend(part.values.ravel().tolist())
    else:
        value.immediateValue.tensor.bytes.values = packed(part)


def packed(part: Part) -> bytes:
    """The stored bytes of a constant: sub-byte integers are packed, least significant bits first."""
    bits = BITS[part.dtype]
    flat = np.ascontiguousarray(part.values).ravel()
    if bits >= 8:
        return flat.astype(NUMPY_DTYPES[part.dtype]).tobytes()
    unsigned = flat.astype(np.int16).astype(np.uint8)  # two's complement in the low bits
    rows = np.unpackbits(unsigned[:, None], axis=1, count=bits, bitorder="little")
    return np.packbits(rows.ravel(), bitorder="little").tobytes()


class _WeightFileWriter:
    """Writes blobs in the layout that `weights.py` describes. Equal blobs are stored once."""

    def __init__(self) -> None:
        self._chunks = [b""]
        self._size = HEADER_BYTES
        self._offsets: dict[tuple[int, bytes, int], int] = {}

    def add(self, code: int, data: bytes, padding_bits: int = 0) -> int:
        """Append a blob and return the offset of its metadata."""
        key = (code, data, padding_bits)
        if key not in self._offsets:
            offset = self._offsets[key] = self._size
            start = offset + METADATA_BYTES
            metadata = struct.pack("<IIQQQ32x", SENTINEL, code, len(data), start, padding_bits)
            room = -len(data) % ALIGNMENT
            self._chunks += [metadata, data, b"\0" * room]
            self._size = start + len(data) + room
        return self._offsets[key]

    def content(self) -> bytes:
        """The whole file; empty without blobs."""
        if not self._offsets:
            return b""
        return struct.pack("<II56x", len(self._offsets), VERSION) + b"".join(self._chunks)
