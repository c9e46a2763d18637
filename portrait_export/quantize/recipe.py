"""Describe how a quantization stores weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
        dtype: the stored type of a compressed weight; None for `none`.
        min_elements: smaller weights are not compressed: their scales would cost more than they save.
        minimum_target: the first deployment target that supports the recipe's operators.
        rounding: of weights by default, a name in `artifacts.ROUNDINGS`: `gptq` compensates errors by measurements on
            photographs; `nearest` needs none.
        activations: how ranges of activations are chosen by default, a name in `activations.METHODS`; empty if
            activations keep the compute precision.
    """

    name: str
    summary: str
    form: Form = "none"
    bits: int = 16
    block: int = 0
    vector: int = 1
    dtype: str | None = None
    min_elements: int = 2048
    minimum_target: str = "iOS16"
    rounding: str = "gptq"
    activations: str = ""

    @property
    def compresses(self) -> bool:
        """Whether weights are stored in another form than the compute precision's."""
        return self.form != "none"

    @property
    def few_bits(self) -> bool:
        """Whether weights lose enough that it pays to improve what is stored."""
        return self.bits < 8

    def rounded_by(self, chosen: str | None = None) -> str:
        """How weights are rounded: as is chosen, else by default; empty if none is compressed."""
        return (chosen or self.rounding) if self.compresses else ""

    def fitted(self, rounding: str = "") -> bool:
        """Whether the package depends on photographs, on which it must not be judged then.

        Args:
            rounding: of the package's weights, if it is known.
        """
        measured = self.compresses and "gptq" in (self.rounding, rounding)
        return measured or bool(self.activations)
