"""Describe a weight as compressed operators store it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from .weights import size_in_bytes

MIL_TYPES = {np.dtype(np.int8): "int8", np.dtype(np.float16): "fp16", np.dtype(np.float32): "fp32"}


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


@dataclass(frozen=True)
class ActivationGrid:
    """The numbers that an int8 activation can take: scale·(q - zero_point) for q in -128 … 127.

    Attributes:
        scale: a half-precision number.
    """

    scale: float
    zero_point: int

    def rounded(self, numbers: np.ndarray) -> np.ndarray:
        """What `dequantize` gives for `quantize` of float32 numbers, in float32: not yet rounded to half precision."""
        scale, zero = np.float32(self.scale), np.float32(self.zero_point)
        return (np.clip(np.rint(numbers / scale) + zero, -128, 127) - zero) * scale


@dataclass(frozen=True, eq=False)
class Activations:
    """What a quantizer decided for the values that a program computes.

    Attributes:
        grids: the grid of each value that is rounded to 8 bits wherever it is.
        layers: names of the operations that must read rounded values.
        left: why each other operation that could read them keeps half precision.
        snr_db: of each value in `grids`: energy over the error of rounding, see `activations.Histogram.snr_db`.
    """

    grids: Mapping[str, ActivationGrid]
    layers: tuple[str, ...]
    left: Mapping[str, str] = field(default_factory=dict)
    snr_db: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Compression:
    """What a quantizer decided for the weights of a program, by name.

    Attributes:
        encoded: the weights to compress.
        left: why each other large constant is left as it is.
        tuned: biases and factors of norms that have other values than the network's, stored as they are.
        errors: share of a layer's output energy that rounding changes, where the layer's inputs were measured.
        activations: what it decided for computed values; None if the recipe is for weights only.
    """

    encoded: Mapping[str, EncodedWeight]
    left: Mapping[str, str]
    errors: Mapping[str, float] = field(default_factory=dict)
    activations: Activations | None = None
    tuned: Mapping[str, EncodedWeight] = field(default_factory=dict)

    def decides(self, name: str) -> bool:
        """Whether a value of this name is not the network's own any more."""
        return name in self.encoded or name in self.tuned
