"""Keep a model's large weights in a temporary file instead of in memory.

An export holds a network in several forms at once: as it came, folded, adapted, simplified. Most of their weights are
the same, and nobody looks at them for most of the time.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from ...utils.files import temporary_files
from .light import copy_fields, outlined


class _Folder:
    """A temporary folder, removed with the last object that refers to it."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="portrait-export-"))
        self.numbers = count()
        weakref.finalize(self, shutil.rmtree, str(self.path), ignore_errors=True)


class StoredModel:
    """A model whose large weights are in a file.

    Attributes:
        outline: the model. A large weight has its type and shape, and instead of its bytes their place in the file.
    """

    def __init__(self, model: onnx.ModelProto, *, like: StoredModel | None = None):
        """Write the large weights to a file.

        Args:
            model: not changed.
            like: a model whose files its outline may refer to already.
        Raises:
            OutputError: the temporary folder is full or cannot be written to.
        """
        with temporary_files():
            self._folder: _Folder = _Folder() if like is None else like._folder
            self.outline = outlined(model, self._new("weights"))

    def with_outline(self, outline: onnx.ModelProto) -> StoredModel:
        """The stored model with another graph, which may have large weights of its own."""
        return StoredModel(outline, like=self)

    def whole(self) -> onnx.ModelProto:
        """The model in memory, as it was."""
        model = onnx.ModelProto()
        model.CopyFrom(self.outline)
        for tensor in model.graph.initializer:
            if tensor.data_location == TensorProto.EXTERNAL:
                self._fetch(tensor)
        return model

    def write(self, path: Path) -> None:
        """Write the model to one file, weight by weight, as if it were serialized at once."""
        graph = self.outline.graph
        nodes, rest = _split_at(graph, "initializer")
        head, tail = _split_at(self.outline, "graph")
        weights = sum(len(_field(graph, "initializer", data)) + data for data in map(self._size, graph.initializer))
        with path.open("wb") as file:
            file.write(head + _field(self.outline, "graph", len(nodes) + weights + len(rest)) + nodes)
            for tensor in graph.initializer:
                data = self._inside(tensor).SerializeToString(deterministic=True)
                file.write(_field(graph, "initializer", len(data)))
                file.write(data)
            file.write(rest + tail)

    def array(self, tensor: TensorProto) -> np.ndarray:
        """The values of a tensor of the outline, not to be written to; mapped from the file while they are used."""
        if tensor.data_location != TensorProto.EXTERNAL:
            return onnx.numpy_helper.to_array(tensor)
        kind, shape = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type), tuple(tensor.dims)
        path, first, length = self._place(tensor)
        if kind.itemsize * math.prod(shape) == length:
            return np.asarray(np.memmap(path, kind, mode="r", offset=first, shape=shape))
        return onnx.numpy_helper.to_array(self._inside(tensor))

    @contextmanager
    def file(self) -> Iterator[Path]:
        """A file of the model, with its weights in files next to it, while the block runs."""
        path = self._new("onnx")
        with temporary_files():
            path.write_bytes(self.outline.SerializeToString())
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _new(self, suffix: str) -> Path:
        return self._folder.path / f"{next(self._folder.numbers)}.{suffix}"

    def _inside(self, tensor: TensorProto) -> TensorProto:
        """A tensor of the outline with its bytes."""
        if tensor.data_location != TensorProto.EXTERNAL:
            return tensor
        copy = TensorProto()
        copy.CopyFrom(tensor)
        self._fetch(copy)
        return copy

    def _size(self, tensor: TensorProto) -> int:
        """How many bytes a tensor takes in a file."""
        return self._inside(tensor).ByteSize()

    def _fetch(self, tensor: TensorProto) -> None:
        """Put a tensor's bytes back into it."""
        path, first, length = self._place(tensor)
        with path.open("rb") as file:
            file.seek(first)
            tensor.raw_data = file.read(length)
        tensor.ClearField("data_location")
        tensor.ClearField("external_data")

    def _place(self, tensor: TensorProto) -> tuple[Path, int, int]:
        """The file of a tensor's bytes, where they start in it, and how many they are."""
        place = {entry.key: entry.value for entry in tensor.external_data}
        return self._folder.path / place["location"], int(place["offset"]), int(place["length"])


# A message's fields follow one another in the order of their numbers, each after its number, and, where it is a message
# or bytes, its length (https://protobuf.dev/programming-guides/encoding).
_LENGTH_DELIMITED = 2


def _split_at(message: Any, name: str) -> tuple[bytes, bytes]:
    """The serialized fields of a message before and after one of them."""
    number = message.DESCRIPTOR.fields_by_name[name].number
    parts = []
    for wanted in (lambda other: other < number, lambda other: other > number):
        part = type(message)()
        without = [entry.name for entry, _ in message.ListFields() if not wanted(entry.number)]
        copy_fields(message, part, without=without)
        parts.append(part.SerializePartialToString(deterministic=True))
    return parts[0], parts[1]


def _field(message: Any, name: str, length: int) -> bytes:
    """What is written before a field of a length in bytes."""
    number = message.DESCRIPTOR.fields_by_name[name].number
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(length)


def _varint(value: int) -> bytes:
    """An integer as groups of seven bits, least significant first; all but the last have the eighth bit set."""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups[-1] |= 0x80
        groups.append(value & 0x7F)
    return bytes(groups)
