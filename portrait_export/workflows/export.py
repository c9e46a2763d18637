"""The walk, written down once: a model's source in; ONNX, package, parity report and pictures out, stage by stage.

`steps.py` has the stages up to the package, `parity.py` the comparison of its masks with the model's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..inputs.sizes import require_sizes, size_of
from ..inputs.sources import LoadedModel
from ..utils.files import held_alone, refuse_existing, remove_stale_partials, write_bytes, write_json
from ..utils.stages import Observer, Stages
from . import steps
from .parity import compare_masks
from .records import export_record
from .requests import CoreMLExport, CoreMLRequest, OnnxExport, OnnxRequest

if TYPE_CHECKING:
    import onnx

    from ..artifacts import Lowered
    from ..quantize.recipe import Recipe


def export_coreml(request: CoreMLRequest, observer: Observer) -> CoreMLExport:
    """Make a package of a model, look at what it stores, run it and gate on its masks.

    Raises:
        PortraitError: whatever stops the walk. A failed gate does not raise: see `CoreMLExport.passed`.
    """
    from ..quantize.apply import check_target
    from ..quantize.recipes import get_recipe

    recipe = get_recipe(request.recipe)
    check_target(recipe, target=request.target)  # before minutes of work, not after
    require_sizes(request.sizes, size=request.source.size)
    stages = Stages(observer)
    models = steps.load(stages, request.source, request.sizes, output=request.output)
    _require_packageable(models, request)
    folder = request.out or Path("build") / f"{models[0].name}-{recipe.name}"
    _require_free_places(folder, models[0], request)
    with held_alone(folder):
        remove_stale_partials(folder)
        return _export_into(folder, stages, models, recipe, request)


def _require_free_places(folder: Path, model: LoadedModel, request: CoreMLRequest) -> None:
    """Raise UsageError if the package or its ONNX model would take the place of what is there, or of the source."""
    onnx_file = folder / f"{model.name}.onnx"
    if onnx_file.exists() and any(file.exists() and onnx_file.samefile(file) for file in request.source.files):
        raise UsageError(
            f"The simplified ONNX model would replace the network that it is made from, {onnx_file}.",
            hint="choose another folder with `-o`.",
        )
    refuse_existing(folder / f"{model.name}.mlpackage", force=request.force, folder=True)
    refuse_existing(onnx_file, force=request.force)


def _export_into(
    folder: Path, stages: Stages, models: Sequence[LoadedModel], recipe: Recipe, request: CoreMLRequest
) -> CoreMLExport:
    """From the loaded network to everything that the output folder gets."""
    model = models[0]
    path = folder / f"{model.name}.mlpackage"
    onnx_model, lowered = _lower_at_each_size(stages, models, request.target)
    package, audit = steps.save(stages, lowered, path, models, recipe, request)
    write_bytes(folder / f"{model.name}.onnx", onnx_model.SerializeToString(deterministic=True))
    parity = None
    if request.parity is not None:
        parity = compare_masks(stages, models, package.path, recipe, request.precision, request.parity, folder)
    sizes = tuple(map(size_of, models))
    export = CoreMLExport(folder, package, model, recipe, request.target, audit, tuple(stages.ended), parity, sizes)
    export = replace(export, record=export_record(export, request))
    write_json(folder / "export.json", export.record)
    return export


def _require_packageable(models: Sequence[LoadedModel], request: CoreMLRequest) -> None:
    """Raise PortraitError, before minutes of work, for what no package of these networks can be."""
    model = models[0]
    if len(models) > 1:
        from ..frontend.unify import require_target

        require_target(model.spec.inputs, target=request.target, source=model.name)


def _lower_at_each_size(stages: Stages, models: Sequence[LoadedModel], target: str) -> tuple[onnx.ModelProto, Lowered]:
    """The simplified ONNX model at the default size, and one MIL program for all sizes."""
    at = steps.size_words(models)
    # What was captured is given on and not kept: its weights need not be in memory beside the simplified ones.
    simplified = steps.simplify_alike(
        stages, [steps.capture(stages, model, at=words) for model, words in zip(models, at, strict=True)], at
    )
    programs = [
        steps.lower(stages, graph, model, target, at=words)
        for graph, model, words in zip(simplified, models, at, strict=True)
    ]
    return simplified[0], steps.unify(stages, programs, models)


def export_onnx(request: OnnxRequest, observer: Observer) -> OnnxExport:
    """Trace, check and simplify a model, and write the ONNX file."""
    stages = Stages(observer)
    (model,) = steps.load(stages, request.source)
    path = request.out or Path("build") / model.name / f"{model.name}.onnx"
    refuse_existing(path, force=request.force)
    captured = steps.capture(stages, model, opset=request.opset)
    simplified, _ = steps.simplify(stages, captured, keep_opset=True)
    data = simplified.SerializeToString(deterministic=True)
    write_bytes(path, data, force=request.force)
    return OnnxExport(path, model, tuple(stages.ended), len(data))
