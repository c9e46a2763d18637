"""Round activations to 8 bits, and audit the rounding.

`quantize` and `dequantize` are written, read back from a package, and compared with what was decided.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import PackageError
from . import coreml
from .compile import CompiledProgram
from .encoded import ActivationGrid, Activations
from .literals import shorten_literals
from .program import Function, Operation, Program, Reference
from .types import TensorType
from .values import Values

MOVING = ("reshape",)  # operators that coremltools' passes apply to 8-bit values, between `quantize` and `dequantize`

_INTEGERS = ((1.0,), (0,))  # scale and zero point of a `dequantize` that returns the integers as they are
_SUMS = {"add", "sub", "relu"}  # relu may follow an addition before its result is quantized


@dataclass(frozen=True)
class RoundedValue:
    """A value that a program rounds to 8 bits.

    Attributes:
        name: of the value that `quantize` reads.
        dtype: `int8` or `uint8`.
        scales, zero_points: one number, or one per channel.
        read_by: types of the operators that read it after `dequantize`.
    """

    name: str
    dtype: str
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    read_by: tuple[str, ...] = ()

    @property
    def grid(self) -> ActivationGrid | None:
        """Its grid as int8; None if it is not one grid for the whole value.

        coremltools stores int8 with zero point -128 as uint8 with zero point 0.
        """
        shift = {"int8": 0, "uint8": 128}.get(self.dtype)
        if shift is None or len(self.scales) != 1 or len(self.zero_points) != 1:
            return None
        return ActivationGrid(self.scales[0], self.zero_points[0] - shift)


def quantize_activations(
    compiled: CompiledProgram,
    package: Path,
    layers: Sequence[str],
    ranges: Mapping[str, tuple[float, float]],
    *,
    asymmetric: bool,
) -> CompiledProgram:
    """Write `quantize` and `dequantize` around operations, with coremltools' own passes.

    Args:
        package: the compiled program as it was saved.
        layers: names of the operations.
        ranges: of every input and output of theirs, and of activation functions that read the outputs.
    Raises:
        PackageError: the passes changed the program's inputs or outputs.
    """
    optimize = coreml.optimize()
    rounding = optimize.OpLinearQuantizerConfig(mode="linear" if asymmetric else "linear_symmetric", dtype="int8")
    config = optimize.OptimizationConfig(global_config=None, op_name_configs=dict.fromkeys(layers, rounding))
    statistics = {name: {"rmin": low, "rmax": high} for name, (low, high) in ranges.items()}
    model = coreml.with_quantized_activations(package, config, statistics)
    weights = Path(model.weights_dir) / "weight.bin"
    spec = model.get_spec()
    shorten_literals(spec)
    for side in ("input", "output"):
        before, after = (
            [(feature.name, feature.type.SerializeToString(deterministic=True)) for feature in getattr(each, side)]
            for each in (compiled.spec.description, spec.description)
        )
        if before != after:
            raise PackageError(f"Quantizing activations changed the program's {side}s.")
    return replace(compiled, spec=spec, weights=weights.read_bytes() if weights.exists() else b"")


def rounded_values(program: Program) -> tuple[RoundedValue, ...]:
    """Every value that a program rounds to 8 bits, in order."""
    return tuple(value for function in program.functions.values() for value in _rounded(function))


def _rounded(function: Function) -> Iterator[RoundedValue]:
    values, readers = Values.of(function.inputs, function.block), _readers(function)
    for op in function.block.walk():
        if op.type != "quantize" or not op.outputs:
            continue
        output, kind = op.outputs[0]
        scales, zeros = _parameters(op, values)
        types = {reader.type for name in _restored(output, readers) for reader in readers.get(name, ())}
        dtype = kind.dtype if isinstance(kind, TensorType) else ""
        yield RoundedValue(_input(op), dtype, scales, zeros, tuple(sorted(types)))


def _restored(name: str, readers: Mapping[str, list[Operation]]) -> Iterator[str]:
    """The results of `dequantize` of an 8-bit value."""
    for reader in readers.get(name, ()):
        for output, _ in reader.outputs:
            if reader.type == "dequantize":
                yield output
            elif reader.type in MOVING:
                yield from _restored(output, readers)


def _readers(function: Function) -> dict[str, list[Operation]]:
    readers: dict[str, list[Operation]] = {}
    for op in function.block.walk():
        for name in op.references:
            readers.setdefault(name, []).append(op)
    return readers


def _input(op: Operation, parameter: str = "input") -> str:
    value = next(iter(op.inputs.get(parameter, ())), None)
    return value.name if isinstance(value, Reference) else ""


def _parameters(op: Operation, values: Values) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """The scales and zero points of a `quantize` or `dequantize`; zero points left out are 0."""
    scale, zero = values.constant(op, "scale"), values.constant(op, "zero_point")
    scales = () if scale is None else tuple(float(number) for number in np.ravel(scale.numpy()))
    zeros = (0,) if zero is None else tuple(int(number) for number in np.ravel(zero.numpy()))
    return scales, zeros


def activation_problems(program: Program, intended: Activations | None = None) -> tuple[str, ...]:
    """Every fault in the rounding of values in a saved program, and every departure from what the quantizer decided.

    Args:
        intended: None for a package of unknown origin.
    """
    problems: list[str] = []
    for function in program.functions.values():
        problems += _faults(function, strict=intended is not None)
        if intended is not None:
            problems += _departures(function, intended)
    return tuple(problems)


def _faults(function: Function, *, strict: bool) -> Iterator[str]:
    """Scales that cannot be used, and `dequantize` that is not the inverse of its `quantize`.

    Unless `strict`, it need not be around an addition, where coremltools divides the scales on both sides by one of
    them, nor where it returns the integers themselves, which the network then interpolates or rounds.
    """
    values, readers = Values.of(function.inputs, function.block), _readers(function)
    producers = {name: op for op in function.block.walk() for name, _ in op.outputs}
    for op in function.block.walk():
        if op.type not in ("quantize", "dequantize"):
            continue
        if not all(0 < scale < math.inf for scale in _parameters(op, values)[0]):
            yield f"{op.type} {op.name} has a scale that is zero, negative or not a number"
        source = producers.get(_input(op))
        while source is not None and source.type in MOVING:
            source = producers.get(_input(source, "x"))
        if op.type == "quantize" or source is None or source.type != "quantize":
            continue
        around = {reader.type for name, _ in op.outputs for reader in readers.get(name, ())}
        around |= {producers[name].type for name in source.references if name in producers}
        found = _parameters(op, values)
        allowed = not strict and (bool(around & _SUMS) or found == _INTEGERS)
        if found != _parameters(source, values) and not allowed:
            yield f"dequantize {op.name} has another scale or zero point than {source.name}"


def _departures(function: Function, intended: Activations) -> Iterator[str]:
    for value in _rounded(function):
        grid = intended.grids.get(value.name)
        if grid is None:
            yield f"{value.name} is rounded to 8 bits; the recipe left it in half precision"
        elif value.grid != grid:
            yield (
                f"{value.name} is rounded to {value.dtype} with scale {_text(value.scales)} and zero point"
                f" {_text(value.zero_points)}, not {grid.scale:g} and {grid.zero_point}"
            )
    producers = {name: op for op in function.block.walk() for name, _ in op.outputs}
    for op in function.block.walk():
        source = producers.get(_input(op, "x"))
        if op.name in intended.layers and (source is None or source.type != "dequantize"):
            yield f"{op.type} {op.name} reads a value that is not rounded to 8 bits"


def _text(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:g}" for number in numbers[:3]) + (" …" if len(numbers) > 3 else "")
