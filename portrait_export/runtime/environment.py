"""Hold the settings that a program's kernels share: device, rounding, random numbers."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .dtypes import FLOATS


@dataclass(frozen=True)
class Environment:
    """The settings that a program's kernels share.

    Attributes:
        device: torch device name.
        arithmetic: one of `artifacts.ARITHMETICS`.
        generator: random numbers for operators without a seed; seeded when the program is loaded.
    """

    device: str
    arithmetic: str
    generator: torch.Generator

    def rounds(self, dtype: str) -> bool:
        """Whether values of this declared type are rounded to half."""
        if self.arithmetic == "fp32":
            return False
        return dtype in FLOATS if self.arithmetic == "fp16" else dtype == "fp16"
