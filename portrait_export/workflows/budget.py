"""Search for the best choice of storage within a budget: try it on photographs that were not fitted, and correct it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..inputs.runners import RememberingRunner
from ..inputs.sources import LoadedModel
from ..utils.stages import RunningStage, Stages
from .requests import CoreMLRequest
from .sensitivities import Measured, Trial, digest_of

if TYPE_CHECKING:
    from ..artifacts import Lowered, Runner
    from ..inputs.frames import Frames
    from ..mil.compile import CompiledProgram
    from ..mil.encoded import Compression
    from ..mil.package import SavedPackage
    from ..mil.program import Metadata
    from ..quantize.knapsack import Choice
    from ..quantize.knapsack import Path as Frontier
    from ..quantize.layers import Weights
    from ..quantize.sensitivity import Encoder
    from ..verify.parity import Comparison

FIRST_SHARE = 0.3  # of the bytes of half precision that the first choice takes: between four and five bits
MOST_TRIALS = 7
CAUTION = 0.9  # of the loss that is allowed, aimed for
CLOSE = 0.01  # of the weights' size: a trial that could save less is not worth its time
FITS = 6  # attempts to meet a size exactly
LEAST_LOSS = 1e-6  # of a trial without any, so that the next one can be scaled from it


@dataclass(frozen=True)
class Work:
    """A compiled program and what is asked of it.

    Attributes:
        compiled: without compression.
        uncompressed: a package with it.
        weights: in it.
    """

    stages: Stages
    compiled: CompiledProgram
    lowered: Lowered
    model: LoadedModel
    request: CoreMLRequest
    metadata: Metadata
    uncompressed: SavedPackage
    weights: Weights

    @property
    def path(self) -> Path:
        """The uncompressed package's."""
        return self.uncompressed.path


class Trials:
    """Makes packages of choices, and judges their masks. Results are kept with the sensitivities."""

    def __init__(self, work: Work, encoder: Encoder, measured: Measured, frames: Frames):
        self._work, self._encoder, self._measured, self._frames = work, encoder, measured, frames
        self._package = work.path.with_name("trial.mlpackage")
        self._reference: Runner | None = None

    def compression(self, choice: Choice) -> Compression:
        """The encoded weights of a choice."""
        from ..mil.encoded import Compression, EncodedWeight
        from ..quantize.sensitivity import NONE

        encoded, errors = {}, {}
        for name, option in choice.items():
            form = self._encoder(name, option.name) if option.name != NONE else ""
            if isinstance(form, EncodedWeight):
                encoded[name] = form
                if name in self._encoder.hessians:
                    errors[name] = self._encoder.share_of_output(name, option.name)
        return Compression(encoded, self._encoder.assignment(choice).left, errors)

    def size_bytes(self, choice: Choice) -> int:
        """The size of the package of a choice, which is written."""
        from ..mil.package import save_package
        from ..mil.store import store

        work = self._work
        compiled = store(work.compiled.copy(), self.compression(choice).encoded)
        return save_package(compiled, work.lowered, self._package, metadata=work.metadata, force=True).size_bytes

    def judge(self, stage: RunningStage, choice: Choice) -> Trial:
        """Compare the masks of a choice with the model's."""
        from ..runtime.runner import PackageRunner
        from ..verify.gates import thresholds_for
        from ..verify.parity import compare

        digest = digest_of(choice)
        if digest not in self._measured.trials:
            size = self.size_bytes(choice)
            work, done = self._work, 0

            def step(compared: Comparison) -> None:
                nonlocal done
                done += 1
                stage.progress(done, len(self._frames))

            if self._reference is None:
                self._reference = RememberingRunner(work.model.open_runner())
            thresholds = thresholds_for("mixed", trained=work.model.trained, min_iou=work.request.min_iou)
            report = compare(
                self._reference,
                PackageRunner(self._package),
                self._frames,
                thresholds,
                threshold=work.model.spec.threshold,
                on_image=step,
            )
            ious = [gate.value for gate in report.gates if gate.name.startswith("mean_mask_iou")]
            self._measured.trials[digest] = Trial(size, min(ious, default=0.0), report.passed)
            self._measured.save()
        return self._measured.trials[digest]


def search(stage: RunningStage, frontier: Frontier, trials: Trials, request: CoreMLRequest) -> Choice:
    """The best choice within the request's size, or the smallest with its mask IoU.

    If there is none, the nearest one is returned, and the stage warns that the budget is not reachable.
    """
    if request.max_mb is not None:
        return _largest(stage, frontier, trials, request.max_mb, request.min_iou)
    assert request.min_iou is not None
    return _smallest(stage, frontier, trials, request.min_iou)


def _largest(stage: RunningStage, frontier: Frontier, trials: Trials, max_mb: float, min_iou: float | None) -> Choice:
    from ..quantize.knapsack import total_bytes, total_error

    most = round(max_mb * 1e6)
    choice = frontier.smallest
    size = trials.size_bytes(choice)
    room = most - (size - total_bytes(choice))
    for _ in range(FITS):
        fuller = frontier.within_size(room)
        found = trials.size_bytes(fuller)
        if found <= most:
            choice, size = fuller, found
            break
        room -= found - most
    stage.summary = f"{size / 1e6:.2f} of {max_mb:g} MB, predicted loss {total_error(choice):.3g}"
    if size > most:
        stage.warnings.append(f"Not reachable: best found {size / 1e6:.3f} MB; at most {max_mb:g} MB is asked for.")
    elif min_iou is not None:
        trial = trials.judge(stage, choice)
        stage.summary += f", mask IoU {trial.iou:.5f} on photographs that were not fitted"
        if not trial.passed:
            count = frontier.within_error(total_error(choice) * _scale(trial, min_iou))
            needed = size - total_bytes(choice) + total_bytes(frontier.choice(count))
            stage.warnings.append(
                f"Not reachable: best found {trial.iou:.5f} in {size / 1e6:.3f} MB; {min_iou:g} is asked for within"
                f" {max_mb:g} MB, and is predicted to need {needed / 1e6:.2f} MB."
            )
    return choice


def _smallest(stage: RunningStage, frontier: Frontier, trials: Trials, min_iou: float) -> Choice:
    """Try points of the frontier: a loss is taken to grow with the square root of the predicted error.

    A choice that fails is mended by reverting the weights whose rounding harms most for the bytes that it saves, as
    many as the measured loss asks for.
    """
    from ..quantize.knapsack import total_bytes, total_error

    low, high, passing = -1, len(frontier.steps) + 1, False
    whole = total_bytes(frontier.choice(len(frontier.steps)))
    count = next(n for n in range(high) if total_bytes(frontier.choice(n)) >= FIRST_SHARE * whole or n == high - 1)
    tried: list[str] = []
    for attempt in range(MOST_TRIALS):
        choice = frontier.choice(count)
        trial = trials.judge(stage, choice)
        tried.append(f"{trial.size_bytes / 1e6:.2f} MB: {trial.iou:.5f}{'' if trial.passed else ', failed'}")
        passing, low, high = (True, low, count) if trial.passed else (passing, count, high)
        guess = frontier.within_error(total_error(choice) * _scale(trial, min_iou))
        if not trial.passed and attempt == MOST_TRIALS - 2 and not passing:
            guess = len(frontier.steps)
        count = min(max(guess, low + 1), high - 1)
        if low + 1 >= high or (passing and _saved(frontier, count, high) < CLOSE):
            break
    best = frontier.choice(high if passing else len(frontier.steps))
    result = trials.judge(stage, best)
    stage.summary = (
        f"{result.size_bytes / 1e6:.2f} MB with mask IoU {result.iou:.5f} on photographs that were not fitted,"
        f" after {len(tried)} trials"
    )
    stage.details = tried
    if not result.passed:
        stage.warnings.append(
            f"Not reachable: best found {result.iou:.5f} in {result.size_bytes / 1e6:.3f} MB;"
            f" {min_iou:g} and the other gates are asked for."
        )
    return best


def _saved(frontier: Frontier, count: int, high: int) -> float:
    """The share of the weights' bytes that a choice saves against another."""
    from ..quantize.knapsack import total_bytes

    after = total_bytes(frontier.choice(high))
    return (after - total_bytes(frontier.choice(count))) / after


def _scale(trial: Trial, min_iou: float) -> float:
    """By how much a predicted error must change for the loss to be the allowed one, or less if other gates failed."""
    loss, allowed = max(1 - trial.iou, LEAST_LOSS), max(CAUTION * (1 - min_iou), LEAST_LOSS)
    scale = min(max((allowed / loss) ** 2, 1e-3), 1e3)
    return scale if trial.passed else min(scale, 0.7)
