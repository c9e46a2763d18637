"""Read the blobs of a weight file (`weights/weight.bin`), bounds-checked and without copying.

The layout is MIL's blob storage, version 2 (coremltools, mlmodel/src/MILBlob/Blob/StorageFormat.hpp), little-endian:

    0    header      uint32 count, uint32 version = 2, 56 reserved bytes
    64   metadata    uint32 sentinel = 0xDEADBEEF, uint32 dtype, uint64 size_bytes, uint64 offset,
                     uint64 padding_bits (sub-byte types only), 32 reserved bytes
    …    data        at `offset`; the next metadata follows on the next 64-byte boundary

A constant of a program refers to the offset of its *metadata*. Every read is checked against the file's length.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ..errors import PackageError
from ..utils.lfs import refuse_pointer

ALIGNMENT = 64
HEADER_BYTES = 64
METADATA_BYTES = 64
SENTINEL = 0xDEADBEEF
VERSION = 2

# Code in the file → MIL type.
BLOB_DTYPES = {
    1: "fp16",
    2: "fp32",
    3: "uint8",
    4: "int8",
    5: "bf16",
    6: "int16",
    7: "uint16",
    8: "int4",
    9: "uint1",
    10: "uint2",
    11: "uint4",
    12: "uint3",
    13: "uint6",
    14: "int32",
    15: "uint32",
    16: "fp8e4m3fn",
    17: "fp8e5m2",
}

# MIL type → bits per element as stored.
BITS = {
    "bool": 8,
    "fp8e4m3fn": 8,
    "fp8e5m2": 8,
    "fp16": 16,
    "bf16": 16,
    "fp32": 32,
    "fp64": 64,
    "int4": 4,
    "int8": 8,
    "int16": 16,
    "int32": 32,
    "int64": 64,
    "uint1": 1,
    "uint2": 2,
    "uint3": 3,
    "uint4": 4,
    "uint6": 6,
    "uint8": 8,
    "uint16": 16,
    "uint32": 32,
    "uint64": 64,
}

# MIL type → numpy type of the decoded values; the next larger one if numpy does not have the type.
NUMPY_DTYPES = {
    "bool": np.dtype(np.bool_),
    "fp8e4m3fn": np.dtype(np.float32),
    "fp8e5m2": np.dtype(np.float32),
    "fp16": np.dtype("<f2"),
    "bf16": np.dtype(np.float32),
    "fp32": np.dtype("<f4"),
    "fp64": np.dtype("<f8"),
    "int4": np.dtype(np.int8),
    "int8": np.dtype(np.int8),
    "int16": np.dtype("<i2"),
    "int32": np.dtype("<i4"),
    "int64": np.dtype("<i8"),
    "uint1": np.dtype(np.uint8),
    "uint2": np.dtype(np.uint8),
    "uint3": np.dtype(np.uint8),
    "uint4": np.dtype(np.uint8),
    "uint6": np.dtype(np.uint8),
    "uint8": np.dtype(np.uint8),
    "uint16": np.dtype("<u2"),
    "uint32": np.dtype("<u4"),
    "uint64": np.dtype("<u8"),
}


def size_in_bytes(dtype: str, count: int) -> int:
    """The bytes of `count` elements of a MIL type; sub-byte types are packed."""
    return (count * BITS[dtype] + 7) // 8


@dataclass(frozen=True)
class Blob:
    """One entry of a weight file, as its metadata describes it.

    Attributes:
        metadata_offset: of the metadata, which a program's constant refers to.
        dtype: MIL type of the elements.
        offset, size_bytes: of the data.
        padding_bits: unused bits at the end of packed data (0 for types of whole bytes).
    """

    metadata_offset: int
    dtype: str
    offset: int
    size_bytes: int
    padding_bits: int = 0

    @property
    def count(self) -> int:
        """Number of elements."""
        return (self.size_bytes * 8 - self.padding_bits) // BITS[self.dtype]


class WeightFile:
    """A weight file, memory-mapped for reading as long as an array uses it."""

    def __init__(self, path: Path):
        self.path = path

    @cached_property
    def data(self) -> np.ndarray:
        """The whole file as mapped uint8. Raises PackageError if it is missing or has no valid header."""
        try:
            size = self.path.stat().st_size
            refuse_pointer(self.path, PackageError)
            if size < HEADER_BYTES:
                raise PackageError(f"{self._name} has {size} bytes; its header needs {HEADER_BYTES}.")
            data: np.ndarray = np.memmap(self.path, dtype=np.uint8, mode="r")
        except OSError as error:
            reason = error.strerror or error
            raise PackageError(f"The program's weights cannot be read from {self.path}: {reason}.") from error
        version = struct.unpack_from("<II", data[:HEADER_BYTES].tobytes())[1]
        if version != VERSION:
            raise PackageError(f"{self._name} has storage version {version}; only version {VERSION} is supported.")
        return data

    @property
    def count(self) -> int:
        """The number of blobs, from the header."""
        return int(struct.unpack_from("<I", self.data[:HEADER_BYTES].tobytes())[0])

    @property
    def _name(self) -> str:
        return f"The weight file {self.path.name}"

    def blob(self, offset: int, owner: str = "a constant") -> Blob:
        """Read the metadata at an offset.

        Args:
            offset: of the metadata, in bytes.
            owner: the constant's name, for the error.
        Raises:
            PackageError: it is outside the file, not metadata, or describes data outside the file.
        """
        size = len(self.data)

        def bad(reason: str) -> PackageError:
            return PackageError(
                f"{self._name} is damaged at offset {offset}, which {owner} refers to: {reason}.",
                hint="the file was truncated or changed after the export: export the package again.",
            )

        if offset < HEADER_BYTES or offset + METADATA_BYTES > size:
            raise bad(f"{METADATA_BYTES} bytes of metadata do not fit between {HEADER_BYTES} and the end at {size}")
        if offset % ALIGNMENT:
            raise bad(f"the offset is not a multiple of {ALIGNMENT}")
        sentinel, code, length, start, padding = struct.unpack_from(
            "<IIQQQ", self.data[offset : offset + METADATA_BYTES].tobytes()
        )
        if sentinel != SENTINEL:
            raise bad(f"the sentinel is {sentinel:#010x}, not {SENTINEL:#010x}")
        if code not in BLOB_DTYPES:
            raise bad(f"data type {code} is not one of 1..{max(BLOB_DTYPES)}")
        if start < HEADER_BYTES or start + length > size:
            raise bad(f"its {length} bytes at {start} are outside the file of {size} bytes")
        dtype = BLOB_DTYPES[code]
        if BITS[dtype] >= 8:
            padding = 0  # before iOS18 the field was left uninitialised for these types
        elif padding > length * 8:
            raise bad(f"{padding} padding bits do not fit into its {length} bytes")
        return Blob(offset, dtype, start, length, padding)

    def raw(self, offset: int, dtype: str, count: int, owner: str = "a constant") -> np.ndarray:
        """The stored bytes of a blob, checked against the program's declaration.

        Args:
            offset: of the blob's metadata.
            dtype: MIL type that the program declares.
            count: number of elements that the program declares.
            owner: the constant's name, for the error.
        Returns:
            (size_bytes,) uint8, a view into the mapped file.
        """
        blob = self.blob(offset, owner)
        if blob.dtype != dtype:
            raise PackageError(
                f"{owner} is declared as {count} × {dtype}, but {self.path.name} holds {blob.dtype} at offset {offset}."
            )
        if blob.size_bytes != size_in_bytes(dtype, count):
            raise PackageError(
                f"{owner} is declared as {count} × {dtype} = {size_in_bytes(dtype, count)} bytes,"
                f" but {self.path.name} holds {blob.size_bytes} bytes at offset {offset}."
            )
        return self.data[blob.offset : blob.offset + blob.size_bytes]

    def blobs(self) -> Iterator[Blob]:
        """All blobs in the order of the file, including unused ones."""
        offset = HEADER_BYTES
        for index in range(self.count):
            blob = self.blob(offset, f"blob {index} of {self.count}")
            yield blob
            end = blob.offset + blob.size_bytes
            offset = max((end + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT, offset + METADATA_BYTES)


def decode(raw: np.ndarray, dtype: str, count: int) -> np.ndarray:
    """Decode stored bytes.

    Args:
        raw: (bytes,) uint8.
        dtype: MIL type; sub-byte types are packed, least significant bits first.
        count: number of elements.
    Returns:
        (count,) of NUMPY_DTYPES[dtype]; a view if the stored type is a numpy type.
    """
    bits = BITS[dtype]
    if bits < 8:
        return unpack_bits(raw, bits, count, signed=dtype.startswith("int"))
    if dtype == "bf16":  # the upper half of a float32
        return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
    if dtype == "fp8e5m2":  # the upper half of a float16
        return (raw.astype(np.uint16) << 8).view(np.float16).astype(np.float32)
    if dtype == "fp8e4m3fn":
        return _FP8_E4M3FN[raw]
    return raw.view(NUMPY_DTYPES[dtype])


def unpack_bits(raw: np.ndarray, bits: int, count: int, *, signed: bool) -> np.ndarray:
    """Unpack integers of 1..7 bits, least significant bits first; a value may span two bytes.

    >>> unpack_bits(np.array([0x21, 0x43], np.uint8), 4, 4, signed=False).tolist()
    [1, 2, 3, 4]
    """
    flags = np.unpackbits(np.ascontiguousarray(raw), bitorder="little")[: count * bits].reshape(count, bits)
    values = np.packbits(flags, axis=1, bitorder="little")[:, 0] if count else np.zeros(0, np.uint8)
    if not signed:
        return values
    shift = 8 - bits  # move the sign bit to bit 7, then shift back arithmetically
    return (values << shift).astype(np.uint8).view(np.int8) >> shift


def _fp8_e4m3fn_table() -> np.ndarray:
    """All 256 values of FP8 E4M3FN: bias 7, no infinities, 0x7f and 0xff are NaN (arXiv:2209.05433, table 1)."""
    code = np.arange(256)
    sign = np.where(code & 0x80, -1.0, 1.0)
    exponent, mantissa = (code >> 3) & 15, code & 7
    magnitude = np.where(exponent == 0, mantissa / 8 * 2.0**-6, (1 + mantissa / 8) * 2.0 ** (exponent - 7.0))
    magnitude[(code & 0x7F) == 0x7F] = np.nan
    return (sign * magnitude).astype(np.float32)


_FP8_E4M3FN = _fp8_e4m3fn_table()
