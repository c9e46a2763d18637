"""Save a package of one MIL operation, whose arrays are the package's inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import PackageError, first_line
from ..utils.files import written_whole
from ..utils.quiet import quiet
from . import coreml

# Parameters that stay constants in every program: weights, and sizes that would make the result's shape unknown.
CONSTANT = (
    *("weight", "bias", "gamma", "beta", "mean", "variance", "alpha", "scale", "zero_point", "quant_scale"),
    *("quant_bias", "weight_ih", "weight_hh", "weight_ih_back", "weight_hh_back", "bias_back", "lengths"),
    *("block_shape", "paddings", "crops", "begin", "end", "stride", "size", "shape", "reps", "pad", "peephole"),
)
FLOAT32_ALWAYS = ("scale_factor_height", "scale_factor_width")  # the definitions allow no other type
PASSED_AS_INT32 = ("bool", "int8", "uint8", "int16", "uint16")  # Core ML's inputs and outputs are never of these types


@dataclass
class _Arrays:
    """The program's inputs: `given` as the app passes them, `specs` in order."""

    given: dict[str, np.ndarray] = field(default_factory=dict)
    dtypes: dict[str, str] = field(default_factory=dict)
    ranks: dict[str, int] = field(default_factory=dict)


def save_operation(
    op: str, inputs: Mapping[str, Any], path: Path, *, precision: str = "fp32", target: str = "iOS17"
) -> dict[str, np.ndarray]:
    """Write a package that computes one operation; its results are the outputs `out0`, `out1` …

    Args:
        op: the operator.
        inputs: its parameters. Arrays become the package's inputs, everything else constants.
        precision: `fp32` or `fp16`: the type of every float.
        target: deployment target, such as `iOS17`.
    Returns:
        The package's inputs for these parameters, by name.
    Raises:
        PackageError: if coremltools does not accept the operation; Core ML has no arrays without elements.
    """
    ct, mb, types = coreml.coremltools(), coreml.builder(), coreml.types()
    arrays = _Arrays()
    plan = {name: _planned(op, name, value, arrays, precision) for name, value in inputs.items()}
    if any(array.size == 0 for array in arrays.given.values()):
        raise PackageError(f"{op}: Core ML has no arrays without elements.")
    if not arrays.given:
        _add("unused", np.zeros((1,), np.float32), arrays, precision)
    specs = [
        mb.TensorSpec(array.shape, dtype=types.numpy_type_to_builtin_type(array.dtype.type))
        for array in arrays.given.values()
    ]

    def body(*variables: Any) -> Any:
        by_name = {
            name: _as_parameter(mb, variable, name, arrays)
            for name, variable in zip(arrays.given, variables, strict=True)
        }
        parameters = {name: _bound(value, by_name) for name, value in plan.items()}
        found = getattr(mb, op)(**parameters)
        results = found if isinstance(found, (list, tuple)) else (found,)
        return tuple(_as_output(mb, types, one, index, by_name.get("unused")) for index, one in enumerate(results))

    try:
        with quiet(), np.errstate(all="ignore"):
            program = mb.program(input_specs=specs, opset_version=coreml.target(target))(_named(body, arrays.given))
            model = ct.convert(
                program,
                convert_to="mlprogram",
                minimum_deployment_target=coreml.target(target),
                compute_precision=ct.precision.FLOAT32,  # the types are already those that were asked for
                pass_pipeline=ct.PassPipeline.EMPTY,
                skip_model_load=True,
            )
    except (ValueError, TypeError, RuntimeError, NotImplementedError, AssertionError, KeyError) as error:
        raise PackageError(f"coremltools does not write {op}: {first_line(error)}") from error
    with written_whole(path, force=True, folder=True) as partial, quiet():
        model.save(str(partial))
    return arrays.given


def _named(body: Any, names: Mapping[str, Any]) -> Any:
    """`body` as a function whose parameters have these names: the builder names the program's inputs by them."""
    scope: dict[str, Any] = {"body": body}
    listed = ", ".join(names)
    exec(f"def operation({listed}):\n    return body({listed})", scope)  # names are identifiers of this file's making
    return scope["operation"]


@dataclass(frozen=True)
class _Input:
    """A parameter that is an input of the program."""

    name: str


def _planned(op: str, name: str, value: Any, arrays: _Arrays, precision: str) -> Any:
    """A parameter: `_Input`, a list of them, or a constant of the precision."""
    if name not in CONSTANT and not op.startswith("constexpr_"):
        if isinstance(value, np.ndarray):
            return _add(name, value, arrays, precision)
        if isinstance(value, list) and value and all(isinstance(one, np.ndarray) for one in value):
            return [_add(f"{name}_{index}", one, arrays, precision) for index, one in enumerate(value)]
    return _in_precision(value, "fp32" if name in FLOAT32_ALWAYS else precision)


def _add(name: str, value: np.ndarray, arrays: _Arrays, precision: str) -> _Input:
    array = np.asarray(_in_precision(value, precision))
    arrays.dtypes[name], arrays.ranks[name] = array.dtype.name, array.ndim
    array = array.reshape(array.shape or (1,))
    arrays.given[name] = array.astype(np.int32) if array.dtype.name in PASSED_AS_INT32 else array
    return _Input(name)


def _in_precision(value: Any, precision: str) -> Any:
    """Floats in the precision; other values unchanged."""
    kind = np.float16 if precision == "fp16" else np.float32
    if isinstance(value, (np.ndarray, np.generic)):
        return value.astype(kind) if value.dtype.kind == "f" else value.copy()
    return kind(value) if isinstance(value, float) else value


def _bound(value: Any, by_name: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [_bound(one, by_name) for one in value]
    return by_name[value.name] if isinstance(value, _Input) else value


def _as_parameter(mb: Any, variable: Any, name: str, arrays: _Arrays) -> Any:
    """A program input as the operation takes it: of its own type, and a scalar if it is one."""
    if arrays.dtypes[name] in PASSED_AS_INT32:
        variable = mb.cast(x=variable, dtype=arrays.dtypes[name])
    return variable if arrays.ranks[name] else mb.squeeze(x=variable, axes=[0])


def _as_output(mb: Any, types: Any, value: Any, index: int, unused: Any) -> Any:
    """A result as Core ML returns it; what the program computes from constants alone gets an input added to it."""
    name = f"out{index}"
    kind = types.nptype_from_builtin(value.dtype)
    if np.dtype(kind).name in PASSED_AS_INT32:
        return mb.cast(x=value, dtype="int32", name=name)
    if unused is not None and np.dtype(kind).kind == "f":
        return mb.add(x=value, y=unused, name=name)
    return mb.identity(x=value, name=name)
