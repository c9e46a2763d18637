"""Choose how each weight is stored, within a size or within an error.

A multiple-choice knapsack. Of each weight's options only those on the lower convex hull of (size, error) can be the
best for some price of a byte. All weights start with their smallest option; steps along the hulls, those that save the
most error per byte first, give a path on which every point is optimal for its size (the Lagrangian relaxation).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise


@dataclass(frozen=True)
class Option:
    """One way to store a weight.

    Attributes:
        name: of the recipe.
        size_bytes: that it takes.
        error: that it adds; errors of different weights are summed.
    """

    name: str
    size_bytes: int
    error: float


Choice = dict[str, Option]
Options = Mapping[str, Sequence[Option]]


@dataclass(frozen=True)
class Path:
    """The optimal choices from the smallest to the most exact.

    Attributes:
        smallest: the first choice.
        steps: (weight, its next option), in the order in which they are worth it.
    """

    smallest: Choice
    steps: tuple[tuple[str, Option], ...]

    def choice(self, count: int) -> Choice:
        """The choice after some steps."""
        return {**self.smallest, **dict(self.steps[:count])}

    def within_size(self, size_bytes: int) -> Choice:
        """The choice of least error that fits into a size; the smallest one if none does.

        After the last step that fits, later ones that still do are taken too, each weight's in order.
        """
        chosen = dict(self.smallest)
        room = size_bytes - total_bytes(chosen)
        stopped: set[str] = set()
        for weight, option in self.steps:
            cost = option.size_bytes - chosen[weight].size_bytes
            if weight in stopped or cost > room:
                stopped.add(weight)
                continue
            chosen[weight] = option
            room -= cost
        return chosen

    def within_error(self, error: float) -> int:
        """The smallest number of steps after which the error is at most this; all steps if it never is."""
        chosen = dict(self.smallest)
        left = total_error(chosen)
        for count, (weight, option) in enumerate(self.steps):
            if left <= error:
                return count
            left += option.error - chosen[weight].error
            chosen[weight] = option
        return len(self.steps)


def total_bytes(choice: Choice) -> int:
    """The size of a choice."""
    return sum(option.size_bytes for option in choice.values())


def total_error(choice: Choice) -> float:
    """The error of a choice."""
    return sum(option.error for option in choice.values())


def path_of(options: Options) -> Path:
    """The path over all weights. Equal steps keep the order of the weights."""
    hulls = {weight: hull(given) for weight, given in options.items()}
    steps = [
        (_worth(before, after), weight, after) for weight, line in hulls.items() for before, after in pairwise(line)
    ]
    steps.sort(key=lambda step: -step[0])
    return Path(
        {weight: line[0] for weight, line in hulls.items()}, tuple((weight, option) for _, weight, option in steps)
    )


def corrected(options: Sequence[Option], name: str, error: float) -> list[Option]:
    """The options of a weight after the error of one of them was measured.

    Smaller ones are taken to be wrong by the same factor, larger ones to add no more than this one.
    """
    measured = next(option for option in options if option.name == name)
    factor = error / measured.error if measured.error else 1.0
    return [
        replace(one, error=error)
        if one.name == name
        else replace(one, error=one.error * factor if one.size_bytes < measured.size_bytes else min(one.error, error))
        for one in options
    ]


def _worth(before: Option, after: Option) -> float:
    """The error that each further byte saves."""
    return (before.error - after.error) / (after.size_bytes - before.size_bytes)


def hull(options: Sequence[Option]) -> list[Option]:
    """The options on the lower convex hull, by size: each step saves less error per byte than the one before."""
    line: list[Option] = []
    for option in sorted(options, key=lambda one: (one.size_bytes, one.error, one.name)):
        if line and option.error >= line[-1].error:
            continue
        while len(line) > 1 and _worth(line[-1], option) >= _worth(line[-2], line[-1]):
            line.pop()
        if line and line[-1].size_bytes == option.size_bytes:
            line.pop()
        line.append(option)
    return line
