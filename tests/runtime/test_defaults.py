"""Compare the defaults of every kernel with those in coremltools' operator definitions, version by version."""

from __future__ import annotations

import inspect
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from portrait_export.mil import coreml
from portrait_export.runtime.coverage import OPERATORS, VERSIONS
from portrait_export.runtime.registry import kernels
from tests.runtime.kernels.calling import call

RNG = np.random.default_rng(4)
IMAGE = RNG.standard_normal((2, 4, 5, 6)).astype(np.float32)
WEIGHT = RNG.standard_normal((4, 4, 2, 2)).astype(np.float32)
BYTES = RNG.integers(0, 256, (4, 4, 2, 2)).astype(np.uint8)
BOXES = np.array([[0, 0, 3, 2], [1, 1, 4, 5]], np.float32)
WINDOW: dict[str, Any] = {"x": IMAGE, "kernel_sizes": [2, 2], "pad_type": "custom"}

# Operators whose defaults depend on their inputs, and inputs that leave all of these out. (With float16 inputs, epsilon
# is the same number rounded to float16.)
INPUTS: dict[str, dict[str, Any]] = {
    "inverse": {"x": IMAGE},
    "log": {"x": np.abs(IMAGE)},
    "rsqrt": {"x": np.abs(IMAGE)},
    "conv": {"x": IMAGE, "weight": WEIGHT, "pad_type": "custom"},
    "conv_transpose": {"x": IMAGE, "weight": WEIGHT, "pad_type": "custom"},
    "conv_quantized": {
        "x": IMAGE, "weight": BYTES, "quantization_type": "linear", "pad_type": "custom",
        "quant_scale": np.ones(4, np.float32), "quant_bias": np.ones(4, np.float32),
    },
    "crop_resize": {"x": IMAGE, "boxes": BOXES},
    "linear": {"x": IMAGE, "weight": IMAGE[0, 0]},
    "layer_norm": {"x": IMAGE},
    "avg_pool": WINDOW,
    "l2_pool": WINDOW,
    "max_pool": WINDOW,
}  # fmt: skip

# Defaults that a definition documents without listing them in `default_inputs`.
DOCUMENTED = {("gru", "reset_after"): False}


@cache
def _definitions() -> dict[tuple[str, str], Any]:
    """(operator, version) → coremltools' definition, for operators with a kernel."""
    coreml.coremltools()
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    return {
        (name, version.name): definition
        for name, versions in SSAOpRegistry.core_ops.items()
        for version, definition in versions.items()
        if name in kernels() and version.name in VERSIONS
    }


def _inputs(definition: Any) -> dict[str, Any]:
    """Name → input type, without those that coremltools uses internally."""
    return {key: kind for key, kind in definition.input_spec.input_types.items() if not key.startswith("_")}


def _defaults(definition: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """A definition's defaults for an operation with these inputs alone."""
    operation = definition.__new__(definition)
    vars(operation).update(dict.fromkeys(_inputs(definition)))
    for key, value in inputs.items():
        array, types = np.asarray(value), coreml.types()
        dtype = types.numpy_type_to_builtin_type(array.dtype)
        vars(operation)[key] = SimpleNamespace(shape=array.shape, rank=array.ndim, dtype=dtype, val=value)
    return dict(operation.default_inputs().items())


def _fixed_defaults(definition: Any) -> dict[str, Any] | None:
    """A definition's defaults; None if they depend on the operation's inputs."""
    try:
        return _defaults(definition, {})
    except AttributeError:
        return None


def _cases(*, fixed: bool) -> list[tuple[str, str]]:
    return [key for key, definition in _definitions().items() if (_fixed_defaults(definition) is not None) is fixed]


def test_a_version_without_operators_of_its_own_has_no_definitions() -> None:
    """iOS26 takes those of iOS18 as they are."""
    assert {version for _, version in _definitions()} == set(OPERATORS)
    assert set(VERSIONS) - set(OPERATORS) == {"iOS26"}


@pytest.mark.parametrize("version", OPERATORS)
def test_a_kernel_has_the_defaults_of_every_version(version: str) -> None:
    checked = 0
    for name, of in _cases(fixed=True):
        if of != version:
            continue
        definition, signature = _definitions()[name, version], inspect.signature(kernels()[name].function).parameters
        defaults = _fixed_defaults(definition) or {}
        for key, kind in _inputs(definition).items():
            if kind.optional:
                expected = defaults.get(key, DOCUMENTED.get((name, key)))
                assert signature[key].default == expected, f"{key} of {name} in {version}"
                checked += 1
    assert checked > 100


def test_an_input_that_every_version_requires_is_required_by_the_kernel() -> None:
    for name in {name for name, _ in _definitions()}:
        versions = [definition for (of, _), definition in _definitions().items() if of == name]
        for key, parameter in kernels()[name].parameters.items():
            kinds = [_inputs(definition).get(key) for definition in versions]
            required = all(kind is not None and not kind.optional for kind in kinds)
            assert parameter.required is required, f"{key} of {name}"


def test_every_operator_with_defaults_that_depend_on_its_inputs_has_an_example() -> None:
    assert {name for name, _ in _cases(fixed=False)} == set(INPUTS)


@pytest.mark.parametrize("name", INPUTS)
def test_leaving_out_an_input_means_the_default_that_the_definition_computes(name: str) -> None:
    inputs = INPUTS[name]
    versions = [version for of, version in _cases(fixed=False) if of == name]
    assert versions
    for version in versions:
        defaults = _defaults(_definitions()[name, version], inputs)
        filled = {key: value for key, value in defaults.items() if key not in inputs and value is not None}
        assert filled
        np.testing.assert_equal(call(name, **inputs), call(name, **inputs, **filled), err_msg=version)
