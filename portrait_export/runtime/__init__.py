"""Run saved Core ML packages with torch, without Core ML and without coremltools.

    registry.py   registration of kernels                kernels/<family>.py   the operators, one function each
    compiler.py   a program's function → a plan          executor.py           runs a plan
    model.py      CoreMLProgram: predict and trace       runner.py             the Runner protocol over a package
    images.py     pictures ↔ tensors, as Core ML does    limits.py             how large a value may become
    mlmodel.py    MLModel, coremltools' interface        binding.py           inputs and outputs as its users know them
    coverage.py   which operators are implemented        environment.py        device, rounding, random numbers

A result shows what the saved bytes compute: their graph, weights, preprocessing and the arithmetic of each operator.
It does not show how the Neural Engine orders and rounds its sums, which Apple does not document.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .mlmodel import ComputeUnit, MLModel
    from .model import CoreMLProgram

__all__ = ["ComputeUnit", "MLModel", "load"]


def load(
    path: Path | str, *, arithmetic: str = "as_typed", function: str | None = None, device: str = "cpu"
) -> CoreMLProgram:
    """Load a saved ML Program.

    Args:
        path: a .mlpackage folder (or a bare .mlmodel file that holds an ML Program).
        arithmetic: `as_typed` rounds each value to its declared type; `fp32` computes in float32 with the stored
            weights; `fp16` rounds every operator's result to half precision, whatever its declared type.
        function: a function of a multi-function package; None is its default function.
        device: a torch device such as `cpu`, `cuda` or `mps`.
    Raises:
        PackageError: if the package cannot be read.
        ExecutionError: if operators have no kernel (the error lists them all), or if the arithmetic mode, function or
            device does not exist.
    """
    from .model import CoreMLProgram

    return CoreMLProgram.load(path, arithmetic=arithmetic, function=function, device=device)


def __getattr__(name: str) -> Any:
    """Import MLModel and ComputeUnit, and with them torch, when they are first used."""
    if name in ("ComputeUnit", "MLModel"):
        from . import mlmodel

        return getattr(mlmodel, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
