"""Compare a saved model's masks with its network's.

A saved model is a Core ML package or a Core AI asset.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..artifacts import EMPTY
from ..errors import DataError, UsageError
from ..inputs.frames import Frames, load_frames, stand_in_note
from ..inputs.saved import SavedModel, read_saved
from ..inputs.sequences import InOrder, Pans, load_sequences
from ..inputs.sizes import label, labels, require_listed, size_of
from ..inputs.sources import LoadedModel, ModelSource
from ..inputs.stated import require_described
from ..preprocessing import METADATA_PREFIX, PortraitSpec
from ..utils.stages import Observer, Stages
from . import steps
from .checks import check_photos
from .provenance import MODEL, made_from_others, provenance_of
from .recurrent import Watch, require_carrying
from .requests import ParityRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    import numpy as np

    from ..artifacts import Frame, Runner
    from ..inputs.bundle import DeviceBundle, DeviceFrames
    from ..inputs.sources import Size
    from ..mil.audit import StoredWeight
    from ..quantize.recipe import Recipe
    from ..runtime.runner import PackageRunner
    from ..utils.stages import RunningStage
    from ..verify.gates import Thresholds
    from ..verify.parity import Comparison, ParityReport

    Compared = Frames | DeviceFrames | InOrder | Pans

WORST_IMAGES = 4  # how many pictures of the worst images are written
JUDGING_SPLIT = "evaluate"  # of the calibration set, where the other half was used to fit the recipe
FITTED_NOTE = (
    "The recipe was fitted to the calibrate half of the calibration set, so the masks are compared on the other half."
)
CORE_AI_PHOTOS = 4  # Apple's runtime takes 8 to 72 s of a processor per picture of 512x512 on Linux, ours 0.5 s
ORIGINS = 3  # how many operations that give NaN or infinity are named
CORES_OF_OVERLAP = 2  # on more, a reference that runs one photograph at a time takes all of them instead


def check_parity(source: ModelSource, package: Path, request: ParityRequest, observer: Observer) -> ParityReport:
    """Compare a package with its model at every size of the package, or at the requested size only."""
    from ..quantize.recipes import RECIPES

    check_photos(request)  # before minutes of work, not after
    stages = Stages(observer)
    found = read_saved(package)
    _check_runtime(found, request)
    require_described(found)
    listed = sizes = found.sizes
    saved = found.spec
    bundle = None if request.from_device is None else _bundle_of(request.from_device, package, saved, listed)
    if bundle is not None:
        sizes = bundle.sizes
    else:
        if not sizes and saved is not None:
            sizes = ((saved.height, saved.width),)
        if source.size is not None:
            if sizes:
                require_listed(source.size, sizes, name=package.name)
            sizes = (source.size,)
    models = steps.load(
        stages, source, sizes, any_size=bool(listed), kinds=request.kinds, package=package.name, stored=found.metadata
    )
    if bundle is not None:
        _refuse_further_pictures(models)
    recipe = RECIPES.get(found.recipe, RECIPES["none"])
    facts = {
        "recipe": recipe.name,
        "rounding": found.rounding,
        "precision": found.precision,
        "target": found.target,
    }
    return compare_masks(stages, models, package, facts, request, folder=None, bundle=bundle)


def _refuse_further_pictures(models: Sequence[LoadedModel]) -> None:
    further = models[0].spec.pictures
    if further:
        names = ", ".join(picture.name for picture in further)
        raise DataError(
            f"A bundle from a device does not hold the further pictures that the network takes ({names}).",
            code="bad-bundle",
        )


def _check_runtime(saved: SavedModel, request: ParityRequest) -> None:
    """Raise UsageError for options of a package's runtimes with a Core AI asset, which Apple's own runtime runs."""
    chosen = {
        "`runtime=`": request.runtime != "portrait",
        "`arithmetic=`": request.arithmetic != "as_typed",
        "`from_device=`": request.from_device is not None,
    }
    wrong = [name for name, given in chosen.items() if given]
    if saved.core_ai and wrong:
        raise UsageError(
            f"{saved.path.name} is a Core AI asset, which Core AI's own runtime runs;"
            f" {' and '.join(wrong)} {'is' if len(wrong) == 1 else 'are'} for a .mlpackage."
        )


def _bundle_of(folder: Path, package: Path, spec: PortraitSpec | None, listed: Sequence[Size]) -> DeviceBundle:
    """The bundle in a folder. Raises DataError unless it was made with this package."""
    from ..inputs.bundle import open_bundle
    from ..mil.package import saved_package

    bundle = open_bundle(folder)
    bundle.require_package(package.name, saved_package(package).sha256)
    if spec is not None and bundle.spec != spec:
        raise DataError(f"{folder} has another PortraitSpec than {package.name}.", code="bad-bundle")
    taken = tuple(listed) or ((bundle.spec.height, bundle.spec.width),)
    odd = [size for size in bundle.sizes if size not in taken]
    if odd:
        raise DataError(
            f"{folder} has frames of {labels(odd)} pixels; {package.name} takes {labels(taken)}.", code="bad-bundle"
        )
    return bundle


def compare_masks(
    stages: Stages,
    models: Sequence[LoadedModel],
    package: Path,
    facts: Mapping[str, str],
    request: ParityRequest,
    folder: Path | None,
    bundle: DeviceBundle | None = None,
    weights: Sequence[StoredWeight] = (),
) -> ParityReport:
    """Run the model and the saved package on every photo at every size, check the gates, and write the report.

    Args:
        models: the network at each size, the default first.
        facts: `recipe` and `precision`, which select the bars, `rounding` (empty if it is not known), and `target`.
        folder: the report's folder; None writes no report.
        bundle: a device's masks, to be compared instead of the saved package's.
        weights: the stored weights of the package, for the report.
    """
    from ..coreai.asset import is_asset
    from ..mil.folder import package_size_bytes
    from ..mil.package import saved_package
    from ..quantize.recipes import get_recipe
    from ..verify.baseline import baseline_gates, read_baseline
    from ..verify.gates import fails_on_masks, kind_of, size_gate, thresholds_for
    from ..verify.half_loss import HALF_ASSET
    from ..verify.parity import joined
    from ..verify.report import write_report

    model, recipe = models[0], get_recipe(facts["recipe"])
    fitted = request.data is None and recipe.fitted(facts["rounding"])
    split = JUDGING_SPLIT if fitted else None
    require_carrying(model, request)
    core_ai = is_asset(package)
    candidate = _saved_runner(package, request) if bundle is None else _device_runner(bundle)
    kind = kind_of(recipe.name, facts["precision"])
    thresholds = thresholds_for(kind, trained=model.trained, min_iou=request.min_iou)
    size_bytes = package_size_bytes(package)
    stored = _stored_entries(package, candidate)
    made_from = stored.get(f"{METADATA_PREFIX}{MODEL}", model.name)
    budget = size_gate(made_from, recipe.name, size_bytes, max_mb=request.max_mb)
    other = made_from_others(model.name, provenance_of(model), package.name, stored)
    shown = _Shown()
    reports = {}
    for each in models:
        size = label(size_of(each)) if len(models) > 1 else ""
        with stages.stage("parity") as stage:
            if each.carried:
                frames: Compared = load_sequences(request.data, each.spec, split=split, kinds=each.kinds)
            elif bundle is None:
                frames = _photos(stage, each, request, split, few=core_ai)
            else:
                frames = _device_frames(stage, bundle, each, request)
            watch = Watch(each, frames.note) if isinstance(frames, Pans | InOrder) else None
            report = _compared(stage, each, candidate, thresholds, frames, shown, size, watch)
            if watch is not None:
                report = replace(report, notes=(*report.notes, *watch.notes()))
            if bundle is None and fitted:
                report = replace(report, notes=(*report.notes, FITTED_NOTE))
            if isinstance(frames, Frames):
                report = replace(report, notes=(*report.notes, *frames.made_pictures()))
            broken, worst = shown.take_broken(), shown.take_worst()
            notes = _origin_notes(candidate, broken)
            if not other:  # else the difference has another reason
                rounding = _step_notes(candidate, worst) or _half_notes(candidate, worst, report, kind)
                if core_ai and kind == "fp16" and fails_on_masks(report.gates):
                    rounding = (HALF_ASSET,)
                others = _other_ways(recipe, facts["rounding"], size_bytes) if fails_on_masks(report.gates) else ()
                notes = (*notes, *rounding, *others)
            report = replace(report, notes=(*report.notes, *notes))
            stage.warnings += _one_colour_warnings(report, each)
            if bundle is not None:
                report = replace(report, notes=(*report.notes, *_device_notes(bundle, frames)))
            reports[size] = report
            judged = report.with_gates(budget) if each is models[-1] else report
            stage.summary = (f"{size}: " if size else "") + _parity_summary(judged, each)
    whole = (joined(reports) if len(models) > 1 else reports[""]).with_gates(budget)
    if request.baseline is not None:
        whole = whole.with_gates(*baseline_gates(whole, read_baseline(request.baseline), request.tolerance))
    described = {"sha256": saved_package(package).sha256, **{name: fact for name, fact in facts.items() if fact}}
    notes = (*whole.notes, other) if other else whole.notes
    whole = replace(whole, package=tuple(described.items()), notes=notes, other_weights=other)
    if folder is not None:
        with stages.stage("report") as stage:
            title = f"{model.name} · {package.name}"
            made = {**{f"package {key}": value for key, value in described.items()}, **model.provenance}
            stage.summary = write_report(
                whole, shown.worst, folder, title=title, facts=made, thumbnails=shown.thumbnails, weights=weights
            )
    return whole


def _stored_entries(package: Path, candidate: Runner) -> Mapping[str, str]:
    """The exporter's entries in a package's metadata, from the program that the candidate has read, if it has."""
    from ..runtime.runner import PackageRunner

    if isinstance(candidate, PackageRunner):
        return candidate.program.metadata.user_defined
    return read_saved(package).metadata


class _Shown:
    """The pictures for a report: thumbnails of all images, and the worst images at full size."""

    def __init__(self) -> None:
        from ..verify.report.pictures import Thumbnails

        self.thumbnails = Thumbnails()
        self.worst: list[Comparison] = []
        self.broken: Frame | None = None
        self.worst_since: Comparison | None = None

    def take_broken(self) -> Frame | None:
        """The first frame since the last call on which the candidate gave NaN or infinity."""
        frame, self.broken = self.broken, None
        return frame

    def take_worst(self) -> Comparison | None:
        """The worst comparison since the last call."""
        worst, self.worst_since = self.worst_since, None
        return worst

    def keep(self, compared: Comparison) -> None:
        """Add one image."""
        from ..verify.parity import badness

        if self.broken is None and not compared.score.finite:
            self.broken = compared.labelled.frame
        if self.worst_since is None or badness(compared.score) < badness(self.worst_since.score):
            self.worst_since = compared
        self.thumbnails(compared)
        self.worst.append(compared)
        self.worst.sort(key=lambda item: badness(item.score))
        del self.worst[WORST_IMAGES:]


def _compared(
    stage: RunningStage,
    model: LoadedModel,
    candidate: Runner,
    thresholds: Thresholds,
    frames: Compared,
    shown: _Shown,
    size: str,
    watch: Watch | None,
) -> ParityReport:
    """Compare at one size; `size` is its name if there are several, else empty. `watch` sees sequences of frames."""
    from ..verify.parity import compare, name_at

    spec = model.spec
    reference = model.open_runner()
    done = 0

    def keep(compared: Comparison) -> None:
        nonlocal done
        done += 1
        compared = compared if watch is None else watch.alone(compared)
        score = replace(compared.score, name=name_at(compared.score.name, size)) if size else compared.score
        shown.keep(replace(compared, score=score))
        stage.progress(done, len(frames))

    run, alone = overlapping(reference, candidate)
    return compare(
        reference, candidate, frames, thresholds, threshold=spec.threshold, on_image=keep, run=run, alone=alone
    )


def overlapping(reference: Runner, candidate: Runner) -> tuple[Callable[..., Iterable[Any]], bool]:
    """How photographs are run: the `run` and `alone` of `verify.parity.compare`.

    They run in threads where the candidate is our runtime and carries nothing from frame to frame. The reference does
    so where it is a network of `models/`, which keeps nothing either. Another one runs one at a time: in a thread of
    its own on two cores, and with all cores on more, where it would hold up the others.
    """
    import torch

    from ..capture.runners import TorchRunner
    from ..runtime.parallel import in_order
    from ..runtime.runner import PackageRunner

    ordered = not isinstance(candidate, PackageRunner) or bool(candidate.carried) or not candidate.program.parallel
    alone = not isinstance(reference, TorchRunner)
    return (map if ordered or (alone and torch.get_num_threads() > CORES_OF_OVERLAP) else in_order), alone


def kinds_warning(model: LoadedModel, consequence: str) -> str:
    """The warning about weights that are good enough for photographs of some kinds alone."""
    return (
        f"The weights of {model.name} are good enough for photographs of kind {', '.join(model.kinds)} alone, so"
        f" {consequence}. Its masks of others are not reliable: `portrait-export evaluate` shows by how much."
    )


def _saved_runner(package: Path, request: ParityRequest) -> Runner:
    from ..coreai.asset import is_asset

    if is_asset(package):
        from ..coreai.runner import CoreAIRunner

        return CoreAIRunner(package)
    if request.runtime == "coreml":
        from ..mil.mac import CoreMLRunner

        return CoreMLRunner(package)
    from ..runtime.runner import PackageRunner

    return PackageRunner(package, arithmetic=request.arithmetic)


def _photos(
    stage: RunningStage, model: LoadedModel, request: ParityRequest, split: str | None, *, few: bool = False
) -> Frames:
    """The photos to compare on, with warnings about what they cannot show.

    Args:
        split: of the calibration set; None: all photographs.
        few: use only `CORE_AI_PHOTOS` of the bundled ones.
    """
    frames = load_frames(request.data, model.spec, split=split, kinds=model.kinds)
    if request.data is None and model.kinds and not request.kinds:
        stage.warnings.append(
            kinds_warning(model, f"the masks are compared on the {len(frames)} bundled photographs of that kind")
        )
    if few and request.data is None:
        frames = few_photos(stage, frames)
    if frames.without_depth:
        stage.warnings.append(stand_in_note(len(frames.without_depth), len(frames)))
    return frames


def few_photos(stage: RunningStage, frames: Frames) -> Frames:
    """A few of the bundled photographs, evenly spread, with a warning: Apple's runtime on Linux is slow."""
    chosen = frames.spread(CORE_AI_PHOTOS)
    if len(chosen) < len(frames):
        stage.warnings.append(
            f"Core AI's runtime is slow off a Mac, so {len(chosen)} of the {len(frames)} bundled photographs are used;"
            " `data=` uses a folder of yours, all of it."
        )
    return chosen


def _device_runner(bundle: DeviceBundle) -> Runner:
    from ..inputs.bundle import DeviceRunner

    return DeviceRunner(bundle)


def _device_frames(
    stage: RunningStage, bundle: DeviceBundle, model: LoadedModel, request: ParityRequest
) -> DeviceFrames:
    """The bundle's frames at a model's size, without bundled photographs of kinds that the model does not support."""
    from ..inputs.bundle import DeviceFrames

    entries = [entry for entry in bundle.entries if entry.size == size_of(model)]
    frames = DeviceFrames(entries, load_frames(request.data, replace(model.spec, resize=bundle.spec.resize)))
    if not model.kinds:
        return frames
    kept = frames.of_kinds(model.kinds)
    if len(kept) < len(frames) and not request.kinds:
        consequence = f"{len(frames) - len(kept)} of the bundle's {len(frames)} photographs are left out"
        stage.warnings.append(kinds_warning(model, consequence))
    return kept


def _device_notes(bundle: DeviceBundle, frames: Compared) -> tuple[str, ...]:
    return tuple(note for note in (getattr(frames, "note", ""), bundle.timings) if note)


def _one_colour_warnings(report: ParityReport, model: LoadedModel) -> list[str]:
    """Warn if the masks of a trained model are of one colour, or nearly, on every photograph with people."""
    from ..verify.gates import vacuous_notes
    from ..verify.scores import one_colour_warning

    score = report.summary
    if not model.trained or not score.with_people:
        return []
    if score.with_people in (score.both_empty, score.both_full):
        return vacuous_notes(score)
    nearly = one_colour_warning([image.person_share for image in report.images if image.kind != EMPTY])
    return [nearly] if nearly else []


def _origin_notes(candidate: Runner, frame: Frame | None) -> tuple[str, ...]:
    """Name the package's operations that give NaN or infinity on a frame; nothing for Core ML's or a device's masks."""
    from ..runtime.runner import PackageRunner
    from ..runtime.values import values_of_program
    from ..verify.non_finite import Extent, describe_origin, extent, origins

    if frame is None or not isinstance(candidate, PackageRunner):
        return ()
    extents: dict[str, Extent] = {}

    def note(name: str, value: Any) -> None:
        extents[name] = extent(value.detach().cpu().numpy())

    program = candidate.program
    candidate.predict(frame, hook=note)
    outputs = [feature.name for feature in program.outputs]
    named = [name for name in (candidate.logits_name,) if name is not None]
    values = values_of_program(program)
    found = origins(values, extents, [*outputs, *named])
    arithmetic = program.environment.arithmetic
    typed_half = {r.name for step in program.plan.block.instructions for r in step.results if r.dtype == "fp16"}
    return tuple(
        describe_origin(
            value,
            extents,
            frame.name,
            half=arithmetic == "fp16" or (arithmetic == "as_typed" and value.name in typed_half),
        )
        for value in found[:ORIGINS]
    )


def _step_notes(candidate: Runner, compared: Comparison | None) -> tuple[str, ...]:
    """How many 8-bit steps of a quantized network half precision moves; nothing for other packages and runtimes."""
    from ..runtime.runner import PackageRunner
    from ..runtime.values import values_of_program
    from ..verify.metrics import mask_iou
    from ..verify.moved_steps import describe_moved, moved_steps, rounded_values

    if compared is None or not compared.score.finite or not isinstance(candidate, PackageRunner):
        return ()
    program = candidate.program
    names = set(rounded_values(values_of_program(program), [feature.name for feature in program.outputs]))
    if not names or program.environment.arithmetic == "fp32":
        return ()
    frame = compared.labelled.frame
    exact_runner = PackageRunner(program.program.path, arithmetic="fp32")
    half, exact = _values_named(candidate, frame, names), _values_named(exact_runner, frame, names)
    steps = moved_steps(exact, half)
    if not steps.moved:
        return ()
    [precise] = exact_runner.run([frame])
    iou = mask_iou(compared.reference.probability, precise.probability, compared.threshold)
    return (describe_moved(steps, compared.score.name, iou_half=compared.score.iou, iou_exact=iou),)


def _other_ways(recipe: Recipe, rounding: str, size_bytes: int) -> tuple[str, ...]:
    """Better ways to store the weights of a package that fails a gate on masks, if there are any."""
    advice = []
    if rounding == "nearest":
        advice.append(
            "Weights were rounded without photographs. `rounding=gptq` compensates the errors by measurements on some."
        )
    if 0 < recipe.bits < 8:
        advice.append(
            f"{recipe.name} has too few bits for some of these weights. `quantize=mixed` with"
            f" `max_mb={size_bytes / 1e6:.2f}` chooses the bits of each weight: as large a package, with better masks."
            " `quantize=int8` changes them least."
        )
    return tuple(advice)


def _half_notes(candidate: Runner, compared: Comparison | None, report: ParityReport, kind: str) -> tuple[str, ...]:
    """Whether half precision is why a gate on masks failed; nothing where none did, or for other runtimes."""
    from ..runtime.runner import PackageRunner
    from ..verify.gates import UNDECIDED, fails_on_masks
    from ..verify.half_loss import NEAR_THRESHOLD, describe_half
    from ..verify.metrics import mask_iou

    if compared is None or not compared.score.finite or not fails_on_masks(report.gates):
        return ()
    if not isinstance(candidate, PackageRunner) or candidate.program.environment.arithmetic == "fp32":
        return ()
    frame = compared.labelled.frame
    [precise] = PackageRunner(candidate.program.program.path, arithmetic="fp32").run([frame])
    exact = mask_iou(compared.reference.probability, precise.probability, compared.threshold)
    found = describe_half(compared.score.name, half=compared.score.iou, exact=exact)
    undecided = kind == "fp16" and report.summary.flipped_margin <= UNDECIDED
    return found or (NEAR_THRESHOLD,) * undecided


def _values_named(runner: PackageRunner, frame: Frame, names: Collection[str]) -> dict[str, np.ndarray]:
    """What a package computes under some names on a frame."""
    kept: dict[str, np.ndarray] = {}

    def keep(name: str, value: Any) -> None:
        if name in names:
            kept[name] = value.detach().cpu().numpy()

    runner.predict(frame, hook=keep)
    return kept


def _parity_summary(report: ParityReport, model: LoadedModel) -> str:
    failed = sum(not gate.passed for gate in report.gates)
    verdict = "all gates passed" if not failed else f"{failed} of {len(report.gates)} gates FAILED"
    mean = report.summary.iou_mean
    masks = f", mean mask IoU {mean:.5f}" if model.trained and mean is not None else ""
    what = "frames" if model.carried else "photographs"
    return f"{len(report.images)} {what}{masks}, {verdict}"
