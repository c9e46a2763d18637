"""Define the requests and results of the export and parity workflows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..inputs.sources import LoadedModel, ModelSource
from ..utils.stages import Stage

if TYPE_CHECKING:
    from ..mil.audit import Audit
    from ..mil.mixed import MixedCost
    from ..mil.package import SavedPackage
    from ..quantize.recipe import Recipe
    from ..verify.gates import Gate
    from ..verify.parity import ParityReport


@dataclass(frozen=True)
class ParityRequest:
    """The photos of a comparison and its bars.

    Attributes:
        data: a folder of photos; None uses the bundled calibration set.
        kinds: measure and compare on these kinds of bundled photographs alone (`calibration.dataset.KINDS`); empty:
            on those for which the model's weights are good enough.
        min_iou: gate on this mean mask IoU (0..1) instead of the recipe's.
        max_mb: gate on this size of the package in MB instead of the recipe's.
        runtime: `portrait` (our runtime) or `coreml` (Core ML itself, macOS only).
        arithmetic: of our runtime: `as_typed`, `fp16` or `fp32`.
        from_device: a parity bundle whose masks are compared instead of the runtime's. `data` then only adds drawn
            masks to frames of the same name.
        baseline: an earlier parity.json; gate on how much the masks have got worse since.
        tolerance: by how much the mean mask IoU may fall below the baseline's; None: by `BASELINE_TOLERANCE`.
    """

    data: Path | None = None
    kinds: tuple[str, ...] = ()
    min_iou: float | None = None
    max_mb: float | None = None
    runtime: str = "portrait"
    arithmetic: str = "as_typed"
    from_device: Path | None = None
    baseline: Path | None = None
    tolerance: float | None = None


def comparison(
    *,
    parity: bool,
    data: Path | None = None,
    kinds: tuple[str, ...] = (),
    min_iou: float | None = None,
    max_mb: float | None = None,
) -> ParityRequest | None:
    """Return an export's comparison, or None without one. Arguments as for `ParityRequest`.

    Raises:
        UsageError: `parity` is False, and something was given that only a comparison uses.
    """
    if parity:
        return ParityRequest(data=data, kinds=kinds, min_iou=min_iou, max_mb=max_mb)
    asked = {"data": data, "kinds": kinds, "min_iou": min_iou}
    given = [name for name, value in asked.items() if value not in (None, ())]
    if given:
        raise UsageError(
            f"`{given[0]}=` is for the comparison of masks, which `parity=False` leaves out.",
            hint=f"leave out one of the two: `parity=False` or `{given[0]}=`.",
        )
    return None


def kinds_of(request: ParityRequest | None) -> tuple[str, ...]:
    """The kinds of bundled photographs that were asked for; none without a comparison."""
    return () if request is None else request.kinds


@dataclass(frozen=True)
class OnnxRequest:
    """The arguments of `export_onnx`.

    Attributes:
        source: the network and its weights.
        out: a file; None is build/MODEL/MODEL.onnx.
        opset: of a network that is traced; None is `DEFAULT_OPSET`.
        force: replace an existing file.
    """

    source: ModelSource
    out: Path | None = None
    opset: int | None = None
    force: bool = False


@dataclass(frozen=True)
class OnnxExport:
    """An exported ONNX file.

    Attributes:
        path: the file.
        model: the network in it.
        stages: the finished stages, with timings.
        size_bytes: of the file.
    """

    path: Path
    model: LoadedModel
    stages: tuple[Stage, ...]
    size_bytes: int


@dataclass(frozen=True)
class CoreMLRequest:
    """The arguments of `export_coreml`.

    Attributes:
        source: the network and its weights.
        sizes: (height, width) of every input size of the package, the default first; empty: the source's own size.
        recipe: how weights are stored, a name in `quantize.recipes` or a TOML file of rules.
        rounding: `nearest` or `gptq` (error-compensated); None is the recipe's own.
        activations: how ranges of 8-bit activations are chosen, one of `ACTIVATIONS`; None is the recipe's own.
        asymmetric: whether ranges of activations may have different ends.
        tune: improve tables, scales, biases and norms after rounding, by distillation.
        output: `mask`, `multiarray` or `logits`.
        target: the oldest system that must run it.
        precision: `fp16`, `fp32`, or `auto`: fp16 with the operations in float32 that the gates need.
        out: output folder; None is build/MODEL-RECIPE.
        parity: the comparison of masks; None skips it.
        force: replace an existing package.
        name: what the files are called; None is the network's name.
        author, license: of the weights, for the package's metadata; None is what is known of them.
        keep_fp32: operator types and names of values, as patterns, that stay in float32 in a half-precision package.
        max_mb: the largest package that recipe `mixed` may make, in MB.
        states: keep what a recurrent network carries in Core ML states, from iOS18 on, instead of inputs and outputs.
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
    rounding: str | None = None
    name: str | None = None
    author: str | None = None
    license: str | None = None
    activations: str | None = None
    asymmetric: bool = False
    tune: bool = False
    keep_fp32: tuple[str, ...] = ()
    max_mb: float | None = None
    states: bool = False

    @property
    def settings(self) -> Path | None:
        """The file of rules that `recipe` names; None if it names a recipe."""
        return Path(self.recipe) if self.recipe.endswith(".toml") else None

    @property
    def min_iou(self) -> float | None:
        """The user's bar for the mean mask IoU."""
        return None if self.parity is None else self.parity.min_iou


@dataclass(frozen=True)
class CoreAIRequest:
    """The arguments of `export_coreai`.

    Attributes:
        source: the network and its weights.
        recipe: how weights are stored, one of `export_coreai.RECIPES`.
        output: `mask`, `multiarray` or `logits`.
        precision: `fp16` or `fp32`.
        out: output folder; None is build/MODEL-RECIPE-coreai.
        parity: the comparison of masks; None skips it.
        force: replace an existing asset.
        name: what the files are called; None is the network's name.
        author, license: of the weights, for the asset's metadata; None is what is known of them.
    """

    source: ModelSource
    recipe: str = "none"
    output: str = "mask"
    precision: str = "fp16"
    out: Path | None = None
    parity: ParityRequest | None = ParityRequest()
    force: bool = False
    name: str | None = None
    author: str | None = None
    license: str | None = None

    @property
    def target(self) -> str:
        """The oldest system that runs an asset."""
        return "iOS27"


@dataclass(frozen=True)
class CoreAIExport:
    """An exported Core AI asset, with everything that was checked about it.

    Attributes:
        folder: the output folder.
        package: path, SHA-256 and size in bytes of the asset.
        model: the network in it.
        recipe: how its weights are stored.
        audit: the weights as they are stored.
        stages: the finished stages, with timings.
        parity: the comparison of masks; None if it was skipped.
        record: all of it as plain values: the content of export.json.
    """

    folder: Path
    package: SavedPackage
    model: LoadedModel
    recipe: Recipe
    audit: Audit
    stages: tuple[Stage, ...]
    parity: ParityReport | None
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether the audit and every gate passed."""
        return self.audit.passed and (self.parity is None or self.parity.passed)


@dataclass(frozen=True)
class CoreMLExport:
    """An exported package, with everything that was checked about it.

    Attributes:
        folder: the output folder.
        package: path, SHA-256 and size in bytes.
        model: the network in it, at the package's default size.
        recipe: how its weights are stored.
        target: the oldest system that runs it, such as `iOS17`.
        audit: the weights as they are stored.
        stages: the finished stages, with timings.
        parity: the comparison of masks; None if it was skipped.
        sizes: (height, width) of every input size of the package, the default first.
        record: all of it as plain values: the content of export.json.
        mixed: the operations in float32 and what they cost; None unless some were kept.
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
    mixed: MixedCost | None = None

    @property
    def passed(self) -> bool:
        """Whether the audit and every gate passed."""
        return self.audit.passed and (self.parity is None or self.parity.passed)

    @property
    def gates(self) -> tuple[Gate, ...]:
        """Every gate with its value and bar; empty if the comparison was skipped."""
        return () if self.parity is None else self.parity.gates

    @property
    def report(self) -> Path | None:
        """The HTML report; None if the comparison was skipped."""
        return None if self.parity is None else self.folder / "report.html"

    @property
    def onnx(self) -> Path:
        """The simplified ONNX file next to the package."""
        return self.package.path.with_suffix(".onnx")
