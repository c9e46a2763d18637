"""Search for the best choice of storage within a budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..utils.bounds import at_least, at_most
from ..utils.stages import RunningStage
from .requests import CoreMLRequest
from .sensitivities import Trial, digest_of
from .trials import Trials

if TYPE_CHECKING:
    from ..quantize.knapsack import Choice
    from ..quantize.knapsack import Path as Frontier

FIRST_SHARE = 0.3  # of the bytes of half precision that the first choice takes: between four and five bits
MOST_TRIALS = 7
CAUTION = 0.9  # of the loss that is allowed, aimed for
CLOSE = 0.01  # of the weights' size: a trial that could save less is not worth its time
FITS = 12  # attempts to meet a size
MOST_SWAPS = 3  # within a size
LEAST_LOSS = 1e-6  # of a trial without any, so that the next one can be scaled from it


def search(stage: RunningStage, frontier: Frontier, trials: Trials, request: CoreMLRequest) -> Choice:
    """The best choice within the request's size, or the smallest with its mask IoU.

    If there is none, the nearest one is returned, and the stage warns that the budget is not reachable.
    """
    if request.max_mb is not None:
        return _largest(stage, frontier, trials, request.max_mb, request.min_iou)
    assert request.min_iou is not None
    return _smallest(stage, frontier, trials, request.min_iou)


def _largest(stage: RunningStage, frontier: Frontier, trials: Trials, max_mb: float, min_iou: float | None) -> Choice:
    """The choice of least predicted error within a size; if its masks are not good enough, swapped for a better one."""
    from ..quantize.knapsack import total_bytes, total_error

    most = round(max_mb * 1e6)
    choice, size = _fullest(frontier, trials, most)
    stage.summary = f"{size / 1e6:.2f} of {max_mb:g} MB, predicted loss {total_error(choice):.3g}"
    if size > most:
        found = at_most(size / 1e6, 4)
        stage.warnings.append(f"Not reachable: best found {found} MB; at most {max_mb:g} MB is asked for.")
    elif min_iou is not None:
        first = choice
        choice, trial = _swapped(stage, trials, first, most)
        stage.summary += f", mask IoU {trial.iou:.5f} on photographs that were not fitted"
        if not trial.passed:
            count = frontier.within_error(total_error(first) * _scale(trials.judge(stage, first), min_iou))
            needed = size - total_bytes(first) + total_bytes(frontier.choice(count))
            stage.warnings.append(
                f"{_not_reachable(trial, min_iou)} within {max_mb:g} MB, and are predicted to need"
                f" {needed / 1e6:.2f} MB."
            )
    return choice


def _fullest(frontier: Frontier, trials: Trials, most: int) -> tuple[Choice, int]:
    """The best choice whose package has at most so many bytes, and its size; the smallest one if none has."""
    from ..quantize.knapsack import total_bytes

    choice = frontier.smallest
    size = trials.size_bytes(choice)
    room = most - (size - total_bytes(choice))
    for _ in range(FITS):
        fuller = frontier.within_size(room)
        found = trials.size_bytes(fuller)
        if found <= most:
            return fuller, found
        room = total_bytes(fuller) - (found - most)  # below what was chosen, so the next choice is another one
    return choice, size


def _swapped(stage: RunningStage, trials: Trials, choice: Choice, most: int) -> tuple[Choice, Trial]:
    """The first choice of the same size that passes, or else the best one, with its trial.

    The errors of the weights that are predicted to harm most are measured, and the choice is made anew: weights that
    harm more than predicted get bits from those that harm less.
    """
    from ..quantize.knapsack import path_of

    best = last = trials.judge(stage, choice)
    kept, options, tried = choice, trials.options, {digest_of(choice)}
    for _ in range(MOST_SWAPS):
        if last.passed:
            break
        options = trials.corrected(stage, options, choice)
        before, (choice, _size) = choice, _fullest(path_of(options), trials, most)
        if digest_of(choice) in tried:
            break
        tried.add(digest_of(choice))
        last = trials.judge(stage, choice)
        stage.details.append(f"swapped, mask IoU {last.iou:.5f}: {_difference(before, choice)}")
        if (last.passed, last.iou) > (best.passed, best.iou):
            kept, best = choice, last
    return kept, best


def _difference(before: Choice, after: Choice) -> str:
    moved = {name: (before[name].name, one.name) for name, one in after.items() if one.name != before[name].name}
    return "; ".join(f"{name} {old} → {new}" for name, (old, new) in moved.items())


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
        stage.warnings.append(f"{_not_reachable(result, min_iou)}.")
    return best


def _not_reachable(best: Trial, min_iou: float) -> str:
    found = f"best found {at_least(best.iou, 5)} in {at_most(best.size_bytes / 1e6, 4)} MB"
    return f"Not reachable: {found}; {min_iou:g} and the other gates are asked for"


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
