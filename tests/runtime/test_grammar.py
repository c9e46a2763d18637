"""Random valid programs: every value that coremltools infers must be the runtime's."""

from __future__ import annotations

import gc
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portrait_export.runtime.registry import kernels
from tests.runtime import growing
from tests.runtime.grammar import DRAWS, grow

PROGRAMS = 200  # benchmarks/fuzz_runtime.py runs 20,000
LEAST_COMPARED = 900  # values; 1,062 with these seeds


@pytest.fixture(autouse=True, scope="module")
def little_garbage() -> None:
    """coremltools collects garbage on each conversion, through every object there is."""
    grow(0)
    gc.freeze()


def test_values_are_those_that_coremltools_infers(tmp_path: Path) -> None:
    bad, compared, operators = {}, 0, Counter[str]()
    for seed in range(PROGRAMS):
        grown = grow(seed)
        outcome = growing.run(grown, growing.write(grown, tmp_path / "grown.mlpackage"))
        compared += len(grown.expected)
        operators.update(grown.operators)
        if outcome != "result":
            bad[seed] = outcome
    assert bad == {}
    assert compared >= LEAST_COMPARED
    assert len(operators) >= 95, sorted(operators)


def test_a_wrong_kernel_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """softsign without its absolute value, and a transpose that forgets its permutation."""
    wrong: dict[str, Any] = {
        "softsign": lambda x: x / (1 + x),
        "transpose": lambda x, perm: x.clone(),
    }
    for name, function in wrong.items():
        with monkeypatch.context() as patch:
            patch.setitem(kernels(), name, replace(kernels()[name], function=function))
            outcomes = []
            for seed in range(PROGRAMS):
                grown = grow(seed)
                if name in grown.operators:
                    outcomes.append(growing.run(grown, growing.write(grown, tmp_path / "wrong.mlpackage")))
            assert any(outcome.startswith("bad") for outcome in outcomes), name


def test_the_same_seed_grows_the_same_program() -> None:
    first, second = grow(7), grow(7)
    assert first.operators == second.operators
    assert first.expected.keys() == second.expected.keys()
    for name in first.expected:
        np.testing.assert_array_equal(first.expected[name], second.expected[name])


def test_every_rank_and_type_is_grown() -> None:
    grown = [grow(seed) for seed in range(60)]
    values = [value for one in grown for value in (*one.given.values(), *one.expected.values())]
    assert {value.ndim for value in values} == set(range(6))
    assert {np.asarray(value).dtype.kind for value in values} == {"f", "i", "b"}
    assert len(DRAWS) > 95


DIFFERENCES = {
    "shape": ([1.0], [[1.0]], "shape [1] instead of [1, 1]"),
    "number": ([1.0, 2.0], [1.0, 2.1], "2 instead of 2.1 at element 1, 1 such"),
    "nan": ([np.nan], [1.0], "nan instead of 1"),
    "infinity": ([np.inf], [-np.inf], "inf instead of -inf"),
    "the_same": ([np.nan, np.inf, 1.0], [np.nan, np.inf, 1.0000001], ""),
}


@pytest.mark.parametrize(("found", "expected", "words"), DIFFERENCES.values(), ids=DIFFERENCES.keys())
def test_differences_are_described(found: Any, expected: Any, words: str) -> None:
    text = growing.difference(np.asarray(found), np.asarray(expected))
    assert text.startswith(words)
    assert bool(text) == bool(words)
