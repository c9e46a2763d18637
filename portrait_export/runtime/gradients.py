"""Run a program with other values for some constants, so that gradients reach them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..errors import ExecutionError
from ..mil.program import read_program
from .compiler import compile_function
from .environment import Environment
from .executor import Hook
from .model import SEED, CoreMLProgram
from .substitute import replaceable, with_constants


class DifferentiableProgram:
    """A saved program in float32 arithmetic, whose constants can be replaced by tensors that need gradients."""

    def __init__(self, path: Path | str):
        self._program = read_program(path)
        self._environment = Environment("cpu", "fp32", torch.Generator().manual_seed(SEED))
        self._plan = compile_function(self._program.main, self._environment)

    def replaceable(self, names: Iterable[str]) -> set[str]:
        """Those of some constants that `run` can replace."""
        return replaceable(self._plan, names)

    def constants(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Copies of those of some constants that `run` can replace, which need gradients."""
        can = self.replaceable(names)
        return {name: self._plan.constants[name]().clone().requires_grad_() for name in names if name in can}

    def run(
        self,
        data: Mapping[str, object],
        name: str,
        constants: Mapping[str, Tensor] | None = None,
        *,
        hook: Hook | None = None,
    ) -> Tensor:
        """Return one computed value.

        Args:
            data: the inputs, as for `CoreMLProgram.predict`.
            constants: values that replace the program's own, by name.
            hook: as for `CoreMLProgram.predict`.
        Raises:
            ExecutionError: the program does not compute it.
        """
        plan = with_constants(self._plan, constants) if constants else self._plan
        program = CoreMLProgram(self._program, self._program.main, plan, self._environment)
        found = program.tensors(data, [name], hook=hook)
        if name not in found:
            raise ExecutionError(f"The program computes no value {name!r}.")
        return found[name]
