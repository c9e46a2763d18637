"""Export stages, one function per stage; each takes the previous stage's result.

`export.py` runs them in order. For a package with several sizes, each stage up to `unify` runs once per size, and
`prefix` names the size at the start of the stage's summary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..artifacts import DEFAULT_OPSET
from ..inputs.sizes import label, labels, load_sizes, size_of
from ..inputs.sources import LoadedModel, ModelSource
from ..inputs.stated import completed, require_agreeing
from ..preprocessing import SPEC_KEY, PortraitSpec
from ..utils.bounds import at_most
from ..utils.stages import Stages
from .compress import Calibration, compress, keep_integers
from .mixed import compress_mixed
from .provenance import made_from_others, provenance_of
from .records import package_metadata
from .recurrent import HALF_NOTE, described, states_of
from .requests import CoreMLRequest

if TYPE_CHECKING:
    from ..artifacts import Lowered
    from ..capture.onnx.cost import Cost
    from ..capture.onnx.stored import StoredModel
    from ..capture.simplify import SimplifyReport
    from ..inputs.sizes import Size
    from ..mil.audit import Audit
    from ..mil.compile import CompiledProgram
    from ..mil.encoded import Compression
    from ..mil.mixed import MixedCost
    from ..mil.package import SavedPackage
    from ..mil.program import Metadata
    from ..quantize.recipe import Recipe


def load(
    stages: Stages,
    source: ModelSource,
    sizes: Sequence[Size] = (),
    *,
    output: str = "mask",
    any_size: bool = False,
    kinds: Sequence[str] = (),
    package: str = "",
    stored: Mapping[str, str] | None = None,
) -> tuple[LoadedModel, ...]:
    """Load the network at each size, the default first.

    Args:
        sizes: empty uses the source's own.
        output: what the package returns, one of `preprocessing.OUTPUTS`.
        any_size: as for `load_sizes`.
        kinds: the kinds of bundled photographs to use; empty: those for which the weights are good enough.
        package, stored: name and metadata of a package that the network is to be compared with.
    """
    with stages.stage("load") as stage:
        models = load_sizes(source, sizes, any_size=any_size)
        model = models[0]
        stage.summary = f"{model.name}, {model.parameters / 1e6:.2f} M parameters ({model.provenance['weights']})"
        if len(models) > 1:
            stage.summary += f"; {labels(sizes)}"
        if model.summary:
            stage.summary += f"; {model.summary}"
        other = made_from_others(model.name, provenance_of(model), package, stored) if stored else ""
        stage.warnings += [other] if other else []
        stage.details += model.notes
        stage.warnings += dict.fromkeys(line for each in models for line in each.warnings)
        if stored and SPEC_KEY in stored:
            stated = PortraitSpec.from_json(stored[SPEC_KEY], source=package)
            own = source.foreign is not None or bool(other)  # of another network the masks alone can be compared
            models = tuple(_as_stated(each, stated, package, own=own) for each in models)
        if model.kinds and not set(kinds) <= set(model.kinds):
            stage.warnings.append(
                f"The weights of {model.name} are good enough for photographs of kind {', '.join(model.kinds)} alone."
                " On the others the gates say whether the package gives the network's masks, not whether those are"
                " good: `portrait-export evaluate` shows that."
            )
        models = tuple(model.with_output(output) for model in models)
        return tuple(_on_kinds(model, kinds) for model in models) if kinds else models


def _on_kinds(model: LoadedModel, kinds: Sequence[str]) -> LoadedModel:
    changed: LoadedModel = replace(cast(Any, model), kinds=tuple(kinds))
    return changed


def _as_stated(model: LoadedModel, stated: PortraitSpec, package: str, *, own: bool) -> LoadedModel:
    """The network; one of the user's own with what it leaves open as its package states it. Raises PackageError."""
    require_agreeing(package, stated, model.spec, own=own)
    spec = completed(stated, model.spec) if own else model.spec
    changed: LoadedModel = model if spec == model.spec else replace(cast(Any, model), spec=spec)
    return changed


def size_prefixes(models: Sequence[LoadedModel]) -> list[str]:
    """Return the prefix of each size's summaries, such as `256x256: `; empty for a single size."""
    return [f"{label(size_of(model))}: " if len(models) > 1 else "" for model in models]


def capture(stages: Stages, model: LoadedModel, *, opset: int = DEFAULT_OPSET, prefix: str = "") -> StoredModel:
    """Export the network to ONNX, with our inputs and outputs."""
    from ..capture.onnx.stored import StoredModel

    with stages.stage("capture") as stage:
        graph = model.to_onnx(opset=opset)
        written = max(entry.version for entry in graph.opset_import if not entry.domain)
        nodes = len(graph.graph.node)
        stage.summary = f"{prefix}ONNX opset {written}, {nodes} nodes, same numbers as {model.reference_name}"
    return StoredModel(graph)


def simplify(
    stages: Stages, captured: StoredModel, *, keep_opset: bool = False, prefix: str = "", without: Sequence[str] = ()
) -> tuple[StoredModel, SimplifyReport]:
    """Simplify with all rules but those in `without`. Unless `keep_opset`, the opset may rise to 20 for its GELU."""
    from ..capture import simplify as simplification

    with stages.stage("simplify") as stage:
        rules = tuple(rule for rule in simplification.RULES if rule.name not in without)
        simplified, report = simplification.simplify_stored(captured, rules=rules, keep_opset=keep_opset)
        nodes = f"{len(captured.outline.graph.node)} → {len(simplified.outline.graph.node)} nodes"
        macs = f"{report.before.weight_macs / 1e9:.3g} → {report.after.weight_macs / 1e9:.3g} GMACs"
        stage.summary = f"{prefix}{nodes}, {macs}"
        stage.facts = report.to_dict()
        stage.details = [_cost_line("before", report.before), _cost_line("after", report.after)]
        stage.details += [f"{rule} fired {count} times" for rule, count in report.counts().items()]
        stage.details += [f"{rule} skipped: it does not apply at every size" for rule in without]
        stage.details += [f"{entry.rule} skipped {entry.node}: {entry.reason}" for entry in report.refused]
    return simplified, report


def _cost_line(when: str, cost: Cost) -> str:
    families = ", ".join(f"{family} {count / 1e9:.3g}" for family, count in cost.macs.items())
    weights, peak = cost.weight_bytes / 1e6, at_most(cost.peak_activation_bytes / 1e6, digits=3)
    moved = cost.layout_ops - cost.absorbed_layout_ops
    return f"{when}: GMACs {families}; weights {weights:.1f} MB, activations at most {peak} MB; {moved} layout ops"


def simplify_alike(stages: Stages, captured: Sequence[StoredModel], prefixes: Sequence[str]) -> list[StoredModel]:
    """Simplify one network at several sizes with the same rules: those that apply at every size."""
    from ..capture.simplify import RULES

    if len(captured) == 1:
        return [simplify(stages, captured[0])[0]]

    def simplified(without: Sequence[str], reason: str = "") -> list[tuple[StoredModel, SimplifyReport]]:
        pairs = zip(captured, prefixes, strict=True)
        return [simplify(stages, graph, prefix=prefix + reason, without=without) for graph, prefix in pairs]

    without = [rule.name for rule in RULES if rule.one_size]
    results = simplified(without)
    fired = [report.counts() for _, report in results]
    uneven = [rule for rule in dict.fromkeys(chain(*fired)) if len({counts.get(rule) for counts in fired}) > 1]
    if uneven:
        results = simplified([*without, *uneven], f"without {', '.join(uneven)}, which do not apply at every size: ")
    return [graph for graph, _ in results]


def lower(
    stages: Stages,
    simplified: StoredModel,
    model: LoadedModel,
    target: str,
    *,
    prefix: str = "",
    file: Path | None = None,
    states: bool = False,
) -> Lowered:
    """Lower a simplified graph to a MIL program with the preprocessing and output of the model's spec.

    Args:
        file: the ONNX file that the network was read from, if it was.
        states: whether carried values become states; else they are inputs and outputs.
    """
    from ..frontend import convert

    with stages.stage("lower") as stage:
        carried = states_of(model)
        lowered = convert.lower(
            simplified.whole(),
            spec=model.spec,
            target=target,
            extra=(*model.kept_outputs, *(() if states else carried.values())),
            states=carried if states else None,
            source=model.name,
            file=str(file or ""),
        )
        count = len(lowered.program.functions["main"].operations)
        stage.summary = f"{prefix}MIL for {target}, {count} operations"
        if states:
            stage.warnings.append(HALF_NOTE)
    return described(lowered, model) if model.carried else lowered


def unify(stages: Stages, programs: Sequence[Lowered], models: Sequence[LoadedModel]) -> Lowered:
    """Merge the programs of all sizes into one; a single program is returned as it is."""
    if len(programs) == 1:
        return programs[0]
    from ..frontend import unify as unification
    from ..mil.lint import LISTED_SHAPES

    with stages.stage("unify") as stage:
        sizes = [size_of(model) for model in models]
        lowered = unification.unify(programs, sizes=sizes, source=models[0].name)
        before, after = (
            Counter(op.op_type for op in program.program.functions["main"].operations if op.op_type != "const")
            for program in (programs[0], lowered)
        )
        stage.summary = f"one program for {labels(sizes, last=' and ')}, {after.total()} operations"
        stage.details = [f"{count} {op}" for op, count in (after - before).items()]
        stage.details += [f"{count} fewer {op}" for op, count in (before - after).items()]
        stage.warnings.append(
            f"Neural Engine: {LISTED_SHAPES.effect} ({LISTED_SHAPES.sources[0]}); if that matters, export a package"
            " per size with `size=`, which may also need less arithmetic."
        )
    return lowered


@dataclass(frozen=True)
class Built:
    """A package in memory.

    Attributes:
        program: the compiled program.
        lowered: the program that it was compiled from.
        metadata: of the package.
        compression: how its weights were compressed; None where they are as the compute precision has them.
    """

    program: CompiledProgram
    lowered: Lowered
    metadata: Metadata
    compression: Compression | None


def compiled(
    stages: Stages,
    lowered: Lowered,
    models: Sequence[LoadedModel],
    recipe: Recipe,
    request: CoreMLRequest,
    folder: Path,
) -> Built:
    """Compile the program and compress its weights.

    Args:
        folder: where measurements that take minutes are kept, for a run that goes on after an interruption.
    """
    program, logits = compiled_program(stages, lowered, models[0], recipe, request)
    metadata = metadata_of(program, logits, models, recipe, request)
    compression = None
    if recipe.form == "mixed":
        program, compression = compress_mixed(stages, program, lowered, models[0], request, metadata, folder)
    else:
        program, compression = compressed(stages, program, lowered, models[0], recipe, request, metadata)
    return Built(program, lowered, metadata, compression)


def compiled_program(
    stages: Stages, lowered: Lowered, model: LoadedModel, recipe: Recipe, request: CoreMLRequest
) -> tuple[CompiledProgram, str]:
    """Compile the program. Returns it with the name of the value that holds the logits; empty if there is none."""
    from ..mil.compile import compile_program
    from ..mil.logits import logits_in, tail_of
    from ..quantize.apply import check_recipe

    with stages.stage("compile") as stage:
        check_recipe(recipe, target=request.target)
        tail = tail_of(lowered)
        program = compile_program(
            lowered,
            precision=request.precision,
            keep_fp32=request.keep_fp32,
            balanced=not model.quantized,  # its integers are found again in weights that are rounded to nearest
        )
        stage.summary = f"{request.precision} arithmetic and weights"
    return program, logits_in(program.spec, tail)


def metadata_of(
    program: CompiledProgram, logits: str, models: Sequence[LoadedModel], recipe: Recipe, request: CoreMLRequest
) -> Metadata:
    """The metadata of a package; see `records.package_metadata`."""
    sizes = [size_of(model) for model in models]
    return package_metadata(models[0], recipe, request, sizes, logits, program.kept)


def compressed(
    stages: Stages,
    program: CompiledProgram,
    lowered: Lowered,
    model: LoadedModel,
    recipe: Recipe,
    request: CoreMLRequest,
    metadata: Metadata,
    calibration: Calibration | None = None,
) -> tuple[CompiledProgram, Compression | None]:
    """Compress the weights of a compiled program by a recipe other than `mixed`; the arguments of `compress`."""
    if recipe.compresses:
        return compress(stages, program, lowered, model, recipe, request, metadata, calibration)
    if recipe.form == "none" and model.quantized:
        return keep_integers(stages, program, lowered, metadata)
    return program, None


def save(stages: Stages, built: Built, path: Path, model: LoadedModel, request: CoreMLRequest) -> SavedPackage:
    """Write the package."""
    from ..mil.package import save_package

    with stages.stage("save") as stage:
        package = save_package(built.program, built.lowered, path, metadata=built.metadata, force=request.force)
        stage.summary = f"{package.path.name}, {package.size_bytes / 1e6:.2f} MB"
        unknown = [name for name in ("author", "license") if not getattr(built.metadata, name)]
        if unknown:
            arguments = " and ".join(f"`{name}=`" for name in unknown)
            stage.summary += f"; its metadata names no {' and no '.join(unknown)} ({arguments})"
    return package


def audit(stages: Stages, built: Built, path: Path, recipe: Recipe) -> tuple[Audit, MixedCost | None]:
    """Check how the saved package's weights are stored, and count what it keeps in float32."""
    from ..mil.audit import audit_program, recorded
    from ..mil.mixed import mixed_cost
    from ..mil.program import read_program

    program = read_program(path)
    kept = built.program.kept
    mixed = mixed_cost(program.main) if kept else None
    with stages.stage("audit") as stage:
        audit = audit_program(
            program,
            requested=recipe.dtype,
            min_elements=recipe.min_elements,
            originals=recorded(built.program.originals),
            compression=built.compression,
        )
        stage.summary = _audit_summary(audit)
        stage.details = [f"{w.name} {w.shape} {w.dtype} {w.size_bytes:,} B {w.skipped}" for w in audit.weights]
        if mixed is not None:
            stage.summary += f"; {mixed}"
            stage.details += [f"kept in float32: {kind} {name}" for name, kind in kept.items()]
    return audit, mixed


def _audit_summary(audit: Audit) -> str:
    if audit.requested is None:
        kinds = ", ".join(f"{row['weights']} {dtype}" for dtype, row in audit.by_dtype().items())
        return f"{kinds} weights" if kinds else "no weights in its weight file"
    types = Counter(weight.dtype for weight in audit.applied).most_common()
    stored = audit.requested if len(types) < 2 else "as " + ", ".join(f"{count} {dtype}" for dtype, count in types)
    applied = sum(w.size_bytes for w in audit.applied)
    share = 100 * applied / max(audit.size_bytes, 1)
    error = f", largest error {100 * audit.largest_error:.3g} %" if audit.largest_error is not None else ""
    rounded = f"; {len(audit.activations)} values rounded to 8 bits" if audit.activations else ""
    return f"{len(audit.applied)} weights {stored} ({share:.0f} % of the bytes){error}{rounded}"
