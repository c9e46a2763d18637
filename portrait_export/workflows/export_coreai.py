"""Export a model to a Core AI asset."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..artifacts import PRECISIONS
from ..errors import UsageError, nearest
from ..inputs.sources import LoadedModel
from ..utils.files import (
    held_alone,
    refuse_existing,
    refuse_replacing,
    remove_stale_partials,
    write_json,
    written_whole,
)
from ..utils.stages import Observer, Stages
from . import steps
from .checks import check_request
from .parity import compare_masks
from .records import EXPORT_FILE, asset_metadata, asset_record, begin_record, facts_of, is_unfinished
from .requests import CoreAIExport, CoreAIRequest, CoreMLRequest, kinds_of

if TYPE_CHECKING:
    import onnx

    from ..capture.onnx.stored import StoredModel
    from ..mil.audit import Audit
    from ..mil.encoded import EncodedWeight
    from ..mil.package import SavedPackage
    from ..quantize.recipe import Recipe

_PALETTES = ("palette8", "palette6", "palette4", "palette3", "palette2", "palette4-vector")
RECIPES = ("none", "int8", "int8-block32", "int4-block32", *_PALETTES)  # what Core AI stores and the audit finds again
_TARGET = "iOS18"  # of the package whose weights an asset shares: the first with every operator
NO_FORM = {
    "w8a8": "8-bit activations are not written to assets",
    "mixed": "recipes for each weight are chosen by many packages under our runtime, and Apple's is too slow for that",
}


def export_coreai(request: CoreAIRequest, observer: Observer) -> CoreAIExport:
    """Export a model to an asset, audit its weights, run it with Apple's runtime, and gate on its masks.

    Raises:
        PortraitError: Core AI is not installed, or a stage failed. A failed gate does not raise: see
            `CoreAIExport.passed`.
    """
    from ..coreai.installed import require_installed
    from ..quantize.recipes import get_recipe

    require_installed()
    if request.recipe not in RECIPES:
        reason = NO_FORM.get(request.recipe)
        raise UsageError(
            f"A Core AI asset cannot be made with recipe {request.recipe!r}" + (f": {reason}." if reason else "."),
            hint=nearest(request.recipe, RECIPES, what="recipe"),
        )
    if request.precision not in PRECISIONS:
        raise UsageError(
            f"`precision={request.precision}` is not one of {', '.join(PRECISIONS)}.",
            hint=nearest(request.precision, PRECISIONS, what="precision"),
        )
    recipe = get_recipe(request.recipe)
    check_request(request)
    stages = Stages(observer)
    (model,) = steps.load(stages, request.source, output=request.output, kinds=kinds_of(request.parity))
    _require_one_photograph(model)
    name = request.name or model.name
    folder = request.out or Path("build") / f"{name}-{recipe.name}-coreai"
    request = replace(request, name=name, force=request.force or is_unfinished(folder, name))
    hint = "pass `force=True` to replace it, or another `name=` or `out=` to keep both."
    refuse_replacing([folder / f"{name}.onnx"], request.source.files)
    refuse_existing(folder / f"{name}.aimodel", force=request.force, folder=True, hint=hint)
    refuse_existing(folder / f"{name}.onnx", force=request.force, hint=hint)
    with held_alone(folder):
        remove_stale_partials(folder)
        return _export_into(folder, stages, model, recipe, request)


def _require_one_photograph(model: LoadedModel) -> None:
    """Raise UsageError for a network that takes anything but one photograph in colour."""
    further = [*(picture.name for picture in model.spec.pictures), *(value.name for value in model.carried)]
    if further or model.spec.channels != 3:
        takes = f"also takes {', '.join(further)}" if further else "takes a gray picture"
        raise UsageError(
            f"A Core AI asset takes one photograph in colour; {model.name} {takes}.",
            hint="`portrait-export coreml` makes a Core ML package of it.",
        )


def _export_into(
    folder: Path, stages: Stages, model: LoadedModel, recipe: Recipe, request: CoreAIRequest
) -> CoreAIExport:
    """Run all stages after loading and write the output folder."""
    simplified, _ = steps.simplify(stages, steps.capture(stages, model))
    begin_record(folder, model, recipe, request)
    package, audit = _converted(stages, simplified, model, recipe, request, folder)
    begin_record(folder, model, recipe, request, package)
    with written_whole(folder / f"{request.name}.onnx", force=True) as unfinished:
        simplified.write(unfinished)
    parity = None
    if request.parity is not None:
        facts = facts_of(recipe, request.precision, request.target)
        parity = compare_masks(stages, [model], package.path, facts, request.parity, folder, weights=audit.weights)
    export = CoreAIExport(folder, package, model, recipe, audit, tuple(stages.ended), parity)
    export = replace(export, record=asset_record(export, request))
    write_json(folder / EXPORT_FILE, export.record)
    return export


def _converted(
    stages: Stages,
    simplified: StoredModel,
    model: LoadedModel,
    recipe: Recipe,
    request: CoreAIRequest,
    folder: Path,
) -> tuple[SavedPackage, Audit]:
    """Write the asset and audit its weights."""
    from ..coreai.asset import save_asset
    from ..coreai.audit import audit_asset
    from ..coreai.graph import with_pixels
    from ..coreai.half import in_half
    from ..coreai.shared import with_open_weights

    graph = simplified.whole()
    skipped: dict[str, str] = {}
    encoded: dict[str, EncodedWeight] = {}
    if recipe.compresses:
        encoded, skipped = _of_package(stages, graph, simplified, model, recipe, request, folder)
    with stages.stage("convert") as stage:
        stage.details = [f"not {recipe.dtype}: {name}, {reason}" for name, reason in skipped.items()]
        if request.precision == "fp16":
            graph = in_half(graph)
        graph, opened = with_open_weights(graph, encoded)
        graph = with_pixels(graph, model.spec, kept=model.kept_outputs)
        stage.summary = f"{request.precision} arithmetic, {recipe.dtype or request.precision} weights, 8-bit RGB input"
    with stages.stage("save") as stage:
        path = folder / f"{request.name}.aimodel"
        metadata = asset_metadata(model, recipe, request)
        package = save_asset(graph, path, metadata=metadata, encoded=opened, force=request.force)
        stage.summary = f"{path.name}, {package.size_bytes / 1e6:.2f} MB"
    with stages.stage("audit") as stage:
        audit = audit_asset(path, graph, requested=recipe.dtype, skipped=skipped, encoded=encoded)
        kinds = ", ".join(f"{row['weights']} {dtype}" for dtype, row in audit.by_dtype().items())
        stage.summary = f"{kinds} weights, {'bit for bit as given' if audit.passed else 'NOT as given'}"
    return package, audit


def _of_package(
    stages: Stages,
    graph: onnx.ModelProto,
    simplified: StoredModel,
    model: LoadedModel,
    recipe: Recipe,
    request: CoreAIRequest,
    folder: Path,
) -> tuple[dict[str, EncodedWeight], dict[str, str]]:
    """The stored forms of weights in the Core ML package with the same recipe, which is built in memory."""
    import numpy as np

    from ..coreai.shared import matched

    package = CoreMLRequest(
        request.source, recipe.name, output=request.output, precision=request.precision, target=_TARGET
    )
    lowered = steps.lower(stages, simplified, model, _TARGET)
    built = steps.compiled(stages, lowered, [model], recipe, package, folder)
    assert built.compression is not None
    dtype = np.dtype(np.float16 if request.precision == "fp16" else np.float32)
    return matched(graph, built.compression, built.program.originals, dtype=dtype, min_elements=recipe.min_elements)
