"""Sides of tensors that differ from one input size to the next in; the same numbers, computed by the program, out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations_with_replacement, pairwise
from typing import Any

import numpy as np

from .context import INT32_MAX, Unsupported

Side = tuple[int, ...]  # one dimension of one tensor: its length at each input size, in the order of the sizes


@dataclass(frozen=True)
class Formula:
    """How a side is computed: (Π factors · times + plus) / share, without remainder at every input size."""

    factors: tuple[Side, ...]
    times: int = 1
    plus: int = 0
    share: int = 1


def varies(side: Side) -> bool:
    """Whether a side has another length at another input size."""
    return len(set(side)) > 1


class Dimensions:
    """The sides that the values of a program have, and operations that compute from them.

    A formula need only hold at the listed input sizes: a program runs at no other.

    Args:
        emit: writes one MIL operation: its type, the name that is wanted for it, its inputs.
    """

    def __init__(self, emit: Callable[..., Any]):
        self._emit = emit
        self._owners: dict[Side, tuple[Any, int]] = {}  # the first value that has a side, and on which axis
        self._computed: dict[Side, Any] = {}  # int32 vectors of one element
        self._vectors: dict[tuple[Side, ...], Any] = {}

    def note(self, var: Any, sides: Sequence[Side]) -> None:
        """Remember where sides can be read from."""
        for axis, side in enumerate(sides):
            if varies(side):
                self._owners.setdefault(side, (var, axis))

    def find(self, side: Side) -> Formula | None:
        """How a side that varies can be computed from known ones, None where no formula fits it."""
        if side in self._owners:
            return Formula((side,))
        return next((formula for formula in self._formulas(side) if _fits(formula)), None)

    def _formulas(self, side: Side) -> Iterator[Formula]:
        """A share or multiple of one known side, of two known sides' product, or of one with something added."""
        for count in (1, 2):
            for factors in combinations_with_replacement(self._owners, count):
                ratios = {Fraction(length, whole) for length, whole in zip(side, _products(factors), strict=True)}
                if len(ratios) == 1:
                    ratio = ratios.pop()
                    yield Formula(factors, times=ratio.numerator, share=ratio.denominator)
        for known in self._owners:
            slope = _slope(known, side)
            if slope is not None:
                plus = slope.denominator * side[0] - slope.numerator * known[0]
                yield Formula((known,), times=slope.numerator, plus=plus, share=slope.denominator)

    def vector(self, sides: Sequence[Side], name: str) -> Any:
        """Sides as an int32 vector: a constant where none varies, else computed when the program runs.

        Args:
            sides: what the vector holds; -1 at every size is left as it is.
            name: of the value, which computes something for the operation of this name.
        Raises:
            Unsupported: a side is no product of known ones.
        """
        if not any(map(varies, sides)):
            return np.asarray([side[0] for side in sides], np.int32)
        key = tuple(sides)
        if key not in self._vectors:
            parts = self._parts(sides, name)
            self._vectors[key] = parts[0] if len(parts) == 1 else self._emit("concat", name, values=parts, axis=0)
        return self._vectors[key]

    def _parts(self, sides: Sequence[Side], name: str) -> list[Any]:
        """What is joined to a vector: neighbouring constants as one, sides of one value as one slice of its shape."""
        parts: list[Any] = []
        constants: list[int] = []
        for side in sides:
            if varies(side):
                parts += [np.asarray(constants, np.int32)] if constants else []
                constants = []
                parts.append(self._side(side, name))
            else:
                constants.append(side[0])
        return [*parts, np.asarray(constants, np.int32)] if constants else parts

    def _side(self, side: Side, name: str) -> Any:
        if side not in self._computed:
            formula = self.find(side)
            if formula is None:
                raise Unsupported(f"a side of {' or '.join(map(str, side))}, which no other side determines")
            self._computed[side] = self._evaluated(formula, side, name)
        return self._computed[side]

    def _evaluated(self, formula: Formula, side: Side, name: str) -> Any:
        if formula.factors == (side,):
            var, axis = self._owners[side]
            shape = self._emit("shape", f"{var.name}_shape", x=var)
            bounds = {"begin": np.asarray([axis], np.int32), "end": np.asarray([axis + 1], np.int32)}
            return self._emit("slice_by_index", f"{var.name}_side_{axis}", x=shape, **bounds)
        value, *others = [self._side(factor, name) for factor in formula.factors]
        for other in others:
            value = self._emit("mul", f"{name}_product", x=value, y=other)
        for op, number, neutral in (
            ("mul", formula.times, 1),
            ("add", formula.plus, 0),
            ("floor_div", formula.share, 1),
        ):
            if number != neutral:
                value = self._emit(op, f"{name}_{op}", x=value, y=np.int32(number))
        return value


def _products(factors: Sequence[Side]) -> list[int]:
    return [int(np.prod(lengths)) for lengths in zip(*factors, strict=True)]


def _fits(formula: Formula) -> bool:
    """Whether nothing on the way to the result leaves the range of int32."""
    products = _products(formula.factors)
    steps = (products, [value * formula.times for value in products])
    return all(abs(value) + abs(formula.plus) <= INT32_MAX for step in steps for value in step)


def _slope(known: Side, side: Side) -> Fraction | None:
    """a of side = a · known + b, None where no a is right at every size."""
    slopes = set()
    for (x0, y0), (x1, y1) in pairwise(zip(known, side, strict=True)):
        if x0 == x1 and y0 != y1:
            return None
        if x0 != x1:
            slopes.add(Fraction(y1 - y0, x1 - x0))
    return slopes.pop() if len(slopes) == 1 else None
