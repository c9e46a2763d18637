"""Score anything that segments against ground-truth masks, and keep the worst photos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..artifacts import EMPTY
from ..errors import UsageError
from ..inputs.frames import load_frames, require_depth, require_own_pictures
from ..inputs.runners import open_runner
from ..inputs.sources import ModelSource
from ..preprocessing import PortraitSpec
from ..utils.stages import Observer, Stages
from .parity import few_photos

if TYPE_CHECKING:
    from ..artifacts import LabelledFrame, Prediction, Runner
    from ..training.evaluate import Evaluation, Score, WorstCase
    from ..utils.stages import RunningStage


@dataclass(frozen=True)
class EvaluateRequest:
    """The arguments of `evaluate_masks`.

    Attributes:
        source: a registered model, a checkpoint, or a network of the user's own.
        package: a saved package instead; `source.size` is then one of its sizes.
        data: a folder with masks; None uses the bundled calibration set.
        split: use only this split.
        worst: how many of the worst photos to keep.
    """

    source: ModelSource
    package: Path | None = None
    data: Path | None = None
    split: str | None = None
    worst: int = 8


@dataclass(frozen=True)
class EvaluateResult:
    """The scores, and the photos with the lowest ones, worst first."""

    scores: Evaluation
    worst: tuple[WorstCase, ...]


def evaluate_masks(request: EvaluateRequest, observer: Observer) -> EvaluateResult:
    """Segment every photo and compare the mask with the ground truth.

    Raises:
        PortraitError: nothing or several things to evaluate; photos, masks or depth maps that cannot be used.
    """
    from ..coreai.asset import is_asset
    from ..training.evaluate import Worst, evaluate
    from ..verify.metrics import boundary_f, mask_iou
    from ..verify.scores import one_colour_warning

    stages = Stages(observer)
    with stages.stage("load") as stage:
        runner, spec = runner_of(request, stage)
        frames = load_frames(request.data, spec, split=request.split)
        if request.data is None and request.package is not None and is_asset(request.package):
            frames = few_photos(stage, frames)
        require_depth(frames, name=runner.name)
        require_own_pictures(frames, name=runner.name)
        stage.summary = f"{runner.name}, {len(frames)} photographs at {spec.height}x{spec.width}"
    worst = Worst(request.worst)
    with stages.stage("evaluate") as stage:
        done = 0

        def keep(labelled: LabelledFrame, prediction: Prediction, score: Score) -> None:
            nonlocal done
            done += 1
            worst(labelled, prediction, score)
            stage.progress(done, len(frames))

        scores = evaluate(runner, frames, iou=mask_iou, boundary_f=boundary_f, threshold=spec.threshold, on_image=keep)
        stage.summary = _summary(scores)
        warning = one_colour_warning([score.person_share for score in scores.scores if score.kind != EMPTY])
        stage.warnings += [warning] if warning else []
    return EvaluateResult(scores, tuple(worst.cases))


def _summary(scores: Evaluation) -> str:
    if scores.iou_mean is None:
        return f"a person found on {scores.empty_with_person} of {len(scores.empty)} empty pictures"
    return f"mean IoU {scores.iou_mean:.4f}, worst {scores.iou_worst:.4f}"


def runner_of(request: EvaluateRequest, stage: RunningStage) -> tuple[Runner, PortraitSpec]:
    """Return the one Runner that the request names, and its preprocessing."""
    source = request.source
    named = {
        "`package=`": request.package,
        "`onnx=`, `torch=` or `torchscript=`": source.foreign,
        # A network in torch code has its weights in a checkpoint.
        "`model=` or `checkpoint=`": source.model or (source.checkpoint if source.foreign is None else None),
    }
    chosen = [name for name, value in named.items() if value is not None]
    if len(chosen) != 1:
        found = f"{' and '.join(chosen)} cannot be used together" if chosen else "Nothing to evaluate"
        raise UsageError(f"{found}: pass exactly one of {'; '.join(named)}.")
    if request.package is not None and source.random_weights:
        raise UsageError("`package=` and `random_weights=True` cannot be used together: a package has its own weights.")
    opened = open_runner(source, request.package)
    stage.details += opened.notes
    stage.warnings += opened.warnings
    if opened.carried:
        stage.warnings.append(f"{opened.first_frame_note}, which scores none of what is carried.")
    return opened.runner, opened.spec
