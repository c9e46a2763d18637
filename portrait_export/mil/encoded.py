"""Describe a weight as compressed operators store it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from .weights import size_in_bytes


@dataclass(frozen=True, eq=False)
class Part:
    """One constant of a decoding operator.

    Attributes:
        dtype: MIL type of the stored elements.
        values: integers or floats of that type in the constant's shape, one per element: sub-byte types are not packed.
    """

    dtype: str
    values: np.ndarray

    @property
    def size_bytes(self) -> int:
        """Bytes of the packed elements."""
        return size_in_bytes(self.dtype, self.values.size)


@dataclass(frozen=True, eq=False)
class EncodedWeight:
    """A weight in the form that an operator decodes when the package is loaded.

    Attributes:
        operator: such as `constexpr_lut_to_dense`.
        parts: the operator's constants, by parameter; one may be decoded by an operator of its own first.
        dtype: MIL type of the weight's own elements. Up to iOS17 the indices of a table are packed into bytes; the type
            is that of the indices, such as `uint4`.
        decoded: what every reader must get, in the weight's shape and float type.
    """

    operator: str
    parts: Mapping[str, Part | EncodedWeight] = field(repr=False)
    dtype: str
    decoded: np.ndarray = field(repr=False)

    @property
    def size_bytes(self) -> int:
        """Bytes of all parts."""
        return sum(part.size_bytes for part in self.parts.values())


@dataclass(frozen=True, eq=False)
class Compression:
    """What a quantizer decided for the weights of a program, by name.

    Attributes:
        encoded: the weights to compress.
        left: why each other large constant is left as it is.
        tuned: biases and factors of norms that have other values than the network's, stored as they are.
        errors: share of a layer's output energy that rounding changes, where the layer's inputs were measured.
    """

    encoded: Mapping[str, EncodedWeight]
    left: Mapping[str, str]
    errors: Mapping[str, float] = field(default_factory=dict)
    tuned: Mapping[str, EncodedWeight] = field(default_factory=dict)
