"""Decide which operations read 8-bit activations.

It also decides their grids, and why others keep half precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from ..errors import QuantizeError
from ..mil.encoded import Activations
from ..mil.program import Function, Operation, Reference
from ..mil.types import TensorType
from ..mil.values import Values
from .activations import Histogram, grid_of, ranges_of
from .encode import LEFT_LIGHT, weights_of
from .layers import Weights, find_weights
from .recipe import Recipe

LAYERS = ("conv", "linear")  # whose weights must be stored: integers are multiplied with integers
POOLS = ("avg_pool", "max_pool")
_FUSED = ("leaky_relu", "tanh", "scaled_tanh", "sigmoid", "hard_sigmoid", "relu", "relu6")  # by coremltools' pass
MIN_SNR_DB = 15.0  # of a value that is rounded; see docs/choosing.md for what it leaves in half precision
_ADDITION = "additions keep half precision, in which they lose less"


@dataclass(frozen=True)
class Candidate:
    """An operation that could read 8-bit values.

    Attributes:
        operation: its name.
        input: the value that it reads.
        outputs: its result, and the results of activation functions that read that.
    """

    operation: str
    input: str
    outputs: tuple[str, ...]

    @property
    def values(self) -> tuple[str, ...]:
        """All values whose range must be known."""
        return (self.input, *self.outputs)


@dataclass(frozen=True)
class Candidates:
    """The operations that could read 8-bit values.

    Attributes:
        found: those that could.
        left: why others of these types cannot.
        limits: the ends of `clip` for each value that nothing else reads: what lies beyond them needs no grid.
    """

    found: tuple[Candidate, ...]
    left: Mapping[str, str]
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def values(self) -> frozenset[str]:
        """The values to measure."""
        return frozenset(value for candidate in self.found for value in candidate.values)


def find_candidates(function: Function) -> Candidates:
    """Look at every convolution, linear layer, pool and addition.

    Raises:
        QuantizeError: the program has control flow, which coremltools' passes do not support, or 8-bit values already.
    """
    nested = sorted({op.type for op in function.block.operations if op.blocks})
    if nested:
        raise QuantizeError(
            f"Activations of a program with control flow ({', '.join(nested)}) cannot be quantized.",
            hint="`quantize=int8` stores its weights in 8 bits.",
        )
    rounded = [op.name for op in function.block.operations if op.type in ("quantize", "dequantize")]
    if rounded:
        raise QuantizeError(
            f"The program already has {len(rounded)} operations that quantize values, the first is {rounded[0]}.",
            hint="`quantize=int8` stores its weights in 8 bits and keeps those operations.",
        )
    values = Values.of(function.inputs, function.block)
    weights = weights_of(function, min_elements=0)
    light = {use.operation.name for name, layer in weights.layers.items() if layer.light for use in weights.uses[name]}
    readers: dict[str, list[Operation]] = {}
    for op in function.block.operations:
        for name in op.references:
            readers.setdefault(name, []).append(op)
    found, left = [], {}
    for op in function.block.operations:
        if op.type in (*LAYERS, *POOLS, "add") and not all(values.stored_inputs(op, "x")):
            outputs = _outputs(op, readers)
            reason = LEFT_LIGHT if op.name in light else _reason(op, outputs, function, values)
            if reason:
                left[op.name] = reason
            else:
                found += [Candidate(op.name, x.name, outputs) for x in op.inputs["x"] if isinstance(x, Reference)]
    return Candidates(tuple(found), left, _limits(readers, values))


def _limits(readers: Mapping[str, list[Operation]], values: Values) -> dict[str, tuple[float, float]]:
    limits = {}
    for name, ops in readers.items():
        ends = [values.constant(op, end) for op in ops for end in ("alpha", "beta") if op.type == "clip"]
        if len(ops) == 1 and len(ends) == 2 and ends[0] is not None and ends[1] is not None:
            limits[name] = (float(ends[0].numpy()), float(ends[1].numpy()))
    return limits


def _outputs(op: Operation, readers: Mapping[str, list[Operation]]) -> tuple[str, ...]:
    result = op.outputs[0][0]
    fused = [reader.outputs[0][0] for reader in readers.get(result, ()) if reader.type in _FUSED]
    return (result, *fused)


def _reason(op: Operation, outputs: tuple[str, ...], function: Function, values: Values) -> str:
    """Why an operation cannot read 8-bit values; empty if it can."""
    x = op.inputs["x"][0]
    if op.type == "add":
        return _ADDITION
    if op.type in LAYERS and not all(values.stored_inputs(op, "weight")):
        return "its weight is computed"
    kind = values.types.get(x.name) if isinstance(x, Reference) else x.type
    if not isinstance(kind, TensorType) or kind.dtype != "fp16":
        return f"its input is {kind}, not fp16"
    if set(outputs) & set(function.block.outputs):
        return "its result is an output of the program"
    return ""


def decide(
    candidates: Candidates,
    histogram: Callable[[str], Histogram | None],
    *,
    method: str,
    asymmetric: bool,
    on_value: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Activations, dict[str, tuple[float, float]], bool]:
    """Choose the range of every value, and leave operations in half precision whose values 8 bits would harm.

    Args:
        histogram: of a value by its name; None if it was not measured.
        method: one of `activations.METHODS`.
        on_value: called with the number of values that are done, and of all.
    Returns:
        The decisions, the range of every measured value, and whether their grids have zero points.
    """
    names = sorted(candidates.values)
    found: dict[str, _Found] = {}
    for done, name in enumerate(names):
        on_value(done, len(names))
        measured = histogram(name)
        if measured is not None and measured.counts.size:
            measured = measured.clamped(*candidates.limits.get(name, (-math.inf, math.inf)))
            found[name] = _Found.of(measured, method, asymmetric=asymmetric)
    zeros = asymmetric or (
        any(one.positive for one in found.values()) and all(True in one.ranges for one in found.values())
    )
    ranges = {name: one.ranges[zeros] for name, one in found.items()}
    grids = {name: grid_of(*ends, asymmetric=zeros) for name, ends in ranges.items()}
    snr = {name: one.snr_db[zeros] for name, one in found.items()}
    left, layers = dict(candidates.left), []
    for candidate in candidates.found:
        reason = _harm(candidate, snr)
        if reason:
            left[candidate.operation] = reason
        else:
            layers.append(candidate.operation)
    read = {v for c in candidates.found if c.operation in set(layers) for v in c.values}
    kept = {name: grid for name, grid in grids.items() if name in read}
    return Activations(kept, tuple(layers), left, {name: snr[name] for name in kept}), ranges, zeros


@dataclass(frozen=True)
class _Found:
    """What was found out about a value; ranges and their SNR by whether all grids of the program have zero points."""

    positive: bool
    ranges: Mapping[bool, tuple[float, float]]
    snr_db: Mapping[bool, float]

    @classmethod
    def of(cls, measured: Histogram, method: str, *, asymmetric: bool) -> _Found:
        """Of the numbers that it took."""
        ranges = ranges_of(measured, method, asymmetric=asymmetric)
        snr_db = {zeros: measured.snr_db(grid_of(*ends, asymmetric=zeros)) for zeros, ends in ranges.items()}
        return cls(bool(measured.numbers[0] >= 0), ranges, snr_db)


def _harm(candidate: Candidate, snr: Mapping[str, float]) -> str:
    unmeasured = [value for value in candidate.values if value not in snr]
    if unmeasured:
        return f"{unmeasured[0]} was not measured"
    worst = min(candidate.values, key=lambda value: snr[value])
    side = "input" if worst == candidate.input else "result"
    return f"8 bits would keep its {side} to {snr[worst]:.1f} dB" if snr[worst] < MIN_SNR_DB else ""


def weights_behind(function: Function, recipe: Recipe, layers: Collection[str]) -> Weights:
    """The weights to store in 8 bits: all of layers that read 8-bit values, however small, and other large ones."""
    every = weights_of(function, min_elements=0)
    large = find_weights(function, min_elements=recipe.min_elements)
    behind = {
        name: layer
        for name, layer in every.layers.items()
        if name in large.layers or any(use.operation.name in layers for use in every.uses[name])
    }
    return replace(large, layers=behind, uses=every.uses, constants=every.constants)
