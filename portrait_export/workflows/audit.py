"""Audit how a package stores its weights.

The package may be anybody's. The audit can also say whether the weights are still what they should be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CaptureError, DataError, UsageError, nearest
from ..inputs.saved import SavedModel
from ..inputs.sources import ModelSource, load_model
from ..preprocessing import PortraitSpec
from ..utils.plain import plain_data
from ..utils.stages import Observer, Stages

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from ..mil.audit import Audit, Matches, StoredWeight
    from ..mil.program import Program

MIN_ELEMENTS = 2048  # coremltools' passes leave weights of fewer elements alone
MOST = 0.5  # of the package's values: where fewer resemble the reference's, it is another network


@dataclass(frozen=True)
class AuditRequest:
    """The arguments of `audit_package`.

    Attributes:
        package: the .mlpackage.
        against: what its weights should be: the name of a registered model, an ONNX file, or an uncompressed package.
        checkpoint: weights of a registered model instead of the bundled ones.
        onnx: an ONNX file, as `against` is.
        random_weights: compare with the model's random weights.
        stored_as: the types that large weights may be stored in, such as `int4`; the first must occur.
    """

    package: Path
    against: str | None = None
    checkpoint: Path | None = None
    onnx: Path | None = None
    random_weights: bool = False
    stored_as: tuple[str, ...] = ()


@dataclass(frozen=True)
class AuditResult:
    """The weights of a package.

    Attributes:
        package: its path.
        size_bytes: of all its files.
        target: the oldest system that runs it.
        reference: what the weights were compared with; empty if with nothing.
        audit: weight by weight, with all problems.
    """

    package: Path
    size_bytes: int
    target: str
    reference: str
    audit: Audit

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return self.audit.passed

    @property
    def compared(self) -> int:
        """How many weights were compared with an original."""
        return sum(weight.error is not None for weight in self.audit.weights)

    @property
    def uncompared(self) -> tuple[StoredWeight, ...]:
        """The weights of layers that could not be compared with the reference: it has none of their shape left."""
        if not self.reference:
            return ()
        return tuple(w for w in self.audit.weights if w.error is None and w.of_layer)

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        data: dict[str, Any] = plain_data(
            {
                "package": str(self.package),
                "size_bytes": self.size_bytes,
                "target": self.target,
                "reference": self.reference or None,
                "compared": self.compared,
                **self.audit.to_json(),
            }
        )
        return data


def audit_package(request: AuditRequest, observer: Observer) -> AuditResult:
    """Decode every weight of a package, look for faults, and compare them with what they should be.

    Raises:
        PortraitError: something cannot be read, or the package does not have the reference's weights. A fault does not
            raise.
    """
    from ..mil.audit import audit_program
    from ..mil.folder import package_size_bytes
    from ..mil.program import read_program

    requested, allowed = _requested(request)
    stages = Stages(observer)
    with stages.stage("load") as stage:
        program = read_program(request.package)
        saved = SavedModel.of_program(request.package, program)
        reference, candidates = _reference(request, program, saved)
        stage.summary = f"{request.package.name}" + (f" and {reference}" if reference else "")
    with stages.stage("audit") as stage:
        audit = audit_program(
            program,
            requested=requested,
            allowed=allowed,
            min_elements=MIN_ELEMENTS,
            left=_left(program),
            originals=_originals(program, reference, candidates) if reference else None,
            compensated=saved.rounding == "gptq",
        )
        audit = replace(audit, problems=(*audit.problems, *_broken_promise(saved.recipe, audit)))
        stage.summary = f"{len(audit.weights)} weights decoded"
    path = request.package
    size_bytes = package_size_bytes(path) if path.is_dir() else path.stat().st_size
    return AuditResult(path, size_bytes, saved.target, reference, audit)


def _left(program: Program) -> dict[str, str]:
    """Why large weights need not be compressed, by name."""
    from ..mil.audit import list_weights
    from ..quantize.encode import LEFT_LIGHT, light_edges
    from ..quantize.layers import find_weights

    found = find_weights(program.main, min_elements=MIN_ELEMENTS)
    total = sum(weight.elements for weight in list_weights(program).weights if weight.elements > MIN_ELEMENTS)
    return {**found.left, **dict.fromkeys(light_edges(found.layers.values(), total), LEFT_LIGHT)}


def _requested(request: AuditRequest) -> tuple[str | None, tuple[str, ...]]:
    """The stored type that must occur, and those that may."""
    from ..mil.weights import BITS

    unknown = [dtype for dtype in request.stored_as if dtype not in BITS]
    if unknown:
        raise UsageError(f"There is no stored type {unknown[0]!r}.", hint=nearest(unknown[0], tuple(BITS), what="type"))
    return (request.stored_as[0], request.stored_as[1:]) if request.stored_as else (None, ())


def _broken_promise(name: str, audit: Audit) -> list[str]:
    """What the recipe that the package names should have stored, and did not."""
    from ..quantize.recipes import RECIPES

    recipe = RECIPES.get(name)
    if recipe is None or recipe.form in ("none", "mixed"):  # which name no type of their own
        return []
    if any(weight.dtype == recipe.dtype for weight in audit.applied):
        return []
    return [f"no weight is stored as {recipe.dtype}, although the package names the recipe {recipe.name}"]


# ---- what the weights should be -------------------------------------------------------------------------------------


def _reference(request: AuditRequest, program: Program, saved: SavedModel) -> tuple[str, dict[str, np.ndarray]]:
    """The name of what the package is compared with, and its weights by title; empty if it is compared with nothing."""
    onnx = request.onnx
    if onnx is not None and request.against is not None:
        raise UsageError("`against=` and `onnx=` cannot be used together.")
    if request.against is not None and request.against.lower().endswith(".onnx"):
        onnx = Path(request.against)
    if onnx is not None:
        _require_no_model(request, "an ONNX file")
        return _onnx_file(onnx, saved.spec)
    if request.against is not None and _is_package(Path(request.against)):
        _require_no_model(request, "a package")
        return _package(Path(request.against))
    if request.against is None and request.checkpoint is None:
        _require_no_model(request, "nothing")
        return "", {}
    return _model(request, program, saved.spec)


def _require_no_model(request: AuditRequest, what: str) -> None:
    if request.checkpoint is not None or request.random_weights:
        name = "checkpoint=" if request.checkpoint is not None else "random_weights=True"
        raise UsageError(f"`{name}` is about a registered model; the package is compared with {what}.")


def _is_package(path: Path) -> bool:
    return path.suffix in (".mlpackage", ".mlmodel", ".mlmodelc") or (path / "Manifest.json").exists()


def _package(path: Path) -> tuple[str, dict[str, np.ndarray]]:
    from ..mil.audit import decoded_weights
    from ..mil.program import read_program

    return path.name, {weight.name: weight.values for weight in decoded_weights(read_program(path))}


def _onnx_file(file: Path, spec: PortraitSpec | None) -> tuple[str, dict[str, np.ndarray]]:
    from ..capture.onnx.load import load_onnx

    return file.name, _onnx_weights(load_onnx(file), spec)


def _model(request: AuditRequest, program: Program, spec: PortraitSpec | None) -> tuple[str, dict[str, np.ndarray]]:
    """The weights of a registered model at the package's size, as they are exported."""
    from ..models.registry import list_models

    name = request.against
    if name is not None and name not in list_models():
        raise UsageError(
            f"`against={name}` is not a registered model, an .onnx file or an .mlpackage.",
            hint=nearest(name, list_models(), what="model"),
        )
    size = None if spec is None else (spec.height, spec.width)
    model = load_model(ModelSource(name, request.checkpoint, request.random_weights, size))
    return model.name, _onnx_weights(model.to_onnx(), spec)


def _onnx_weights(model: onnx.ModelProto, spec: PortraitSpec | None) -> dict[str, np.ndarray]:
    """A model's own weights, and those that arise where norms and the preprocessing are folded into them."""
    from ..capture.onnx.parameters import float_tensors, recurrent_parts
    from ..capture.simplify import simplify

    own = float_tensors(model)
    try:
        simplified = float_tensors(simplify(model)[0])
    except CaptureError:  # such as a model of variable size: its own weights remain
        simplified = {}
    again = {name: array for name, array in own.items() if not _same(array, simplified.get(name))}
    weights = simplified | {f"{name} (not simplified)" if name in simplified else name: again[name] for name in again}
    return weights | _over_std(weights, spec) | recurrent_parts(model, own)


def _same(array: np.ndarray, other: np.ndarray | None) -> bool:
    import numpy as np

    return other is not None and np.array_equal(array, other)


def _over_std(weights: Mapping[str, np.ndarray], spec: PortraitSpec | None) -> dict[str, np.ndarray]:
    """Convolutions of three channels as a package has them that divides the photo, or another picture, by its std.

    W' = W / std, per input channel; the mean is a bias of the package's input.
    """
    import numpy as np

    pictures = () if spec is None else spec.all_pictures
    stds = {picture.std: picture.name for picture in reversed(pictures) if picture.channels == 3}
    return {
        f"{name} / std" + (f" of {picture}" if picture != "image" else ""): (
            weight / np.asarray(std, np.float64).reshape(1, 3, 1, 1)
        ).astype(np.float32)
        for std, picture in stds.items()
        for name, weight in weights.items()
        if weight.ndim == 4 and weight.shape[1] == 3
    }


def _originals(program: Program, reference: str, candidates: Mapping[str, np.ndarray]) -> Matches:
    """Pair the package's weights with the reference's. Raises DataError unless most of them resemble one."""
    from ..mil.audit import decoded_weights, match

    weights: Sequence[Any] = decoded_weights(program)
    found = match(weights, candidates)
    total = sum(weight.values.size for weight in weights if not weight.small)
    if total and found.elements < MOST * total:
        raise DataError(
            f"{100 * found.elements / total:.0f} % of the package's {total:,} weights resemble one of {reference}.",
            hint="compare the package with the network that it was made from.",
        )
    return found
