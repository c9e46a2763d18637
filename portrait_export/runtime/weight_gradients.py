"""Differentiate what a program computes by its weights: how much a change of each weight moves the masks.

The program runs in float32 with torch's autograd. For a change ΔW of a weight, to first order,

    E_r ⟨∂s/∂W, ΔW⟩² = Σ (change of P(person))²,    s = Σ r · P(person),    r = ±1 at random for each pixel,

so a few random sums s for each photograph estimate what any ΔW does to the mask.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import ExecutionError
from ..mil.program import read_program
from .compiler import compile_function
from .environment import Environment
from .executor import StopExecution
from .model import SEED, CoreMLProgram


class MaskGradients:
    """Gradients of random sums of P(person) by the weights of a saved program."""

    def __init__(self, package: Path, weights: Sequence[str], logits: str):
        """
        Args:
            package: uncompressed.
            weights: names of constants.
            logits: name of the value whose sigmoid is P(person).
        """
        program = read_program(package)
        function = program.functions[program.default_function]
        environment = Environment("cpu", "fp32", torch.Generator().manual_seed(SEED))
        with torch.inference_mode(False):
            plan = compile_function(function, environment)
            self._weights = {name: plan.constants[name]().requires_grad_() for name in weights}
        self._program = CoreMLProgram(program, function, plan, environment)
        self._logits = logits
        self._signs = torch.Generator().manual_seed(SEED)

    def of(self, inputs: Mapping[str, Any], sums: int) -> Iterator[dict[str, Tensor]]:
        """The gradients of `sums` random sums on one photograph, by weight; zero where the mask does not depend on it.

        Args:
            inputs: of `CoreMLProgram.predict`.
        Raises:
            ExecutionError: the program does not compute the logits, or they have no gradient.
        """
        with torch.inference_mode(False), torch.enable_grad():
            probability = torch.sigmoid(self._run(inputs))
            for last in [False] * (sums - 1) + [True]:
                signs = torch.randint(0, 2, probability.shape, generator=self._signs) * 2.0 - 1.0
                try:
                    found = torch.autograd.grad(
                        (probability * signs).sum(),
                        list(self._weights.values()),
                        retain_graph=not last,
                        allow_unused=True,
                    )
                except RuntimeError as error:
                    raise ExecutionError(f"The logits have no gradient: {str(error).splitlines()[0]}") from error
                yield {
                    name: torch.zeros_like(weight) if gradient is None else gradient
                    for (name, weight), gradient in zip(self._weights.items(), found, strict=True)
                }

    def _run(self, inputs: Mapping[str, Any]) -> Tensor:
        found: list[Tensor] = []

        def keep(name: str, value: Any) -> None:
            if name == self._logits:
                found.append(value)
                raise StopExecution

        with suppress(StopExecution):
            self._program.run_plan(inputs, keep)
        if not found:
            raise ExecutionError(f"The program computes no value {self._logits!r}.")
        return found[0]
