"""The knapsack against brute force, and hulls by their definition."""

from __future__ import annotations

import itertools
from itertools import pairwise

import numpy as np
import pytest

from portrait_export.quantize.knapsack import Option, hull, path_of, total_bytes, total_error


def problem(seed: int, weights: int = 5) -> dict[str, list[Option]]:
    """Random sizes, and errors that fall with them on the whole, as those of recipes do."""
    generator = np.random.default_rng(seed)
    made = {}
    for weight in range(weights):
        sizes = sorted(int(size) for size in generator.integers(10, 400, 4))
        scale = float(generator.lognormal(0, 2))
        made[f"w{weight}"] = [
            Option(f"r{i}", size, scale * float(np.exp(-size / 60) * generator.uniform(0.5, 1.5)))
            for i, size in enumerate(sizes)
        ]
    return made


def best(options: dict[str, list[Option]], size: int) -> float:
    """The least error within a size, over all choices."""
    choices = (dict(zip(options, picked, strict=True)) for picked in itertools.product(*options.values()))
    return min((total_error(choice) for choice in choices if total_bytes(choice) <= size), default=np.inf)


@pytest.mark.parametrize("seed", range(20))
def test_every_point_of_the_path_is_optimal_for_its_size(seed):
    options = problem(seed)
    path = path_of(options)
    for count in range(len(path.steps) + 1):
        choice = path.choice(count)
        assert total_error(choice) == pytest.approx(best(options, total_bytes(choice)))


@pytest.mark.parametrize("seed", range(20))
def test_a_size_is_kept_and_between_points_of_the_path_the_loss_is_at_most_one_step(seed):
    options = problem(seed)
    path = path_of(options)
    sizes = [total_bytes(path.choice(count)) for count in range(len(path.steps) + 1)]
    for size in range(sizes[0], sizes[-1], 37):
        choice = path.within_size(size)
        before = max(count for count, point in enumerate(sizes) if point <= size)
        assert total_bytes(choice) <= size
        assert best(options, size) <= total_error(choice) + 1e-12
        assert total_error(choice) <= total_error(path.choice(before)) + 1e-12


def test_a_size_that_nothing_fits_gives_the_smallest_choice():
    path = path_of(problem(0))
    assert path.within_size(0) == path.smallest


def test_the_fewest_steps_for_an_error():
    path = path_of(problem(1))
    for count in range(len(path.steps) + 1):
        assert path.within_error(total_error(path.choice(count)) * (1 + 1e-9)) == count
    assert path.within_error(-1.0) == len(path.steps)


@pytest.mark.parametrize("seed", range(5))
def test_a_hull_is_convex_and_nothing_lies_below_it(seed):
    options = problem(seed, weights=1)["w0"]
    line = hull(options)
    slopes = [(a.error - b.error) / (b.size_bytes - a.size_bytes) for a, b in pairwise(line)]
    assert slopes == sorted(slopes, reverse=True)
    assert line[0].size_bytes == min(option.size_bytes for option in options)
    assert line[-1].error == min(option.error for option in options)


def test_of_equal_sizes_the_better_one_is_on_the_hull():
    assert [one.name for one in hull([Option("a", 5, 2.0), Option("b", 5, 1.0), Option("c", 9, 3.0)])] == ["b"]
