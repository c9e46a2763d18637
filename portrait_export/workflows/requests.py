"""What a pipeline is asked for, and what it gives back: frozen values between the command line and the walk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..artifacts import DEFAULT_OPSET
from ..inputs.sources import LoadedModel, ModelSource
from ..utils.stages import Stage

if TYPE_CHECKING:
    from ..mil.audit import Audit
    from ..mil.package import SavedPackage
    from ..quantize.recipe import Recipe
    from ..verify.parity import ParityReport


@dataclass(frozen=True)
class ParityRequest:
    """What to compare on, and how strictly.

    Attributes:
        data: a folder of photographs; None takes the calibration set that comes along.
        min_iou: gate on this mean mask IoU instead of the recipe's own.
        runtime: `portrait` (our own), or `coreml` (Core ML itself, macOS only).
        arithmetic: of our runtime: `as_typed`, `fp16` or `fp32`.
    """

    data: Path | None = None
    min_iou: float | None = None
    runtime: str = "portrait"
    arithmetic: str = "as_typed"


@dataclass(frozen=True)
class OnnxRequest:
    """What `export_onnx` is asked for. `out` is a file; None writes build/MODEL/MODEL.onnx."""

    source: ModelSource
    out: Path | None = None
    opset: int = DEFAULT_OPSET
    force: bool = False


@dataclass(frozen=True)
class OnnxExport:
    """An ONNX file on disk and how it came to be."""

    path: Path
    model: LoadedModel
    stages: tuple[Stage, ...]
    size_bytes: int


@dataclass(frozen=True)
class CoreMLRequest:
    """What `export_coreml` is asked for.

    Attributes:
        source: which network with which weights.
        sizes: (height, width) of every input that the package is to take, the default first; empty: the source's own.
        recipe: how weights are stored, a name of `quantize.recipes`.
        output: `mask`, `multiarray` or `logits`.
        target: the oldest system that must run it.
        precision: `fp16` or `fp32`.
        out: output folder; None is build/MODEL-RECIPE.
        parity: what to compare on; None leaves the comparison out.
        force: replace a package that exists.
    """

    source: ModelSource
    recipe: str = "none"
    output: str = "mask"
    target: str = "iOS17"
    precision: str = "fp16"
    out: Path | None = None
    parity: ParityRequest | None = ParityRequest()
    force: bool = False
    sizes: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class CoreMLExport:
    """A package on disk and everything known of it.

    Attributes:
        folder: where all artifacts are.
        package: path, hash and size.
        model: the network it was made from, at the package's default size.
        recipe: how its weights are stored.
        audit: what its weights really are.
        stages: what was done, with timings.
        parity: None where the comparison was left out.
        sizes: (height, width) of every input that the package takes, the default first.
        record: all of it as plain values: the content of export.json.
    """

    folder: Path
    package: SavedPackage
    model: LoadedModel
    recipe: Recipe
    target: str
    audit: Audit
    stages: tuple[Stage, ...]
    parity: ParityReport | None
    sizes: tuple[tuple[int, int], ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether the audit and every gate passed."""
        return self.audit.passed and (self.parity is None or self.parity.passed)
