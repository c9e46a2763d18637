"""Recipe: what a quantization does to the weights, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """How weights are stored.

    Attributes:
        name: what `--quantize` takes.
        summary: one line for `--help` and the report.
        scheme: the file of this folder that turns the recipe into passes; None keeps the weights as they are.
        dtype: the stored integer type of a compressed weight.
        granularity: `per_channel` (one scale for each output channel) or `per_tensor`.
        min_elements: smaller weights stay as they are: their scales would cost more than they save.
        minimum_target: the first deployment target whose operators can hold it.
    """

    name: str
    summary: str
    scheme: str | None = None
    dtype: str | None = None
    granularity: str = "per_channel"
    min_elements: int = 2048
    minimum_target: str = "iOS16"
