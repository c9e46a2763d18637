"""Write compressed weights in Core AI's text form: constants, and the operations that decode them.

    constexpr_lut_to_dense            →  coreai.lut_to_dense
    constexpr_blockwise_shift_scale   →  coreai.blockwise_shift_scale

The operators have the same layout of tables, scales and blocks in both formats, so parts are taken over unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..errors import QuantizeError
from ..mil.encoded import EncodedWeight, Part
from ..mil.store import packed
from .worker import WEIGHT

TYPES = {"fp16": "f16", "fp32": "f32", "int8": "si8", "uint8": "ui8", "int4": "si4"}
TYPES |= {f"uint{bits}": f"ui{bits}" for bits in (1, 2, 3, 4, 6)}
_AXIS = "si16"  # the type of an operand `axis`


@dataclass
class Decoder:
    """The text of one weight.

    Attributes:
        lines: operations; the weight's own name is written `WEIGHT`, and the last line defines it.
        blobs: stored bytes of its constants, by name.
    """

    lines: list[str] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """Plain values for `worker.convert`."""
        return {"lines": self.lines, "blobs": {name: data.hex().upper() for name, data in self.blobs.items()}}


def decoders_of(encoded: Mapping[str, EncodedWeight]) -> dict[str, Decoder]:
    """The text of each weight, by its name; names of blobs are unique among all of them.

    Raises:
        QuantizeError: a weight is stored by an operator that Core AI does not have.
    """
    found: dict[str, Decoder] = {}
    count = 0
    for name, weight in encoded.items():
        writer = _Writer(count)
        writer.weight(weight, WEIGHT)
        count += len(writer.decoder.blobs)
        found[name] = writer.decoder
    return found


def stored_parts(encoded: EncodedWeight) -> list[Part]:
    """The constants of a weight that are kept as bytes, those of an inner operator first."""
    parts: list[Part] = []
    for name in ("indices", "data", "lut", "scale", "offset"):
        part = encoded.parts.get(name)
        if isinstance(part, EncodedWeight):
            parts += stored_parts(part)
        elif part is not None:
            parts.append(part)
    return parts


def transposed(encoded: EncodedWeight) -> EncodedWeight:
    """The stored form of the transposed matrix."""
    parts: dict[str, Part | EncodedWeight] = {}
    for name, part in encoded.parts.items():
        if isinstance(part, EncodedWeight):
            parts[name] = transposed(part)
        elif name == "vector_axis":
            parts[name] = Part(part.dtype, 1 - part.values)
        else:  # a table has two axes more, its entries and their sides
            parts[name] = Part(part.dtype, np.ascontiguousarray(np.swapaxes(part.values, 0, 1)))
    return EncodedWeight(encoded.operator, parts, encoded.dtype, np.ascontiguousarray(encoded.decoded.T))


class _Writer:
    """Collects the text of one weight.

    Args:
        first: number of the first blob.
    """

    def __init__(self, first: int) -> None:
        self.decoder = Decoder()
        self._first = first

    def weight(self, weight: EncodedWeight, result: str) -> str:
        """Write what decodes a weight; returns its type."""
        if weight.operator == "constexpr_lut_to_dense":
            return self._looked_up(weight, result)
        if weight.operator == "constexpr_blockwise_shift_scale":
            return self._scaled(weight, result)
        raise QuantizeError(f"Core AI has no operator for {weight.operator}.")

    def _looked_up(self, weight: EncodedWeight, result: str) -> str:
        lut = _part(weight, "lut")
        indices, table = self._constant(_part(weight, "indices"), "indices"), self._constant(lut, "table")
        axis = weight.parts.get("vector_axis")
        value = int(axis.values) if isinstance(axis, Part) else 0
        self._line(f"{WEIGHT}_axis = coreai.constant dense<{value}> : tensor<{_AXIS}>")
        kind = _tensor(weight.decoded.shape, TYPES[lut.dtype])
        names = f"{WEIGHT}_indices, {WEIGHT}_table, {WEIGHT}_axis"
        self._line(f"{result} = coreai.lut_to_dense {names} : ({indices}, {table}, tensor<{_AXIS}>) -> {kind}")
        return kind

    def _scaled(self, weight: EncodedWeight, result: str) -> str:
        inner, scale = weight.parts["data"], _part(weight, "scale")
        if isinstance(inner, EncodedWeight):
            data, stored = self.weight(inner, f"{WEIGHT}_data"), _part(inner, "lut").dtype
        else:
            data, stored = self._constant(inner, "data"), inner.dtype
        scales = self._constant(scale, "scale")
        zeros = _tensor(scale.values.shape, TYPES[stored])
        if "offset" in weight.parts:
            zeros = self._constant(_part(weight, "offset"), "zero")
        else:
            self._line(f"{WEIGHT}_zero = coreai.constant dense<0> : {zeros}")
        self._line(f"{WEIGHT}_bias = coreai.constant dense<0.0> : {scales}")
        kind = _tensor(weight.decoded.shape, TYPES[scale.dtype])
        names = ", ".join(f"{WEIGHT}_{name}" for name in ("data", "scale", "zero", "bias"))
        types = ", ".join((data, scales, zeros, scales))
        self._line(f"{result} = coreai.blockwise_shift_scale {names} : ({types}) -> {kind}")
        return kind

    def _constant(self, part: Part, name: str) -> str:
        """Write a constant; returns its type."""
        if part.dtype not in TYPES:
            raise QuantizeError(f"Core AI's text form has no {part.dtype}.")
        blob = f"resource_{self._first + len(self.decoder.blobs)}"
        self.decoder.blobs[blob] = packed(part)
        kind = _tensor(part.values.shape, TYPES[part.dtype])
        self._line(f"{WEIGHT}_{name} = coreai.constant dense_resource<{blob}> : {kind}")
        return kind

    def _line(self, text: str) -> None:
        self.decoder.lines.append(text)


def _part(weight: EncodedWeight, name: str) -> Part:
    part = weight.parts[name]
    assert isinstance(part, Part)
    return part


def _tensor(shape: tuple[int, ...], kind: str) -> str:
    return f"tensor<{'x'.join(map(str, (*shape, kind)))}>"
