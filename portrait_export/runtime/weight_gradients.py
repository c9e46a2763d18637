"""Differentiate what a program computes by its weights: how much a change of each weight moves the masks.

The program runs in float32 with torch's autograd. For a change ΔW of a weight, to first order,

    E_r ⟨∂s/∂W, ΔW⟩² = Σ (change of P(person))²,    s = Σ r · P(person),    r = ±1 at random for each pixel,

so a few random sums s for each photograph estimate what any ΔW does to the mask.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import ExecutionError
from .gradients import DifferentiableProgram
from .model import SEED


class MaskGradients:
    """Gradients of random sums of P(person) by the weights of a saved program."""

    def __init__(self, package: Path, weights: Sequence[str], logits: str):
        """
        Args:
            package: uncompressed.
            weights: names of constants.
            logits: name of the value whose sigmoid is P(person).
        """
        self._program = DifferentiableProgram(package)
        self._logits = logits
        self._weights = self._program.constants(weights)
        self._signs = torch.Generator().manual_seed(SEED)

    def of(self, inputs: Mapping[str, Any], sums: int) -> Iterator[dict[str, Tensor]]:
        """The gradients of `sums` random sums on one photograph, by weight; zero where the mask does not depend on it.

        A weight that no operation reads as a tensor has none.

        Args:
            inputs: of `CoreMLProgram.predict`.
        Raises:
            ExecutionError: the program does not compute the logits, or they have no gradient.
        """
        with torch.enable_grad():
            probability = torch.sigmoid(self._program.run(inputs, self._logits, self._weights))
            for last in [False] * (sums - 1) + [True]:
                signs = torch.randint(0, 2, probability.shape, generator=self._signs) * 2.0 - 1.0
                try:
                    found = torch.autograd.grad(
                        (probability * signs).sum(),
                        list(self._weights.values()),
                        retain_graph=not last,
                        allow_unused=True,
                    )
                except (RuntimeError, ValueError) as error:  # ValueError: there are no weights
                    raise ExecutionError(f"The logits have no gradient: {str(error).splitlines()[0]}") from error
                yield {
                    name: torch.zeros_like(weight) if gradient is None else gradient
                    for (name, weight), gradient in zip(self._weights.items(), found, strict=True)
                }
