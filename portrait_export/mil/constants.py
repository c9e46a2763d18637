"""Decode literal values of a saved program on demand, from its specification or its weight file."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import PackageError
from .folder import WeightFiles
from .types import DictionaryType, ListType, TensorType, TupleType, ValueType, value_type
from .weights import BITS, NUMPY_DTYPES, Blob, decode, size_in_bytes

# Field of a literal tensor → numpy type of its elements; `bytes` hold the stored form.
_LITERALS = {
    "floats": np.float32,
    "ints": np.int32,
    "bools": np.bool_,
    "strings": object,
    "longInts": np.int64,
    "doubles": np.float64,
}


@dataclass(frozen=True, eq=False)
class Constant:
    """A literal value of the program: in the specification itself, or in the weight file.

    Attributes:
        type: the declared type.
        owner: its location, for errors, such as `weight_3 (val)`.
    """

    type: ValueType
    owner: str
    _message: Any = field(repr=False)
    _weights: WeightFiles = field(repr=False)

    @property
    def stored(self) -> Blob | None:
        """Its blob in the weight file, None if it is in the specification. Raises PackageError if damaged."""
        if self._message.WhichOneof("value") != "blobFileValue":
            return None
        blob = self._message.blobFileValue
        return self._weights.open(blob.fileName, self.owner).blob(blob.offset, self.owner)

    @property
    def offset(self) -> int | None:
        """Offset of its metadata in the weight file, unchecked; None if it is in the specification."""
        in_file = self._message.WhichOneof("value") == "blobFileValue"
        return int(self._message.blobFileValue.offset) if in_file else None

    @property
    def place(self) -> tuple[str, int] | None:
        """Name of its weight file and offset of its metadata there, unchecked; None if it is in the specification."""
        offset = self.offset
        return None if offset is None else (str(self._message.blobFileValue.fileName), offset)

    @property
    def size_bytes(self) -> int:
        """Bytes of its stored elements. Strings count 0."""
        if not isinstance(self.type, TensorType) or self.type.dtype not in BITS:
            return 0
        return size_in_bytes(self.type.dtype, self.type.count or 0)

    def numpy(self) -> np.ndarray:
        """The decoded value.

        Returns:
            An array of the declared shape (rank 0 for scalars): NUMPY_DTYPES of the declared type, or object for
            strings. A read-only view of the mapped file where no decoding is needed.
        Raises:
            PackageError: it is damaged, or does not hold the declared number or type of elements.
        """
        if not isinstance(self.type, TensorType) or not self.type.static:
            raise PackageError(f"{self.owner} is a {self.type}, which cannot be read as an array.")
        shape = tuple(d for d in self.type.shape if d is not None)
        count = math.prod(shape)
        if self._message.WhichOneof("value") == "blobFileValue":
            if self.type.dtype not in BITS:
                raise PackageError(f"{self.owner} is a {self.type}, which cannot be in a weight file.")
            blob = self._message.blobFileValue
            raw = self._weights.open(blob.fileName, self.owner).raw(blob.offset, self.type.dtype, count, self.owner)
            return decode(raw, self.type.dtype, count).reshape(shape)
        return _immediate(self._message.immediateValue, self.type.dtype, count, self.owner).reshape(shape)

    def python(self) -> Any:
        """The value as int, float, bool, str, a nested list of them, or a dict."""
        if isinstance(self.type, (ListType, TupleType)):
            values = self._message.immediateValue
            items = values.list.values if isinstance(self.type, ListType) else values.tuple.values
            return [read_constant(item, self.owner, self._weights).python() for item in items]
        if isinstance(self.type, DictionaryType):
            pairs = self._message.immediateValue.dictionary.values
            read = [(read_constant(p.key, self.owner, self._weights), p.value) for p in pairs]
            return {key.python(): read_constant(value, self.owner, self._weights).python() for key, value in read}
        return self.numpy().tolist()


def read_constant(message: Any, owner: str, weights: WeightFiles) -> Constant:
    """Wrap a value message; `owner` is its location in errors."""
    return Constant(value_type(message.type), owner, message, weights)


def _immediate(message: Any, dtype: str, count: int, owner: str) -> np.ndarray:
    """A literal tensor of the specification, as a flat array."""
    if message.WhichOneof("value") != "tensor":
        raise PackageError(f"{owner} has no literal tensor where a {dtype} is declared.")
    form = message.tensor.WhichOneof("value")
    if form is None:
        raise PackageError(f"{owner} has no value; {count} × {dtype} are declared.")
    values = getattr(message.tensor, form).values
    if form == "bytes":
        if dtype not in BITS:
            raise PackageError(f"{owner} is declared as {dtype} but stored as bytes.")
        if len(values) != size_in_bytes(dtype, count):
            raise PackageError(
                f"{owner} is declared as {count} × {dtype} = {size_in_bytes(dtype, count)} bytes,"
                f" but holds {len(values)}."
            )
        return decode(np.frombuffer(values, np.uint8), dtype, count)
    if (form == "strings") != (dtype == "string"):
        raise PackageError(f"{owner} is declared as {dtype} but holds {form}.")
    if len(values) != count:
        raise PackageError(f"{owner} is declared as {count} × {dtype}, but holds {len(values)} values.")
    array: np.ndarray = np.array(values, dtype=_LITERALS[form])
    return array if dtype == "string" else array.astype(NUMPY_DTYPES[dtype])
