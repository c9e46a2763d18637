"""Leave operations in half precision until the masks pass their gates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ExecutionError
from ..inputs.runners import RememberingRunner
from ..preprocessing import LOGITS_KEY, PortraitSpec
from ..utils.evenly import evenly
from .sensitivities import GRADIENT_PHOTOGRAPHS, SUMS

if TYPE_CHECKING:
    from torch import Tensor

    from ..artifacts import LabelledFrame, Lowered, Runner
    from ..mil.compile import CompiledProgram
    from ..mil.encoded import ActivationGrid, Activations
    from ..mil.program import Metadata
    from ..quantize.activation_layers import Candidates
    from ..runtime.runner import PackageRunner
    from ..utils.stages import RunningStage
    from ..verify.gates import Gate, Thresholds

CAUTION = 0.7  # of the loss that the gates allow, aimed for: photographs that are not measured may lose more
MOST_TRIALS = 3
MASK_GATES = ("mean_mask_iou", "worst_mask_iou", "mean_flipped_share", "worst_flipped_share")
LEAST_LOSS = 1e-6  # that a gate allows, if it is met by equal masks alone


@dataclass(frozen=True)
class Rounding:
    """A program, and how its values are rounded.

    Attributes:
        compiled, lowered: without compression.
        metadata: of the package.
        package: the compiled program as it was saved.
        frames: to measure on.
        candidates: the operations that could read 8-bit values.
        ends: the range of each value.
        zeros: whether the grids have zero points.
    """

    compiled: CompiledProgram
    lowered: Lowered
    metadata: Metadata
    package: Path
    frames: Sequence[LabelledFrame]
    candidates: Candidates
    ends: Mapping[str, tuple[float, float]]
    zeros: bool

    @property
    def trial(self) -> Path:
        """Where packages are written to be tried."""
        return self.package.with_name("trial.mlpackage")

    def program(self, activations: Activations) -> CompiledProgram:
        """The program whose operations read 8-bit values as decided."""
        from ..mil.activations import quantize_activations

        return quantize_activations(self.compiled, self.package, activations.layers, self.ends, asymmetric=self.zeros)


def spare(
    stage: RunningStage, rounding: Rounding, activations: Activations, thresholds: Thresholds
) -> tuple[Activations, CompiledProgram]:
    """Leave the operations out whose values move the masks most, as many as the gates ask for.

    The masks of the rounded program are compared with those of the uncompressed one. If they lose too much, gradients
    say what each value does to them; a loss is taken to grow with the square root of that.

    Args:
        activations: what was decided by the values alone.
        thresholds: of the gates.
    Returns:
        What is decided now, and the program with it.
    """
    from ..quantize.activation_budget import within
    from ..runtime.runner import PackageRunner

    runner = PackageRunner(rounding.package)
    expected = RememberingRunner(runner)
    moved: dict[str, float] | None = None
    kept, found, tried = 1.0, activations, []
    for trial in range(1, MOST_TRIALS + 1):
        program = rounding.program(found)
        loss = _loss(stage, rounding, expected, program, thresholds)
        tried.append(
            f"{len(found.layers)} operations with 8-bit values: {loss:.2f} times the loss that the gates allow"
        )
        if loss <= CAUTION or trial == MOST_TRIALS:
            break
        if moved is None:
            try:
                moved = _moved(stage, rounding, runner, activations.grids)  # of the first trial: it rounds all of them
            except ExecutionError as error:
                stage.warnings.append(
                    _unmended(loss, f"which of them do cannot be measured ({error.message.rstrip('.')})")
                )
                break
        kept *= (CAUTION / loss) ** 2
        fewer = within(rounding.candidates, activations, moved, kept=kept)
        if not fewer.layers:
            stage.warnings.append(_unmended(loss, "without the worst of them none are left"))
            break
        found = fewer
    if 2 * len(found.layers) < len(activations.layers):
        stage.warnings.append(
            f"Only {len(found.layers)} of {len(activations.layers)} operations read 8-bit values: with more, masks are"
            " likely to fail their gates. `quantize=int8` stores the weights alone in 8 bits."
        )
    stage.summary = tried[-1]
    stage.details = tried[:-1]
    return found, program


def _unmended(loss: float, why: str) -> str:
    return f"8-bit values lose {loss:.2f} times what the gates of the masks allow, and {why}."


def _loss(
    stage: RunningStage, rounding: Rounding, expected: Runner, program: CompiledProgram, thresholds: Thresholds
) -> float:
    """What the masks lose by rounding, in units of what the gates allow; 0 if no gate is about masks.

    Args:
        expected: of the uncompressed program.
        program: the rounded one.
    """
    from ..mil.package import save_package
    from ..runtime.runner import PackageRunner
    from ..verify.parity import compare

    save_package(program, rounding.lowered, rounding.trial, metadata=rounding.metadata, force=True)
    step = stage.counter(len(rounding.frames))
    trial = PackageRunner(rounding.trial)
    threshold = (trial.spec or PortraitSpec()).threshold
    report = compare(expected, trial, rounding.frames, thresholds, threshold=threshold, on_image=step)
    return max((share_lost(gate) for gate in report.gates if gate.name.split(".")[0] in MASK_GATES), default=0.0)


def share_lost(gate: Gate) -> float:
    """What a gate of masks found in units of what it allows; 0 if it is not a number."""
    if not math.isfinite(gate.value):
        return 0.0
    if gate.better == "at_least":
        return (1 - gate.value) / max(1 - gate.threshold, LEAST_LOSS)
    return gate.value / max(gate.threshold, LEAST_LOSS)


def _moved(
    stage: RunningStage, rounding: Rounding, runner: PackageRunner, grids: Mapping[str, ActivationGrid]
) -> dict[str, float]:
    """The mean over pixels of the squared change of P(person) that rounding each value makes, by gradients.

    Only of values that the trial's package rounds: a layer's result that a fused activation function reads is not.

    Raises:
        ExecutionError: the network has no logits or no gradients.
    """
    from ..mil.activations import rounded_values
    from ..mil.program import read_program
    from ..runtime.value_gradients import ValueGradients, mean_of

    logits = rounding.metadata.user_defined.get(LOGITS_KEY, "")
    if not logits:
        raise ExecutionError("it has no logits")
    gradients = ValueGradients(rounding.package, logits)
    rounded = {value.name for value in rounded_values(read_program(rounding.trial))}
    errors = {name: _Error(grid) for name, grid in grids.items() if name in rounded}
    frames, found = evenly(rounding.frames, GRADIENT_PHOTOGRAPHS), []
    for done, one in enumerate(frames):
        stage.progress(done, len(frames))
        found.append(gradients.of(runner.inputs_of(one.frame), errors, SUMS))
    return mean_of(found)


@dataclass(frozen=True)
class _Error:
    """What a grid adds to a value, as `ActivationGrid.rounded` rounds."""

    grid: ActivationGrid

    def __call__(self, value: Tensor) -> Tensor:
        zero = self.grid.zero_point
        steps = (value / self.grid.scale).round_().add_(zero).clamp_(-128, 127).sub_(zero)
        return steps.mul_(self.grid.scale).sub_(value)
