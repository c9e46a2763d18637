"""Histograms of values: exact counts, in any order of photographs, without what is not a number."""

from __future__ import annotations

import numpy as np
import torch

from portrait_export.runtime.ranges import PATTERNS, Ranges


def tensors(count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(3, 50, generator=generator) * 10**i).half().float() for i in range(count)]


def counted(values: list[torch.Tensor]) -> Ranges:
    ranges = Ranges(["x"])
    for value in values:
        ranges("x", value)
    return ranges


def test_a_histogram_is_numpys():
    values = [*tensors(4), torch.tensor([0.0, -0.0, 65504.0, -65504.0, 2.0**-24])]
    numbers, counts = counted(values).histogram("x")
    flat = np.concatenate([value.numpy().ravel() for value in values])
    unique, expected = np.unique(flat, return_counts=True)
    merged = {float(number): 0 for number in numbers}
    for number, count in zip(numbers, counts, strict=True):
        merged[float(number)] += int(count)  # zero has two patterns
    assert merged == dict(zip(unique.tolist(), expected.tolist(), strict=True))
    assert (np.diff(numbers) >= 0).all()


def test_the_order_of_photographs_does_not_matter():
    forward, backward = counted(tensors(4)), counted(tensors(4)[::-1])
    assert np.array_equal(forward.counts["x"], backward.counts["x"])


def test_only_named_tensors_are_counted():
    ranges = Ranges(["x"])
    ranges("y", torch.ones(3))
    ranges("x", [1.0])
    assert ranges.counts == {}


def test_nan_and_infinity_are_counted_apart():
    ranges = counted([torch.tensor([1.0, float("nan"), float("inf"), -float("inf"), 1e6])])
    assert ranges.not_finite() == {"x": 4}
    assert ranges.histogram("x")[0].tolist() == [1.0]


def test_counts_are_of_fixed_size_and_large_values_are_counted_whole():
    ranges = counted([torch.zeros(3, 1 << 20)])
    assert ranges.counts["x"].shape == (PATTERNS,)
    assert ranges.counts["x"].sum() == 3 << 20
