"""The walk, written down once: a model's source in; ONNX, package, parity report and pictures out, stage by stage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .files import refuse_existing, remove_stale_partials, write_bytes, write_json
from .frames import load_frames
from .preprocessing import PortraitSpec
from .records import KEY, export_record, package_metadata
from .requests import OPSET, CoreMLExport, CoreMLRequest, OnnxExport, OnnxRequest, ParityRequest
from .sources import LoadedModel, ModelSource, load_model
from .stages import Observer, Stages

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

    from .artifacts import Lowered, Runner
    from .capture.cost import Cost
    from .mil.audit import Audit
    from .mil.package import SavedPackage
    from .quantize.recipe import Recipe
    from .verify.parity import Compared, ParityReport

WORST_IMAGES = 4  # how many pictures of the worst images are written


def export_coreml(request: CoreMLRequest, observer: Observer) -> CoreMLExport:
    """Make a package of a model, look at what it stores, run it and gate on its masks.

    Raises:
        PortraitError: whatever stops the walk. A failed gate does not raise: see `CoreMLExport.passed`.
    """
    from .quantize.apply import check_target
    from .quantize.recipes import get_recipe

    recipe = get_recipe(request.recipe)
    check_target(recipe, target=request.target)  # before minutes of work, not after
    stages = Stages(observer)
    model = _load(stages, request.source)
    spec = replace(model.spec, output=request.output)
    if model.foreign is not None:
        model.foreign.require_output(request.output)
    folder = request.out or Path("build") / f"{model.name}-{recipe.name}"
    path = folder / f"{model.name}.mlpackage"
    refuse_existing(path, force=request.force)
    remove_stale_partials(folder)

    onnx_model = _capture(stages, model, spec)
    onnx_model = _simplify(stages, onnx_model)
    extra = model.foreign.kept_names if model.foreign else ()
    lowered = _lower(stages, onnx_model, spec, request.target, source=model.name, extra=extra)
    package, audit = _package(stages, lowered, path, model, spec, recipe, request)
    write_bytes(folder / f"{model.name}.onnx", onnx_model.SerializeToString(deterministic=True))
    parity = None
    if request.parity is not None:
        parity = _parity(stages, model, package.path, recipe, request.precision, request.parity, folder)
    export = CoreMLExport(folder, package, model, recipe, request.target, audit, tuple(stages.ended), parity)
    export = replace(export, record=export_record(export, request))
    write_json(folder / "export.json", export.record)
    return export


def export_onnx(request: OnnxRequest, observer: Observer) -> OnnxExport:
    """Trace, check and simplify a model, and write the ONNX file."""
    stages = Stages(observer)
    model = _load(stages, request.source)
    path = request.out or Path("build") / model.name / f"{model.name}.onnx"
    refuse_existing(path, force=request.force)
    onnx_model = _simplify(stages, _capture(stages, model, model.spec, request.opset), keep_opset=True)
    data = onnx_model.SerializeToString(deterministic=True)
    write_bytes(path, data, force=request.force)
    return OnnxExport(path, model, tuple(stages.ended), len(data))


def check_parity(source: ModelSource, package: Path, request: ParityRequest, observer: Observer) -> ParityReport:
    """Compare a package on disk with its model."""
    from .mil.program import read_program
    from .quantize.recipes import RECIPES

    stages = Stages(observer)
    stored = read_program(package).metadata.user_defined
    if source.foreign is not None and source.size is None and f"{KEY}.spec" in stored:
        saved = PortraitSpec.from_json(stored[f"{KEY}.spec"])
        source = replace(source, size=(saved.height, saved.width))
    model = _load(stages, source)
    if f"{KEY}.spec" in stored and source.size is None:
        saved = PortraitSpec.from_json(stored[f"{KEY}.spec"])
        model = replace(model, spec=model.spec.with_size(saved.height, saved.width))
    recipe = RECIPES.get(stored.get(f"{KEY}.recipe", ""), RECIPES["none"])
    precision = stored.get(f"{KEY}.precision", "fp16")
    return _parity(stages, model, package, recipe, precision, request, folder=None)


# ---------------------------------------------------------------------------------------------------------------------
# The stages, in the order of the walk


def _load(stages: Stages, source: ModelSource) -> LoadedModel:
    with stages.stage("load") as stage:
        model = load_model(source)
        stage.summary = f"{model.name}, {model.parameters / 1e6:.2f} M parameters ({model.provenance['weights']})"
        if model.foreign is not None:
            stage.summary += f"; {model.foreign.head.notes[0]}"
            stage.details += model.foreign.notes
            stage.warnings += model.foreign.warnings
    return model


def _capture(stages: Stages, model: LoadedModel, spec: PortraitSpec, opset: int = OPSET) -> onnx.ModelProto:
    from .capture.export import export_onnx as trace

    with stages.stage("capture") as stage:
        if model.foreign is not None:
            onnx_model = model.foreign.to_onnx(spec)
            stage.summary = f"our inputs and outputs, {len(onnx_model.graph.node)} nodes, same numbers as the original"
            return onnx_model
        onnx_model = trace(model.module, spec=spec, opset=opset, metadata=model.provenance)
        stage.summary = f"ONNX opset {opset}, {len(onnx_model.graph.node)} nodes, same numbers as PyTorch"
    return onnx_model


def _simplify(stages: Stages, onnx_model: onnx.ModelProto, *, keep_opset: bool = False) -> onnx.ModelProto:
    """Simplify; without `keep_opset` the opset may rise to 20, which has GELU as one operator."""
    from .capture.simplify import simplify

    with stages.stage("simplify") as stage:
        simplified, report = simplify(onnx_model, keep_opset=keep_opset)
        nodes = f"{len(onnx_model.graph.node)} → {len(simplified.graph.node)} nodes"
        macs = f"{report.before.weight_macs / 1e9:.3g} → {report.after.weight_macs / 1e9:.3g} GMACs"
        stage.summary = f"{nodes}, {macs}"
        stage.facts = report.to_dict()
        stage.details = [_cost_line("before", report.before), _cost_line("after", report.after)]
        stage.details += [f"{rule} fired {count} times" for rule, count in report.counts().items()]
        stage.details += [f"{entry.rule} left {entry.node} alone: {entry.reason}" for entry in report.refused]
    return simplified


def _cost_line(when: str, cost: Cost) -> str:
    families = ", ".join(f"{family} {count / 1e9:.3g}" for family, count in cost.macs.items())
    weights, peak = cost.weight_bytes / 1e6, cost.peak_activation_bytes / 1e6
    moved = cost.layout_ops - cost.absorbed_layout_ops
    return f"{when}: GMACs {families}; weights {weights:.1f} MB, activations at most {peak:.1f} MB; {moved} layout ops"


def _lower(
    stages: Stages,
    onnx_model: onnx.ModelProto,
    spec: PortraitSpec,
    target: str,
    *,
    source: str = "the model",
    extra: Sequence[str] = (),
) -> Lowered:
    from .frontend.convert import lower

    with stages.stage("lower") as stage:
        lowered = lower(onnx_model, spec=spec, target=target, extra=extra, source=source)
        count = len(lowered.program.functions["main"].operations)
        stage.summary = f"MIL for {target}, {count} operations"
    return lowered


def _package(
    stages: Stages,
    lowered: Lowered,
    path: Path,
    model: LoadedModel,
    spec: PortraitSpec,
    recipe: Recipe,
    request: CoreMLRequest,
) -> tuple[SavedPackage, Audit]:
    from .mil.audit import audit_program
    from .mil.compile import compile_program
    from .mil.package import save_package
    from .mil.program import read_program
    from .quantize.apply import compression_passes

    with stages.stage("compile") as stage:
        passes = compression_passes(recipe, target=request.target)
        compiled = compile_program(lowered, precision=request.precision, compression=passes)
        stage.summary = f"{request.precision} arithmetic, {recipe.dtype or request.precision} weights"
    with stages.stage("save") as stage:
        metadata = package_metadata(model, spec, recipe, request)
        package = save_package(compiled, lowered, path, metadata=metadata, force=request.force)
        stage.summary = f"{package.path.name}, {package.size_bytes / 1e6:.2f} MB"
    with stages.stage("audit") as stage:
        audit = audit_program(
            read_program(path), requested=recipe.dtype, min_elements=recipe.min_elements, originals=compiled.originals
        )
        stage.summary = _audit_summary(audit)
        stage.details = [f"{w.name} {w.shape} {w.dtype} {w.size_bytes:,} B {w.skipped}" for w in audit.weights]
    return package, audit


def _audit_summary(audit: Audit) -> str:
    if audit.requested is None:
        kinds = ", ".join(f"{row['weights']} {dtype}" for dtype, row in audit.by_dtype().items())
        return f"{kinds} weights"
    applied = sum(w.size_bytes for w in audit.applied)
    share = 100 * applied / max(audit.size_bytes, 1)
    error = f", largest error {100 * audit.largest_error:.2f} %" if audit.largest_error is not None else ""
    return f"{len(audit.applied)} weights {audit.requested} ({share:.0f} % of the bytes){error}"


def _parity(
    stages: Stages,
    model: LoadedModel,
    package: Path,
    recipe: Recipe,
    precision: str,
    request: ParityRequest,
    folder: Path | None,
) -> ParityReport:
    """Run the model and the saved package on every photograph, judge, and write what a person would want to see."""
    from .capture.runners import TorchRunner
    from .verify.gates import kind_of, size_gate, thresholds_for
    from .verify.parity import badness, compare
    from .verify.report import write_report
    from .verify.report.pictures import Thumbnails

    with stages.stage("parity") as stage:
        spec = model.spec
        frames = load_frames(request.data, spec)
        if frames.without_depth:
            stage.warnings.append(
                f"{len(frames.without_depth)} of {len(frames)} photographs have no depth map: brightness over a ramp"
                " stands in for it on both sides."
            )
        reference: Runner = (
            model.foreign.reference() if model.foreign else TorchRunner(model.module, spec, name="PyTorch")
        )
        candidate = _package_runner(package, request)
        thresholds = thresholds_for(kind_of(recipe.name, precision), trained=model.trained, min_iou=request.min_iou)
        worst: list[Compared] = []
        thumbnails = Thumbnails()

        def keep_the_worst(compared: Compared) -> None:
            thumbnails(compared)
            worst.append(compared)
            worst.sort(key=lambda item: badness(item.score))
            del worst[WORST_IMAGES:]
            stage.progress(len(thumbnails), len(frames))

        report = compare(reference, candidate, frames, thresholds, threshold=spec.threshold, on_image=keep_the_worst)
        report = report.with_gates(size_gate(model.name, recipe.name, package_size_bytes(package)))
        stage.summary = _parity_summary(report, model)
    if folder is not None:
        with stages.stage("report") as stage:
            title = f"{model.name} · {package.name}"
            stage.summary = write_report(
                report, worst, folder, title=title, facts=dict(model.provenance), thumbnails=thumbnails
            )
    return report


def _package_runner(package: Path, request: ParityRequest) -> Runner:
    if request.runtime == "coreml":
        from .mil.mac import CoreMLRunner

        return CoreMLRunner(package)
    from .runtime.runner import PackageRunner

    return PackageRunner(package, arithmetic=request.arithmetic)


def package_size_bytes(package: Path) -> int:
    """Bytes of all files of a package together."""
    return sum(file.stat().st_size for file in package.rglob("*") if file.is_file())


def _parity_summary(report: ParityReport, model: LoadedModel) -> str:
    failed = sum(not gate.passed for gate in report.gates)
    verdict = "all gates passed" if not failed else f"{failed} of {len(report.gates)} gates FAILED"
    masks = f", mean mask IoU {report.summary.iou_mean:.5f}" if model.trained else ""
    return f"{len(report.images)} photographs{masks}, {verdict}"
