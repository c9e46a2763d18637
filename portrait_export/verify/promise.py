"""Bound the error of a package's operation by the precision of its stored types.

With exact inputs an operation errs only by the rounding of its weights and of its result. The stored types bound
that error. A much larger one is a fault, even if it is smaller than the error of an int8 weight elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ..mil.constants import Constant
from ..mil.program import Function, Operation, Reference
from ..mil.types import TensorType
from ..mil.weights import BITS

# Lowest SNR of an undamaged operation given its reference's inputs, over five registered networks: 122 dB in float32,
# 65 dB with half-precision weights; the bars are well below them.
FLOAT_BAR_DB = 90.0
HALF_WEIGHT_BAR_DB = 50.0
MARGIN_DB = 10.0  # correlated inputs and cancelling sums may lower a weight's SNR by this much
ACTIVATION_BAR_DB = 5.0  # of `quantize`: the recipe w8a8 keeps every value to 15 dB, less the margin for one photograph
SPARSE_BAR_DB = 0.0  # nothing is known about the values that pruning left out


@dataclass(frozen=True)
class Promise:
    """The precision that an operation's stored types allow.

    Attributes:
        weights_db: lowest SNR that the storage of its weights, or 8-bit activations, explain; else FLOAT_BAR_DB.
        half: whether its result is declared as half precision.
    """

    weights_db: float = FLOAT_BAR_DB
    half: bool = False

    def joined(self, other: Promise) -> Promise:
        """The promise of two operations, one after the other."""
        return Promise(min(self.weights_db, other.weights_db), self.half or other.half)

    def in_half(self) -> Promise:
        """The promise if every constant and result is rounded to half, whatever type is declared."""
        return Promise(min(self.weights_db, HALF_WEIGHT_BAR_DB), half=True)


def promises_of(function: Function) -> dict[str, Promise]:
    """The promise of every operation, by the name of the value that it computes; nested blocks are left out."""
    producers = {name: op for op in function.block.operations for name, _ in op.outputs}
    found = {}
    for op in function.block.operations:
        if op.type == "const" or op.type.startswith("constexpr_"):
            continue
        weights_db = min([FLOAT_BAR_DB, *(_argument_db(a, producers) for values in op.inputs.values() for a in values)])
        if op.type in ("quantize", "dequantize"):
            weights_db = min(weights_db, ACTIVATION_BAR_DB)
        for name, kind in op.outputs:
            found[name] = Promise(weights_db, isinstance(kind, TensorType) and kind.dtype == "fp16")
    return found


def _argument_db(argument: Reference | Constant, producers: Mapping[str, Operation]) -> float:
    """The SNR of a constant argument; FLOAT_BAR_DB for a computed one, which adds no error of its own."""
    if isinstance(argument, Constant):
        return _constant_db(argument)
    op = producers.get(argument.name)
    if op is not None and op.type == "const" and "val" in op.attributes:
        return _constant_db(op.attributes["val"])
    if op is not None and op.type.startswith("constexpr_"):
        return _decoder_db(op, producers)
    return FLOAT_BAR_DB


def _constant_db(constant: Constant) -> float:
    half = isinstance(constant.type, TensorType) and constant.type.dtype == "fp16"
    return HALF_WEIGHT_BAR_DB if half else FLOAT_BAR_DB


def _decoder_db(op: Operation, producers: Mapping[str, Operation]) -> float:
    """The SNR of a compressed weight: rounding to a step adds noise of step²/12.

    For scale·(q − z) the SNR is 12·mean((q − z)²), whatever the scale. It is bounded below by 6.02·bits − 20 dB, so
    that a payload of zeros does not lower the bar.
    """
    if op.type == "constexpr_cast":
        return HALF_WEIGHT_BAR_DB
    if "sparse" in op.type:
        return SPARSE_BAR_DB
    parts = _parts(op, producers)
    if op.type == "constexpr_lut_to_dense" and "lut" in parts:
        table = parts["lut"].numpy()
        entries = table.shape[-2] if table.ndim > 1 else table.size
        return max(0.0, 6.02 * math.log2(max(2, entries)) - 2 * MARGIN_DB)
    data = parts.get("quantized_data", parts.get("data"))
    if data is None or not isinstance(data.type, TensorType):
        return SPARSE_BAR_DB
    lowest = max(0.0, 6.02 * BITS[data.type.dtype] - 2 * MARGIN_DB)
    return min(HALF_WEIGHT_BAR_DB, max(lowest, _step_snr_db(data, parts) - MARGIN_DB))


def _step_snr_db(data: Constant, parts: Mapping[str, Constant]) -> float:
    import numpy as np

    steps = data.numpy().astype(np.float64)
    zero = parts.get("zero_point", parts.get("offset"))
    if zero is not None and zero.numpy().size == 1:
        steps = steps - float(zero.numpy().ravel()[0])
    mean = float(np.mean(steps * steps)) if steps.size else 0.0
    return 10 * math.log10(12 * mean) if mean > 0 else 0.0


def _parts(op: Operation, producers: Mapping[str, Operation]) -> dict[str, Constant]:
    """A decoder's constants by parameter: literals, and references to const operations."""
    parts = {name: value for name, value in op.attributes.items() if name != "name"}
    for name, values in op.inputs.items():
        for value in values:
            source = producers.get(value.name) if isinstance(value, Reference) else None
            if isinstance(value, Constant):
                parts[name] = value
            elif source is not None and source.type == "const" and "val" in source.attributes:
                parts[name] = source.attributes["val"]
    return parts
