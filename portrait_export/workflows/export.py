"""Export a model to Core ML or ONNX.

The stages run in order, and the output files are written.

`steps.py` has the stages up to the package, `parity.py` the comparison of its masks with the model's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..artifacts import AUTO, DEFAULT_OPSET
from ..errors import UsageError
from ..inputs.sizes import require_sizes, size_of
from ..inputs.sources import LoadedModel
from ..utils.files import (
    held_alone,
    refuse_existing,
    refuse_replacing,
    remove_stale_partials,
    write_json,
    written_whole,
)
from ..utils.stages import Observer, SilentObserver, Stages
from . import recurrent, steps
from .checks import check_request
from .parity import compare_masks
from .precision import chosen, require_parity
from .records import EXPORT_FILE, begin_record, export_record, facts_of, is_unfinished
from .requests import CoreMLExport, CoreMLRequest, OnnxExport, OnnxRequest, kinds_of

if TYPE_CHECKING:
    from ..artifacts import Lowered
    from ..capture.onnx.stored import StoredModel
    from ..mil.audit import Audit
    from ..mil.mixed import MixedCost
    from ..mil.package import SavedPackage
    from ..quantize.recipe import Recipe


def export_coreml(request: CoreMLRequest, observer: Observer) -> CoreMLExport:
    """Export a model to a package, audit its weights, run it, and gate on its masks.

    Raises:
        PortraitError: a stage failed. A failed gate does not raise: see `CoreMLExport.passed`.
    """
    from ..quantize.apply import check_activations, check_budget, check_recipe
    from ..quantize.recipes import get_recipe
    from ..quantize.settings import read_settings

    recipe = get_recipe("mixed" if request.settings else request.recipe)
    check_request(request)  # before minutes of work, not after
    recurrent.check_states(request)
    check_recipe(recipe, target=request.target, rounding=request.rounding, tune=request.tune)
    check_activations(recipe, request.activations, asymmetric=request.asymmetric, precision=request.precision)
    check_budget(
        recipe,
        settings=request.settings,
        max_mb=request.max_mb,
        min_iou=request.min_iou,
        parity=request.parity is not None,
    )
    if request.settings is not None:
        read_settings(request.settings, target=request.target)
    if request.keep_fp32 and request.precision == "fp32":
        raise UsageError("`keep_fp32=` cannot be used with `precision=fp32`, which keeps every operation in float32.")
    require_sizes(request.sizes, size=request.source.size)
    if request.precision == AUTO:
        require_parity(request)
    stages = Stages(observer)
    kinds = kinds_of(request.parity)
    models = steps.load(stages, request.source, request.sizes, output=request.output, kinds=kinds)
    _require_packageable(models, request)
    name = request.name or models[0].name
    folder = request.out or Path("build") / f"{name}-{recipe.name}"
    request = replace(request, name=name, force=request.force or is_unfinished(folder, name))
    _require_free_places(folder, name, request)
    with held_alone(folder):
        remove_stale_partials(folder)
        return _export_into(folder, stages, models, recipe, request)


def _require_free_places(folder: Path, name: str, request: CoreMLRequest) -> None:
    """Raise UsageError if the package or its ONNX file would replace existing files or the source."""
    onnx_file = folder / f"{name}.onnx"
    refuse_replacing([onnx_file], request.source.files)
    hint = "pass `force=True` to replace it, or another `name=` or `out=` to keep both."
    refuse_existing(folder / f"{name}.mlpackage", force=request.force, folder=True, hint=hint)
    refuse_existing(onnx_file, force=request.force, hint=hint)


def _export_into(
    folder: Path, stages: Stages, models: Sequence[LoadedModel], recipe: Recipe, request: CoreMLRequest
) -> CoreMLExport:
    """Run all stages after loading and write the output folder."""
    model = models[0]
    simplified = simplified_at_each_size(stages, models)
    request, package, audit, mixed = _packaged(folder, stages, simplified, models, recipe, request)
    with written_whole(folder / f"{request.name}.onnx", force=True) as unfinished:
        simplified[0].write(unfinished)
    parity = None
    if request.parity is not None:
        facts = facts_of(recipe, request.precision, request.target, request.rounding)
        parity = compare_masks(stages, models, package.path, facts, request.parity, folder, weights=audit.weights)
    sizes = tuple(map(size_of, models))
    export = CoreMLExport(
        folder, package, model, recipe, request.target, audit, tuple(stages.ended), parity, sizes, mixed=mixed
    )
    export = replace(export, record=export_record(export, request))
    write_json(folder / EXPORT_FILE, export.record)
    return export


def _packaged(
    folder: Path,
    stages: Stages,
    simplified: Sequence[StoredModel],
    models: Sequence[LoadedModel],
    recipe: Recipe,
    request: CoreMLRequest,
) -> tuple[CoreMLRequest, SavedPackage, Audit, MixedCost | None]:
    """Write and audit the package; the programs that it is made from are not in memory any more after this."""
    model, path = models[0], folder / f"{request.name}.mlpackage"
    lowered = lowered_at_each_size(stages, simplified, models, request)
    if request.precision == AUTO:
        silent = Stages(SilentObserver())
        lower = partial(lowered_at_each_size, silent, simplified, models, request)
        request = chosen(stages, models, lower, recipe, request)
    built = steps.compiled(stages, lowered, models, recipe, request, folder)
    begin_record(folder, model, recipe, request)
    package = steps.save(stages, built, path, model, request)
    begin_record(folder, model, recipe, request, package)
    return request, package, *steps.audit(stages, built, path, recipe)


def _require_packageable(models: Sequence[LoadedModel], request: CoreMLRequest) -> None:
    """Raise PortraitError early if these networks cannot become such a package."""
    model = models[0]
    recurrent.require_packageable(models, request)
    if len(models) > 1:
        from ..frontend.unify import require_target

        require_target(model.spec.inputs, target=request.target, source=model.name)


def simplified_at_each_size(stages: Stages, models: Sequence[LoadedModel]) -> list[StoredModel]:
    """Return the simplified ONNX models, the default size first."""
    prefixes = steps.size_prefixes(models)
    return steps.simplify_alike(
        stages,
        [steps.capture(stages, model, prefix=prefix) for model, prefix in zip(models, prefixes, strict=True)],
        prefixes,
    )


def lowered_at_each_size(
    stages: Stages, simplified: Sequence[StoredModel], models: Sequence[LoadedModel], request: CoreMLRequest
) -> Lowered:
    """Return one MIL program for all sizes."""
    file = None if request.source.foreign is None else request.source.foreign.onnx
    programs = [
        steps.lower(stages, graph, model, request.target, prefix=prefix, file=file, states=request.states)
        for graph, model, prefix in zip(simplified, models, steps.size_prefixes(models), strict=True)
    ]
    return steps.unify(stages, programs, models)


def export_onnx(request: OnnxRequest, observer: Observer) -> OnnxExport:
    """Trace, check and simplify a model, and write the ONNX file."""
    _require_traced(request)
    if request.out is not None:
        _require_free_place(request.out, request)
    stages = Stages(observer)
    (model,) = steps.load(stages, request.source)
    path = request.out or Path("build") / model.name / f"{model.name}.onnx"
    _require_free_place(path, request)
    captured = steps.capture(stages, model, opset=request.opset or DEFAULT_OPSET)
    simplified, _ = steps.simplify(stages, captured, keep_opset=True)
    with written_whole(path, force=request.force) as unfinished:
        simplified.write(unfinished)
        size = unfinished.stat().st_size
    return OnnxExport(path, model, tuple(stages.ended), size)


def _require_free_place(path: Path, request: OnnxRequest) -> None:
    """Raise UsageError if the ONNX file would replace an existing one or the source."""
    refuse_replacing([path], request.source.files)
    refuse_existing(path, force=request.force)


def _require_traced(request: OnnxRequest) -> None:
    """Raise UsageError for the opset of a network that is not traced."""
    foreign = request.source.foreign
    if request.opset is not None and foreign is not None and foreign.onnx is not None:
        raise UsageError(
            f"`opset={request.opset}` is for networks that are traced; {foreign.onnx.name} keeps its own opset.",
            hint="leave out `opset=`; onnx.version_converter changes the opset of a file.",
        )
