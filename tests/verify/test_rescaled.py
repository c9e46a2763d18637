"""Rescaled values are recognised, and excused only where everything that reads them is right."""

from __future__ import annotations

import numpy as np
import pytest

from portrait_export.verify.blame import Tally, ValuePair
from portrait_export.verify.rescaled import AffineFit, excused

RNG = np.random.default_rng(5)
VALUE = RNG.standard_normal((1, 3, 16, 16)).astype(np.float32)
FACTORS = np.array([2.0, -0.5, 30.0], np.float32).reshape(1, 3, 1, 1)


def fitted(reference, candidate):
    fit = AffineFit()
    for one, other in zip(reference, candidate, strict=True):
        fit.add(one, other)
    return fit


@pytest.mark.parametrize("change", [lambda x: 77 * x, lambda x: -3 * x + 9, lambda x: FACTORS * x + 1])
def test_a_factor_and_offset_are_found_over_several_inputs(change):
    values = [VALUE, VALUE * 3 + 1]
    fit = fitted(values, [change(value) for value in values])
    assert fit.explains
    assert np.allclose(fit.apply(VALUE), change(VALUE), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("change", [np.tanh, lambda x: x[:, ::-1], lambda x: x * 0 + 2, lambda x: x + 0.1 * x**2])
def test_other_changes_are_not_explained(change):
    assert not fitted([VALUE], [change(VALUE)]).explains


def test_values_that_are_no_numbers_are_not_explained():
    broken = VALUE.copy()
    broken[0, 0, 0, 0] = np.nan
    assert not fitted([VALUE], [broken]).explains


def test_a_handful_of_elements_per_channel_gets_one_factor():
    vector = RNG.standard_normal((1, 32, 1, 1)).astype(np.float32)
    assert not fitted([vector], [RNG.standard_normal((1, 32, 1, 1)).astype(np.float32)]).explains


CHAIN = [
    ValuePair("conv", "conv", before=()),
    ValuePair("relu", "relu", before=("conv",)),
    ValuePair("out", "out", before=("relu",)),
]


def report(wrong: set[str]):
    """The report of a comparison of the chain in which each operation alone is right but for some."""
    tally = Tally(CHAIN)
    for op in CHAIN:
        found = VALUE * 5 if op.name in wrong else VALUE
        tally.add(tally.whole, op.name, VALUE, found)
        tally.add(tally.own, op.name, VALUE, found)
    return tally.blame()


@pytest.mark.parametrize(
    ("fits", "wrong", "spared"),
    [
        ({"conv"}, set(), {"conv"}),
        ({"conv", "relu"}, set(), {"conv", "relu"}),
        ({"conv"}, {"relu"}, set()),
        ({"conv", "relu"}, {"out"}, set()),
        ({"conv", "relu", "out"}, set(), set()),
    ],
    ids=["undone at once", "undone later", "a reader is wrong", "the reader after is wrong", "it reaches the output"],
)
def test_a_rescaled_value_is_excused_only_if_what_reads_it_is_right(fits, wrong, spared):
    assert excused(CHAIN, fits, report(wrong)) == spared
