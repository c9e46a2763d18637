"""Random sliding windows, resizes, slices, lookups and products equal ONNX Runtime, or are refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cases.model import Case
from tests.frontend.random_cases import KINDS, Dice, differences, lowers

COUNT = 30  # of each kind
FEW = {"sampling": 8}  # a cubic or volumetric one is written out in some hundred operations
LEAST_LOWERED = 0.5
SEED = 7


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_equals_onnx_runtime_or_is_refused(make: Callable[[Dice, int], Case]) -> None:
    dice = Dice(SEED)
    cases = [make(dice, index) for index in range(FEW.get(make.__name__, COUNT))]
    lowered = [case for case in cases if lowers(case)]
    assert len(lowered) >= LEAST_LOWERED * len(cases)
    found = differences(lowered)
    assert [(case.name, case.opset, case.attrs, found[case.name]) for case in lowered if found[case.name]] == []
