"""Describe how a quantization stores weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ..artifacts import CompressionPass

Form = Literal["none", "channels", "blocks", "palette", "mixed"]


@dataclass(frozen=True)
class Recipe:
    """How weights are stored.

    Attributes:
        name: the value of `--quantize`.
        summary: one line for `--help` and the report.
        form: `channels` (integers, one scale per output channel), `blocks` (one scale per `block` inputs of an output
            channel), `palette` (indices into one table per weight, with a scale per output channel where it pays),
            `mixed` (a form for each weight), or `none`.
        bits: per element; 0 for `mixed`.
        block: inputs that share a scale, for `blocks`.
        vector: output channels that share an index, for `palette`.
        passes: makes coremltools' compression passes for this recipe; if None, `quantize.encode` computes the form.
        dtype: the stored type of a compressed weight; None for `none`.
        granularity: of `passes`: `per_channel` (one scale for each output channel) or `per_tensor`.
        min_elements: smaller weights are not compressed: their scales would cost more than they save.
        minimum_target: the first deployment target that supports the recipe's operators.
        activations: how ranges of activations are chosen by default, a name in `activations.METHODS`; empty if
            activations keep the compute precision.
    """

    name: str
    summary: str
    form: Form = "none"
    bits: int = 16
    block: int = 0
    vector: int = 1
    passes: Callable[[Recipe], tuple[CompressionPass, ...]] | None = None
    dtype: str | None = None
    granularity: str = "per_channel"
    min_elements: int = 2048
    minimum_target: str = "iOS16"
    activations: str = ""

    @property
    def computed(self) -> bool:
        """Whether `quantize.encode` computes the stored integers, instead of a pass of coremltools."""
        return self.form != "none" and self.passes is None

    @property
    def rounding(self) -> str:
        """The default rounding: `gptq`, which compensates errors, below 8 bits."""
        return "gptq" if self.computed and self.bits < 8 else "nearest"

    @property
    def fitted(self) -> bool:
        """Whether the package depends on photographs, on which it must not be judged then."""
        return self.rounding == "gptq" or bool(self.activations)
