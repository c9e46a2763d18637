"""Hold one run of a program in memory, and compute what a changed value changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from .executor import Plan, execute, slots_read


class HeldRun:
    """All values of one run.

    Args:
        plan: of a function.
        inputs: a carrier tensor for each of its inputs.
    """

    def __init__(self, plan: Plan, inputs: Mapping[str, Any]):
        self._plan = plan
        self._slots = {r.name: r.slot for step in plan.block.instructions for r in step.results}
        self._values = list(plan.slots)
        for name, _, slot in plan.inputs:
            self._values[slot] = inputs[name]
        with torch.inference_mode():
            plan.run(inputs, self._keep)

    def _keep(self, name: str, value: Any) -> None:
        if name in self._slots:
            self._values[self._slots[name]] = value

    @property
    def names(self) -> tuple[str, ...]:
        """The values of the function's own block, in order."""
        return tuple(self._slots)

    def value(self, name: str) -> Any:
        """A value of the run."""
        return self._values[self._slots[name]]

    def after(self, name: str, value: Any, wanted: str) -> Any:
        """Return the value `wanted` of a run in which the value `name` is another; nothing else is computed."""
        values = list(self._values)
        values[self._slots[name]] = value
        changed = {self._slots[name]}
        with torch.inference_mode():
            for step in self._plan.block.instructions:
                if changed & slots_read(step):
                    execute(step, values, None, self._plan.function)
                    changed |= {result.slot for result in step.results}
                if self._slots[wanted] in changed and any(r.name == wanted for r in step.results):
                    break
        return values[self._slots[wanted]]
