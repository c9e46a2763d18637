"""A saved .mlpackage in; what it computes out. Runs wherever torch runs, without Core ML and without coremltools.

    registry.py   what a kernel is, and which there are      kernels/<family>.py   the operators, one function each
    compiler.py   a program's function → a plan              executor.py           a plan, run often
    model.py      CoreMLProgram: predict and trace           runner.py             the Runner protocol over a package
    images.py     pictures ↔ tensors as Core ML does it      limits.py             how large a value may become
    coverage.py   operator × version × implemented           environment.py        device, rounding, random numbers

What it proves and what not: the graph, the weights, the preprocessing and the arithmetic of each operator are those
of the saved bytes. How the Neural Engine itself orders and rounds its sums is not known outside, and not claimed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .model import CoreMLProgram
    from .runner import PackageRunner

__all__ = ["load", "open_runner"]


def load(
    path: Path | str, *, arithmetic: str = "as_typed", function: str | None = None, device: str = "cpu"
) -> CoreMLProgram:
    """Open a saved ML Program and make it ready to run.

    Args:
        path: a .mlpackage folder (or a bare .mlmodel file that holds an ML Program).
        arithmetic: `as_typed` rounds each value to the type that the program declares; `fp32` computes in float32
            with the weights as stored; `fp16` rounds every operator's result to half, whatever is declared.
        function: which function of a multi-function package; its default one if None.
        device: a torch device such as `cpu`, `cuda` or `mps`.
    Raises:
        PackageError: if the package cannot be read.
        ExecutionError: if it holds operators without kernel (all of them are named), or the choice does not exist.
    """
    from .model import CoreMLProgram

    return CoreMLProgram.load(path, arithmetic=arithmetic, function=function, device=device)


def open_runner(path: Path | str, *, arithmetic: str = "as_typed", device: str = "cpu") -> PackageRunner:
    """A saved segmentation package as a Runner: frames in, predictions out. See `runner.PackageRunner`."""
    from .runner import PackageRunner

    return PackageRunner(path, arithmetic=arithmetic, device=device)
