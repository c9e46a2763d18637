"""Describe how a quantization stores weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..artifacts import CompressionPass


@dataclass(frozen=True)
class Recipe:
    """How weights are stored.

    Attributes:
        name: the value of `--quantize`.
        summary: one line for `--help` and the report.
        passes: makes the recipe's compression passes; None leaves the weights as they are.
        dtype: the stored integer type of a compressed weight.
        granularity: `per_channel` (one scale for each output channel) or `per_tensor`.
        min_elements: smaller weights are not compressed: their scales would cost more than they save.
        minimum_target: the first deployment target that supports the recipe's operators.
    """

    name: str
    summary: str
    passes: Callable[[Recipe], tuple[CompressionPass, ...]] | None = None
    dtype: str | None = None
    granularity: str = "per_channel"
    min_elements: int = 2048
    minimum_target: str = "iOS16"
