"""The walk, written down once: a model's source in; ONNX, package, parity report and pictures out, stage by stage."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from .files import refuse_existing, remove_stale_partials, write_bytes, write_json
from .frames import load_frames
from .preprocessing import PortraitSpec
from .records import KEY, export_record, package_metadata
from .requests import OPSET, CoreMLExport, CoreMLRequest, OnnxExport, OnnxRequest, ParityRequest
from .sizes import label, labels, listed_sizes, load_sizes, require_listed, require_sizes, size_of
from .sources import LoadedModel, ModelSource
from .stages import Observer, Stages

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

    from .artifacts import Lowered, Runner
    from .capture.cost import Cost
    from .capture.simplify import SimplifyReport
    from .mil.audit import Audit
    from .mil.package import SavedPackage
    from .quantize.recipe import Recipe
    from .sizes import Size
    from .stages import RunningStage
    from .verify.gates import Thresholds
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
    require_sizes(request.sizes, size=request.source.size)
    stages = Stages(observer)
    models = _load(stages, request.source, request.sizes)
    model, sizes = models[0], tuple(map(size_of, models))
    if model.foreign is not None:
        model.foreign.require_output(request.output)
    if len(sizes) > 1:
        from .frontend.unify import require_target

        require_target(model.spec.inputs, target=request.target, source=model.name)
    folder = request.out or Path("build") / f"{model.name}-{recipe.name}"
    path = folder / f"{model.name}.mlpackage"
    refuse_existing(path, force=request.force)
    remove_stale_partials(folder)

    onnx_model, lowered = _lower_all(stages, models, request)
    spec = replace(model.spec, output=request.output)
    package, audit = _package(stages, lowered, path, model, spec, recipe, request, sizes=sizes)
    write_bytes(folder / f"{model.name}.onnx", onnx_model.SerializeToString(deterministic=True))
    parity = None
    if request.parity is not None:
        parity = _parity(stages, models, package.path, recipe, request.precision, request.parity, folder)
    export = CoreMLExport(folder, package, model, recipe, request.target, audit, tuple(stages.ended), parity, sizes)
    export = replace(export, record=export_record(export, request))
    write_json(folder / "export.json", export.record)
    return export


def export_onnx(request: OnnxRequest, observer: Observer) -> OnnxExport:
    """Trace, check and simplify a model, and write the ONNX file."""
    stages = Stages(observer)
    (model,) = _load(stages, request.source)
    path = request.out or Path("build") / model.name / f"{model.name}.onnx"
    refuse_existing(path, force=request.force)
    onnx_model = _simplify(stages, _capture(stages, model, model.spec, request.opset), keep_opset=True)
    data = onnx_model.SerializeToString(deterministic=True)
    write_bytes(path, data, force=request.force)
    return OnnxExport(path, model, tuple(stages.ended), len(data))


def check_parity(source: ModelSource, package: Path, request: ParityRequest, observer: Observer) -> ParityReport:
    """Compare a package on disk with its model, at every size that the package takes or at the one asked for."""
    from .mil.program import read_program
    from .quantize.recipes import RECIPES

    stages = Stages(observer)
    program = read_program(package)
    stored = program.metadata.user_defined
    listed = sizes = listed_sizes(program.inputs)
    if source.size is not None:
        if listed:
            require_listed(source.size, listed, name=package.name)
        sizes = (source.size,)
    elif not sizes and f"{KEY}.spec" in stored:
        saved = PortraitSpec.from_json(stored[f"{KEY}.spec"])
        sizes = ((saved.height, saved.width),)
    models = _load(stages, source, sizes, any_size=bool(listed))
    recipe = RECIPES.get(stored.get(f"{KEY}.recipe", ""), RECIPES["none"])
    precision = stored.get(f"{KEY}.precision", "fp16")
    return _parity(stages, models, package, recipe, precision, request, folder=None)


# ---------------------------------------------------------------------------------------------------------------------
# The stages, in the order of the walk


def _load(
    stages: Stages, source: ModelSource, sizes: Sequence[Size] = (), *, any_size: bool = False
) -> tuple[LoadedModel, ...]:
    """The network at each size, the default first."""
    with stages.stage("load") as stage:
        models = load_sizes(source, sizes, any_size=any_size)
        model = models[0]
        stage.summary = f"{model.name}, {model.parameters / 1e6:.2f} M parameters ({model.provenance['weights']})"
        if len(models) > 1:
            stage.summary += f"; {labels(sizes)}"
        if model.foreign is not None:
            stage.summary += f"; {model.foreign.head.notes[0]}"
            stage.details += model.foreign.notes
            found = [line for each in models if each.foreign is not None for line in each.foreign.warnings]
            stage.warnings += dict.fromkeys(found)
    return models


def _lower_all(
    stages: Stages, models: Sequence[LoadedModel], request: CoreMLRequest
) -> tuple[onnx.ModelProto, Lowered]:
    """The simplified ONNX model at the default size, and one MIL program for all sizes."""
    specs = [replace(model.spec, output=request.output) for model in models]
    at = [f"{label(size_of(model))}: " if len(models) > 1 else "" for model in models]
    captured = [_capture(stages, *each[:2], at=each[2]) for each in zip(models, specs, at, strict=True)]
    simplified = _simplify_alike(stages, captured, at)
    extra = models[0].foreign.kept_names if models[0].foreign else ()
    programs = [
        _lower(stages, onnx_model, spec, request.target, source=models[0].name, extra=extra, at=words)
        for onnx_model, spec, words in zip(simplified, specs, at, strict=True)
    ]
    return simplified[0], _unify(stages, programs, models)


def _simplify_alike(stages: Stages, captured: Sequence[onnx.ModelProto], at: Sequence[str]) -> list[onnx.ModelProto]:
    """Simplify one network at several sizes in the same way: a rule that fits only some of them is left out."""
    from .capture.simplify import RULES

    if len(captured) == 1:
        return [_simplify(stages, captured[0])]
    without = [rule.name for rule in RULES if rule.one_size]
    results = [_simplified(stages, model, at=size, without=without) for model, size in zip(captured, at, strict=True)]
    fired = [report.counts() for _, report in results]
    uneven = [rule for rule in dict.fromkeys(chain(*fired)) if len({counts.get(rule) for counts in fired}) > 1]
    if uneven:
        words, without = f"without {', '.join(uneven)}, which not all sizes allow: ", [*without, *uneven]
        results = [
            _simplified(stages, model, at=size + words, without=without)
            for model, size in zip(captured, at, strict=True)
        ]
    return [model for model, _ in results]


def _unify(stages: Stages, programs: Sequence[Lowered], models: Sequence[LoadedModel]) -> Lowered:
    """One program of those at each size; nothing to do where there is one size."""
    if len(programs) == 1:
        return programs[0]
    from .frontend.unify import unify
    from .mil.lint import LISTED_SHAPES

    with stages.stage("unify") as stage:
        sizes = [size_of(model) for model in models]
        lowered = unify(programs, sizes=sizes, source=models[0].name)
        before, after = (
            Counter(op.op_type for op in program.program.functions["main"].operations if op.op_type != "const")
            for program in (programs[0], lowered)
        )
        stage.summary = f"one program for {labels(sizes, last=' and ')}, {after.total()} operations"
        stage.details = [f"{count} {op}" for op, count in (after - before).items()]
        stage.details += [f"{count} {op} less" for op, count in (before - after).items()]
        stage.warnings.append(
            f"Neural Engine: {LISTED_SHAPES.effect} ({LISTED_SHAPES.sources[0]}); where it matters,"
            " export a package for each size with --size, which may take less arithmetic as well."
        )
    return lowered


def _capture(
    stages: Stages, model: LoadedModel, spec: PortraitSpec, opset: int = OPSET, *, at: str = ""
) -> onnx.ModelProto:
    """Trace the network, or take the user's graph; `at` says the size where there are several."""
    from .capture.export import export_onnx as trace

    with stages.stage("capture") as stage:
        if model.foreign is not None:
            onnx_model = model.foreign.to_onnx(spec)
            stage.summary = (
                f"{at}our inputs and outputs, {len(onnx_model.graph.node)} nodes, same numbers as the original"
            )
            return onnx_model
        onnx_model = trace(model.module, spec=spec, opset=opset, metadata=model.provenance)
        stage.summary = f"{at}ONNX opset {opset}, {len(onnx_model.graph.node)} nodes, same numbers as PyTorch"
    return onnx_model


def _simplify(stages: Stages, onnx_model: onnx.ModelProto, *, keep_opset: bool = False) -> onnx.ModelProto:
    return _simplified(stages, onnx_model, keep_opset=keep_opset)[0]


def _simplified(
    stages: Stages,
    onnx_model: onnx.ModelProto,
    *,
    keep_opset: bool = False,
    at: str = "",
    without: Sequence[str] = (),
) -> tuple[onnx.ModelProto, SimplifyReport]:
    """Simplify, but for some rules; without `keep_opset` the opset may rise to 20, which has GELU as one operator."""
    from .capture.simplify import RULES, simplify

    with stages.stage("simplify") as stage:
        rules = tuple(rule for rule in RULES if rule.name not in without)
        simplified, report = simplify(onnx_model, rules=rules, keep_opset=keep_opset)
        nodes = f"{len(onnx_model.graph.node)} → {len(simplified.graph.node)} nodes"
        macs = f"{report.before.weight_macs / 1e9:.3g} → {report.after.weight_macs / 1e9:.3g} GMACs"
        stage.summary = f"{at}{nodes}, {macs}"
        stage.facts = report.to_dict()
        stage.details = [_cost_line("before", report.before), _cost_line("after", report.after)]
        stage.details += [f"{rule} fired {count} times" for rule, count in report.counts().items()]
        stage.details += [f"{rule} left out: it does not fit all sizes" for rule in without]
        stage.details += [f"{entry.rule} left {entry.node} alone: {entry.reason}" for entry in report.refused]
    return simplified, report


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
    at: str = "",
) -> Lowered:
    from .frontend.convert import lower

    with stages.stage("lower") as stage:
        lowered = lower(onnx_model, spec=spec, target=target, extra=extra, source=source)
        count = len(lowered.program.functions["main"].operations)
        stage.summary = f"{at}MIL for {target}, {count} operations"
    return lowered


def _package(
    stages: Stages,
    lowered: Lowered,
    path: Path,
    model: LoadedModel,
    spec: PortraitSpec,
    recipe: Recipe,
    request: CoreMLRequest,
    *,
    sizes: Sequence[Size] = (),
) -> tuple[SavedPackage, Audit]:
    """Compile, save and audit; `sizes` are all that the package takes, by default the spec's."""
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
        metadata = package_metadata(model, spec, recipe, request, sizes or ((spec.height, spec.width),))
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
    models: Sequence[LoadedModel],
    package: Path,
    recipe: Recipe,
    precision: str,
    request: ParityRequest,
    folder: Path | None,
) -> ParityReport:
    """Run the model and the saved package on every photograph at every size, judge, and write what people look at."""
    from .mil.folder import package_size_bytes
    from .verify.gates import kind_of, size_gate, thresholds_for
    from .verify.parity import joined
    from .verify.report import write_report

    model = models[0]
    candidate = _package_runner(package, request)
    thresholds = thresholds_for(kind_of(recipe.name, precision), trained=model.trained, min_iou=request.min_iou)
    budget = size_gate(model.name, recipe.name, package_size_bytes(package))
    shown = _Shown()
    reports = {}
    for each in models:
        size = label(size_of(each)) if len(models) > 1 else ""
        with stages.stage("parity") as stage:
            report = _compared(stage, each, candidate, thresholds, request, shown, size)
            reports[size] = report
            judged = report.with_gates(budget) if each is models[-1] else report
            stage.summary = (f"{size}: " if size else "") + _parity_summary(judged, each)
    whole = (joined(reports) if len(models) > 1 else reports[""]).with_gates(budget)
    if folder is not None:
        with stages.stage("report") as stage:
            title = f"{model.name} · {package.name}"
            facts = dict(model.provenance)
            stage.summary = write_report(
                whole, shown.worst, folder, title=title, facts=facts, thumbnails=shown.thumbnails
            )
    return whole


class _Shown:
    """The pictures that a report shows: thumbnails of the images, and the worst of them at full size."""

    def __init__(self) -> None:
        from .verify.report.pictures import Thumbnails

        self.thumbnails = Thumbnails()
        self.worst: list[Compared] = []

    def keep(self, compared: Compared) -> None:
        """Look at one more image."""
        from .verify.parity import badness

        self.thumbnails(compared)
        self.worst.append(compared)
        self.worst.sort(key=lambda item: badness(item.score))
        del self.worst[WORST_IMAGES:]


def _compared(
    stage: RunningStage,
    model: LoadedModel,
    candidate: Runner,
    thresholds: Thresholds,
    request: ParityRequest,
    shown: _Shown,
    size: str,
) -> ParityReport:
    """Compare at one size; `size` names it where there are several."""
    from .capture.runners import TorchRunner
    from .verify.parity import compare, name_at

    spec = model.spec
    frames = load_frames(request.data, spec)
    if frames.without_depth:
        stage.warnings.append(
            f"{len(frames.without_depth)} of {len(frames)} photographs have no depth map: brightness over a ramp"
            " stands in for it on both sides."
        )
    reference: Runner = model.foreign.reference() if model.foreign else TorchRunner(model.module, spec, name="PyTorch")
    done = 0

    def keep(compared: Compared) -> None:
        nonlocal done
        done += 1
        score = replace(compared.score, name=name_at(compared.score.name, size)) if size else compared.score
        shown.keep(replace(compared, score=score))
        stage.progress(done, len(frames))

    return compare(reference, candidate, frames, thresholds, threshold=spec.threshold, on_image=keep)


def _package_runner(package: Path, request: ParityRequest) -> Runner:
    if request.runtime == "coreml":
        from .mil.mac import CoreMLRunner

        return CoreMLRunner(package)
    from .runtime.runner import PackageRunner

    return PackageRunner(package, arithmetic=request.arithmetic)


def _parity_summary(report: ParityReport, model: LoadedModel) -> str:
    failed = sum(not gate.passed for gate in report.gates)
    verdict = "all gates passed" if not failed else f"{failed} of {len(report.gates)} gates FAILED"
    masks = f", mean mask IoU {report.summary.iou_mean:.5f}" if model.trained else ""
    return f"{len(report.images)} photographs{masks}, {verdict}"
