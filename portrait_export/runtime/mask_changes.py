"""Measure how much a change of a single weight of a program changes the masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .gradients import DifferentiableProgram


class MaskChanges:
    """Runs a saved program in float32 with one weight changed at a time; `weight_gradients` estimates the same."""

    def __init__(self, package: Path, weights: Sequence[str], logits: str):
        """
        Args:
            package: uncompressed.
            weights: names of constants that will be changed.
            logits: name of the value whose sigmoid is P(person).
        """
        self._program = DifferentiableProgram(package)
        self._logits = logits
        self._weights = {name: weight.detach() for name, weight in self._program.constants(weights).items()}

    def of(self, inputs: Mapping[str, Any], changes: Mapping[str, Tensor]) -> dict[str, float]:
        """Σ (change of P(person))² over the pixels of one photograph, by weight.

        A weight that no operation reads as a tensor is left out.

        Args:
            inputs: of `CoreMLProgram.predict`.
            changes: what is added to each weight, in any shape.
        """
        with torch.no_grad():
            whole = torch.sigmoid(self._program.run(inputs, self._logits))
            found = {}
            for name, change in changes.items():
                if name in self._weights:
                    weight = self._weights[name]
                    changed = {name: weight + change.reshape(weight.shape)}
                    moved = torch.sigmoid(self._program.run(inputs, self._logits, changed)) - whole
                    found[name] = float(moved.double().square().sum())
        return found
