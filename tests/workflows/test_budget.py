"""The search within a size and a mask IoU, on weights whose errors are known and predicted wrongly."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from portrait_export.quantize.knapsack import Option, corrected, total_bytes
from portrait_export.utils.stages import RunningStage, SilentObserver
from portrait_export.workflows.budget import search
from portrait_export.workflows.sensitivities import Trial

BITS = {"palette2": 2, "palette3": 3, "palette4": 4, "palette6": 6, "int8": 8}
BAR = 0.9
OVERHEAD = 100  # bytes of a package beside its weights


class Trials:
    """Ten weights of 1000 elements; `harm` is by how much each is worse than predicted. The loss is the true error."""

    def __init__(self, harm: dict[str, float]):
        self.harm = harm
        self.options = {
            f"w{n}": [Option(name, 125 * bits, (1 + n / 10) * 4.0**-bits) for name, bits in BITS.items()]
            for n in range(10)
        }
        self.judged: list[int] = []

    def true_error(self, name: str, option: str) -> float:
        return next(one.error for one in self.options[name] if one.name == option) * self.harm.get(name, 1.0)

    def size_bytes(self, choice):
        return total_bytes(choice) + OVERHEAD

    def judge(self, stage, choice):
        loss = sum(self.true_error(name, one.name) for name, one in choice.items())
        self.judged.append(self.size_bytes(choice))
        return Trial(self.size_bytes(choice), 1 - loss, loss <= 1 - BAR)

    def corrected(self, stage, options, choice):
        changed = {n: corrected(options[n], one.name, self.true_error(n, one.name)) for n, one in choice.items()}
        return {**options, **changed}


def run(trials: Trials, max_bytes: int, min_iou: float | None):
    from portrait_export.quantize.knapsack import path_of

    stage = RunningStage("budget", SilentObserver())
    request = SimpleNamespace(max_mb=max_bytes / 1e6, min_iou=min_iou)
    return search(stage, path_of(trials.options), trials, request), stage


ROOM = OVERHEAD + 10 * 500  # four bits for every weight


def test_a_weight_that_harms_more_than_predicted_gets_bits_from_the_others():
    trials = Trials({"w0": 60.0})
    without, _ = run(trials, ROOM, None)
    assert without["w0"].name == "palette4"
    assert not trials.judge(None, without).passed
    choice, stage = run(trials, ROOM, BAR)
    assert BITS[choice["w0"].name] > 4
    assert trials.judge(None, choice).passed
    assert trials.size_bytes(choice) <= ROOM
    assert stage.warnings == []
    assert any("w0 palette4 → " in line for line in stage.details)


class WithDecoders(Trials):
    """A package needs further bytes for each weight that is not stored in the smallest way."""

    def size_bytes(self, choice):
        return super().size_bytes(choice) + 5 * sum(one.name != "palette2" for one in choice.values())


def test_a_size_that_is_missed_by_a_byte_is_met_by_a_choice_a_little_smaller():
    """Weights change in steps of 125 bytes, so the same choice fits into 49 smaller sizes, too."""
    trials = WithDecoders({})
    most = ROOM + 49  # the decoders of four bits for every weight take 50
    choice, stage = run(trials, most, None)
    assert stage.warnings == []
    assert most - 250 < trials.size_bytes(choice) <= most


def test_what_no_swap_reaches_is_reported_with_the_best_that_was_found():
    trials = Trials({f"w{n}": 60.0 for n in range(10)})
    choice, stage = run(trials, ROOM, BAR)
    best = trials.judge(None, choice)
    assert not best.passed
    assert best.size_bytes <= ROOM
    (warning,) = stage.warnings
    found = float(warning.removeprefix("Not reachable: best found ").split()[0])
    assert found == pytest.approx(best.iou, rel=1e-4)
    assert found < best.iou + 1e-12  # a bar that is missed by little must not look met
    assert max(trials.judged) <= ROOM


def test_a_choice_that_passes_is_not_swapped():
    trials = Trials({})
    choice, stage = run(trials, OVERHEAD + 10 * 1000, BAR)
    assert {one.name for one in choice.values()} == {"int8"}
    assert len(trials.judged) == 1
    assert stage.details == []


@pytest.mark.parametrize(
    ("error", "expected"),
    [(0.4, [3.2, 0.4, 0.01]), (0.05, [0.4, 0.05, 0.01]), (0.005, [0.04, 0.005, 0.005]), (0.0, [0.0, 0.0, 0.0])],
)
def test_a_measured_error_corrects_those_of_the_other_options(error, expected):
    options = [Option("palette2", 1, 0.8), Option("palette4", 2, 0.1), Option("int8", 4, 0.01)]
    assert [one.error for one in corrected(options, "palette4", error)] == pytest.approx(expected)
