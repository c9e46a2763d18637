"""Compare kernels with the value inference of coremltools' operator definitions. One row per behaviour."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from portrait_export.mil import coreml
from portrait_export.runtime.cases.inferred import ROWS, SIZES
from portrait_export.utils.quiet import quiet
from tests.runtime.kernels.calling import call

ATOL, RTOL = 1e-6, 2e-6  # float32 against numpy's: a few units in the last place


@pytest.mark.parametrize(("op", "inputs"), SIZES.values(), ids=SIZES.keys())
def test_sizes_computed_from_floats_are_those_that_mil_infers(op: str, inputs: dict[str, Any]) -> None:
    mb, ct = coreml.builder(), coreml.coremltools()
    inferred: list[tuple[int, ...]] = []

    @mb.program(input_specs=[mb.TensorSpec(shape=(1,))], opset_version=ct.target.iOS17)
    def program(unused):  # type: ignore[no-untyped-def]
        with np.errstate(over="ignore"):  # coremltools compares float16 sizes to a limit beyond 65504
            result = getattr(mb, op)(**inputs)
        inferred.append(tuple(int(side) for side in result.shape))
        return unused

    declared = {np.float16: "fp16", np.float32: "fp32", np.int32: "int32"}[type(inputs.get("end", np.float32(0)))]
    assert call(op, declared=declared, **inputs).shape == inferred[0]


def _definition(op: str, inputs: dict[str, Any]) -> Any:
    """What coremltools infers the operation to give on these constants."""
    mb, ct = coreml.builder(), coreml.coremltools()
    found = []

    @mb.program(input_specs=[mb.TensorSpec(shape=(1,))], opset_version=ct.target.iOS17)
    def program(unused):  # type: ignore[no-untyped-def]
        given = {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in inputs.items()}
        found.append(getattr(mb, op)(**given))
        return unused

    result = found[0]
    values = [r.val for r in result] if isinstance(result, (tuple, list)) else [result.val]
    assert all(value is not None for value in values), "the definition infers no value"
    return values


@pytest.mark.parametrize(("op", "inputs"), ROWS.values(), ids=ROWS.keys())
def test_kernel_gives_what_the_definition_infers(op: str, inputs: dict[str, Any]) -> None:
    with np.errstate(all="ignore"), quiet():
        expected = _definition(op, inputs)
    given = {k: np.float32(v) if isinstance(v, float) else v for k, v in inputs.items()}
    found = call(op, outputs=len(expected), **given)
    found = found if isinstance(found, tuple) else (found,)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == np.shape(theirs)
        np.testing.assert_allclose(ours.astype(np.float64), np.asarray(theirs, np.float64), RTOL, ATOL)
