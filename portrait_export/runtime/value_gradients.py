"""Estimate how much an error of each computed value moves the masks.

As `weight_gradients` does for weights: to first order an error Δv of a value changes s = Σ ±P(person) by ⟨∂s/∂v, Δv⟩,
whose square is on average Σ (change of P(person))².
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import ExecutionError
from .gradients import DifferentiableProgram
from .model import SEED

Errors = Mapping[str, Callable[[Tensor], Tensor]]


class ValueGradients:
    """Estimates what errors of computed values do to the masks of a saved program, which runs in float32."""

    def __init__(self, package: Path, logits: str):
        """
        Args:
            package: uncompressed.
            logits: name of the value whose sigmoid is P(person).
        """
        self._program = DifferentiableProgram(package)
        self._logits = logits
        self._signs = torch.Generator().manual_seed(SEED)

    def of(self, inputs: Mapping[str, Any], errors: Errors, sums: int) -> dict[str, float]:
        """The mean over the pixels of one photograph of (change of P(person))², by value; each one alone in error.

        Args:
            inputs: of `CoreMLProgram.predict`.
            errors: by the value's name: a function from the value to its error, of the same shape.
            sums: random sums s that estimate it.
        Raises:
            ExecutionError: the program does not compute the logits, or they have no finite gradient.
        """
        made: dict[str, Tensor] = {}
        added: dict[str, Tensor] = {}

        def add(name: str, value: Any) -> Tensor | None:
            if name not in errors or not isinstance(value, Tensor) or not value.is_floating_point():
                return None
            made[name] = errors[name](value.detach())
            added[name] = torch.zeros_like(value, requires_grad=True)  # a sum's gradient is that of its terms
            return value + added[name]

        with torch.enable_grad():
            probability = torch.sigmoid(self._program.run(inputs, self._logits, hook=add))
            moved = dict.fromkeys(added, 0.0)
            for last in [False] * (sums - 1) + [True]:
                signs = torch.randint(0, 2, probability.shape, generator=self._signs) * 2.0 - 1.0
                for name, gradient in self._gradients((probability * signs).sum(), added, last=last).items():
                    moved[name] += float((gradient * made[name]).sum(dtype=torch.float64)) ** 2
        return {name: square / (sums * probability.numel()) for name, square in moved.items()}

    def _gradients(self, total: Tensor, values: Mapping[str, Tensor], *, last: bool) -> dict[str, Tensor]:
        try:
            found = torch.autograd.grad(total, list(values.values()), retain_graph=not last, allow_unused=True)
        except (RuntimeError, ValueError) as error:  # ValueError: there are no values
            raise ExecutionError(f"The logits have no gradient: {str(error).splitlines()[0]}") from error
        named = {name: gradient for name, gradient in zip(values, found, strict=True) if gradient is not None}
        if not all(bool(gradient.isfinite().all()) for gradient in named.values()):
            raise ExecutionError("The masks have no finite gradient by the values.")
        return named


def mean_of(found: Collection[Mapping[str, float]]) -> dict[str, float]:
    """The mean over photographs of what `ValueGradients.of` gives for each."""
    names = dict.fromkeys(name for one in found for name in one)
    return {name: sum(one.get(name, 0.0) for one in found) / len(found) for name in names}
