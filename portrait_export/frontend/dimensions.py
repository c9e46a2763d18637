"""Compute, inside the program, the sides of tensors that vary with the input size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, combinations_with_replacement, pairwise
from typing import Protocol, TypeAlias

import numpy as np

from .refusals import Unsupported
from .values import INT32_MAX, Argument, Tensor, Var

Side: TypeAlias = tuple[int, ...]  # one dimension of one tensor: its length at each input size, in their order


class Emit(Protocol):
    """Writes one MIL operation under a name like `name` and returns its only output."""

    def __call__(self, op: str, name: str, /, **inputs: Argument) -> Var: ...


@dataclass(frozen=True)
class Formula:
    """How to compute a side: (Π factors · times + plus) / share, without remainder at every input size."""

    factors: tuple[Side, ...]
    times: int = 1
    plus: int = 0
    share: int = 1


def varies(side: Side) -> bool:
    """Whether a side has different lengths at different input sizes."""
    return len(set(side)) > 1


class Dimensions:
    """The sides of a program's values, and operations that compute further sides from them.

    A formula need only hold at the listed input sizes: the program accepts no others.

    Args:
        emit: writes the operations.
    """

    def __init__(self, emit: Emit):
        self._emit = emit
        self._owners: dict[Side, tuple[Var, int]] = {}  # the first value that has a side, and the axis
        self._computed: dict[Side, Var] = {}  # int32 vectors of one element
        self._vectors: dict[tuple[Side, ...], Tensor] = {}
        self._hits: list[Var] = []  # for each input size but the first, 1 if it is the program's, else 0

    def note(self, var: Var, sides: Sequence[Side]) -> None:
        """Record that `var` has these sides, so that they can be read from its shape."""
        for axis, side in enumerate(sides):
            if varies(side):
                self._owners.setdefault(side, (var, axis))

    def find(self, side: Side) -> Formula | None:
        """A formula for a varying side in terms of known ones, None if no formula fits."""
        if side in self._owners:
            return Formula((side,))
        return next((formula for formula in self._formulas(side) if _fits(formula)), None)

    def _formulas(self, side: Side) -> Iterator[Formula]:
        """Candidates: a rational multiple of one known side or of a product of two, or a linear function of one."""
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

    def vector(self, sides: Sequence[Side], name: str) -> Tensor:
        """Sides as an int32 vector: a constant if none varies, else computed when the program runs.

        Args:
            sides: the elements of the vector; a side that is -1 at every size stays -1.
            name: of the vector, and the prefix for the operations that compute it.
        Raises:
            Unsupported: a side cannot be computed from known ones.
        """
        if not any(map(varies, sides)):
            return np.asarray([side[0] for side in sides], np.int32)
        key = tuple(sides)
        if key not in self._vectors:
            parts = self._parts(sides, name)
            self._vectors[key] = parts[0] if len(parts) == 1 else self._emit("concat", name, values=parts, axis=0)
        return self._vectors[key]

    def chosen(self, numbers: Side, name: str) -> Var:
        """Any whole number per input size, as an int32 vector of one element, by comparing sides with the listed ones.

        n₀ + Σ (nᵢ − n₀) · [the input has size i]
        """
        steps = [
            self._emit("mul", f"{name}_step", x=hit, y=np.int32(number - numbers[0]))
            for number, hit in zip(numbers[1:], self._sizes(), strict=True)
        ]
        value = self._emit("add", f"{name}_chosen", x=steps[0], y=np.int32(numbers[0]))
        for step in steps[1:]:
            value = self._emit("add", f"{name}_chosen", x=value, y=step)
        return value

    def _sizes(self) -> list[Var]:
        if not self._hits:
            telling = self._telling()
            for index in range(1, len(telling[0])):
                same = [
                    self._emit("equal", "is_side", x=self._side(side, "input"), y=np.int32(side[index]))
                    for side in telling
                ]
                whole = same[0] if len(same) == 1 else self._emit("logical_and", "is_size", x=same[0], y=same[1])
                self._hits.append(self._emit("cast", "is_listed_size", x=whole, dtype="int32"))
        return self._hits

    def _telling(self) -> tuple[Side, ...]:
        """One known side, or two, that are different at every input size."""
        for count in (1, 2):
            for sides in combinations(self._owners, count):
                if len(set(zip(*sides, strict=True))) == len(sides[0]):
                    return sides
        raise Unsupported("one of its constants changes with the size, and no side tells the sizes apart")

    def _parts(self, sides: Sequence[Side], name: str) -> list[Tensor]:
        """The pieces of a vector: each varying side, and each run of constant ones."""
        parts: list[Tensor] = []
        constants: list[int] = []
        for side in sides:
            if varies(side):
                parts += [np.asarray(constants, np.int32)] if constants else []
                constants = []
                parts.append(self._side(side, name))
            else:
                constants.append(side[0])
        return [*parts, np.asarray(constants, np.int32)] if constants else parts

    def _side(self, side: Side, name: str) -> Var:
        if side not in self._computed:
            formula = self.find(side)
            if formula is None:
                raise Unsupported(f"a side of {' or '.join(map(str, side))} that cannot be computed from other sides")
            self._computed[side] = self._evaluated(formula, side, name)
        return self._computed[side]

    def _evaluated(self, formula: Formula, side: Side, name: str) -> Var:
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
    """Whether no intermediate result leaves the range of int32."""
    products = _products(formula.factors)
    steps = (products, [value * formula.times for value in products])
    return all(abs(value) + abs(formula.plus) <= INT32_MAX for step in steps for value in step)


def _slope(known: Side, side: Side) -> Fraction | None:
    """The a of side = a · known + b, None if no a fits at every size."""
    slopes = set()
    for (x0, y0), (x1, y1) in pairwise(zip(known, side, strict=True)):
        if x0 == x1 and y0 != y1:
            return None
        if x0 != x1:
            slopes.add(Fraction(y1 - y0, x1 - x0))
    return slopes.pop() if len(slopes) == 1 else None
