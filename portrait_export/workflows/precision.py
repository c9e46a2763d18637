"""Choose the operations that `precision=auto` keeps in float32.

Each value alone is put into half precision, and the change of the logits is measured. The values that change them most,
and those that overflow, are kept: the operation that computes the value and those that read it.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..inputs.frames import load_frames
from ..inputs.sources import LoadedModel
from ..utils.stages import RunningStage, SilentObserver, Stages
from . import steps
from .parity import compare_masks
from .records import facts_of
from .recurrent import fitted_frames
from .requests import CoreMLRequest

if TYPE_CHECKING:
    import torch

    from ..artifacts import Frame, LabelledFrame, Lowered
    from ..mil.program import Function
    from ..quantize.recipe import Recipe
    from ..runtime.held import HeldRun
    from ..runtime.runner import PackageRunner
    from ..verify.parity import ParityReport

PHOTOGRAPHS = 2  # on which the losses are measured
LOGITS_PER_P = 4.0  # d logit / dP at P = ½, where the mask's edge is
_ROUNDED = ("round", "cast")
REMAINING = (1 / 4, 1 / 16, 1 / 32, 1 / 64)  # shares of the loss that may be left, tried in order until the gates pass


@dataclass(frozen=True)
class _Job:
    """What one trial package is made from."""

    models: Sequence[LoadedModel]
    lower: Callable[[], Lowered]
    recipe: Recipe
    request: CoreMLRequest
    folder: Path

    def package(self, name: str, *, precision: str = "fp16", keep: Sequence[str] = ()) -> Path:
        """Save a package with these operations in float32, and return its path."""
        path = self.folder / f"{name}.mlpackage"
        patterns = () if precision == "fp32" else (*self.request.keep_fp32, *keep)
        request = replace(self.request, precision=precision, keep_fp32=patterns)
        silent = Stages(SilentObserver())
        built = steps.compiled(silent, self.lower(), self.models, self.recipe, request, self.folder)
        return steps.save(silent, built, path, self.models[0], request).path

    def compare(self, package: Path) -> ParityReport:
        """Compare its masks with the model's."""
        silent, parity = Stages(SilentObserver()), self.request.parity
        assert parity is not None
        facts = facts_of(self.recipe, "fp16", self.request.target, self.request.rounding)
        return compare_masks(silent, self.models, package, facts, parity, None)


def require_parity(request: CoreMLRequest) -> None:
    """Raise UsageError if the masks, which decide, are not compared."""
    if request.parity is None:
        raise UsageError(
            "`precision=auto` chooses by the comparison of masks; it cannot be used with `parity=False`.",
            hint="name the operations with `keep_fp32=` instead.",
        )


def chosen(
    stages: Stages,
    models: Sequence[LoadedModel],
    lower: Callable[[], Lowered],
    recipe: Recipe,
    request: CoreMLRequest,
) -> CoreMLRequest:
    """Return the request in half precision with the operations to keep in float32: none if the gates pass without.

    Args:
        lower: returns the program to compile, anew each time.
    """
    with stages.stage("precision") as stage, tempfile.TemporaryDirectory() as folder:
        job = _Job(models, lower, recipe, request, Path(folder))
        half = job.package("half")
        report = job.compare(half)
        if report.passed:
            stage.summary = "half precision passes every gate; nothing more is kept in float32"
            return replace(request, precision="fp16")
        failed = len(report.gates) - sum(gate.passed for gate in report.gates)
        keep = _tried(stage, job, half, failed)
        return replace(request, precision="fp16", keep_fp32=(*request.keep_fp32, *keep))


def _tried(stage: RunningStage, job: _Job, half: Path, failed: int) -> list[str]:
    """Keep more and more operations until the gates pass; the last attempt is used if they never do."""
    from ..mil.program import read_program
    from ..verify.half_loss import choose

    exact = job.package("exact", precision="fp32")
    losses = _losses(stage, exact, half, job)
    function, selectable = read_program(exact).main, _in_half(read_program(half).main)
    keep: list[str] = []
    tried: list[dict[str, Any]] = []
    for remaining in REMAINING:
        values = choose(losses, remaining)
        keep = [name for name in _around(values, function) if name in selectable]
        if not keep or (tried and tried[-1]["operations"] == len(keep)):
            continue
        report = job.compare(job.package(f"trial{len(tried)}", keep=keep))
        bad = sum(not gate.passed for gate in report.gates)
        tried.append({"operations": len(keep), "loss_left": remaining, "failed_gates": bad})
        if not bad:
            break
    overflowing = sum(not math.isfinite(loss) for loss in losses.values())
    half_failed = f"{failed} gates fail in half precision, where {overflowing} values overflow"
    verdict = "pass" if tried and not tried[-1]["failed_gates"] else "still fail"
    stage.summary = f"{half_failed}; with {len(keep)} operations in float32 they {verdict}"
    stage.facts = {"tried": tried, "overflows": overflowing}
    stage.details = [f"{name}: {loss:.3g} squared error of the logits" for name, loss in _largest(losses)]
    if verdict != "pass":
        stage.warnings.append("Half precision is not the only reason for the failed gates; see `blame`.")
    return keep


def _largest(losses: Mapping[str, float], count: int = 20) -> list[tuple[str, float]]:
    return sorted(losses.items(), key=lambda item: -item[1])[:count]


def _in_half(function: Function) -> set[str]:
    """The names, in the float32 program, of the operations that a half-precision program computes in half."""
    from ..mil.mixed import SUFFIXES

    names = [name for op in function.block.operations if op.type != "cast" for name, _ in op.outputs]
    return {SUFFIXES.sub("", name) for name in names if SUFFIXES.search(name)}


def _around(values: Sequence[str], function: Function) -> list[str]:
    """The operations that compute or read some values, in the order of the program."""
    wanted = set(values)
    found: dict[str, None] = {}
    for op in function.block.operations:
        if wanted & set(op.references) or any(name in wanted for name, _ in op.outputs):
            found[op.outputs[0][0]] = None
    return list(found)


def _losses(stage: RunningStage, exact: Path, half: Path, job: _Job) -> dict[str, float]:
    """Measure each value's loss: the mean squared error of the logits if it alone is in half precision."""
    from ..runtime.runner import PackageRunner

    runners = PackageRunner(exact), PackageRunner(half)
    model, parity = job.models[0], job.request.parity
    chosen: Sequence[LabelledFrame]
    if model.carried:
        chosen = fitted_frames(model, None)[-PHOTOGRAPHS:]
    else:
        frames = load_frames(parity.data if parity else None, model.spec, kinds=model.kinds)
        chosen = frames.spread(PHOTOGRAPHS)
    totals: dict[str, float] = {}
    for done, labelled in enumerate(chosen):
        for name, loss in _losses_on(labelled.frame, *runners).items():
            totals[name] = totals.get(name, 0.0) + loss / len(chosen)
        stage.progress(done + 1, len(chosen))
    return totals


def _losses_on(frame: Frame, exact: PackageRunner, half: PackageRunner) -> dict[str, float]:
    import torch

    from ..runtime.dtypes import round_to_half
    from ..verify.half_loss import overflows

    run = exact.program.held(exact.inputs_of(frame))
    measured = _measured(exact)
    own = _own_results(frame, run, half)
    losses = {}
    for name in run.names:
        value = run.value(name)
        if not isinstance(value, torch.Tensor) or value.dtype != torch.float32 or not bool(value.isfinite().all()):
            continue
        found = round_to_half(own.get(name, value))
        if overflows(value.abs().max().item() if value.numel() else 0.0):
            losses[name] = math.inf
        elif not torch.equal(found, value):
            losses[name] = _loss(run, name, found, measured)
    return losses


def _loss(run: HeldRun, name: str, value: torch.Tensor, measured: Mapping[str, float]) -> float:
    """The mean squared error of the first measured value that a changed value changes; infinite if it is no number."""
    for wanted, scale in measured.items():
        before, after = run.value(wanted), run.after(name, value, wanted)
        if after is not before:
            error = scale * (after.double() - before.double())
            loss = float((error * error).mean())
            return loss if math.isfinite(loss) else math.inf
    return 0.0


def _measured(exact: PackageRunner) -> dict[str, float]:
    """The logits, and for what comes after them the mask before it is rounded, in units of logits: value → factor."""
    name = exact.output.name
    steps = {output: op for op in exact.program.function.block.operations for output, _ in op.outputs}
    while name in steps and steps[name].type in _ROUNDED:
        name = next(steps[name].references, "")
    logits = exact.logits_name or exact.output.name
    if name not in steps or exact.output.name == logits:
        return {logits: 1.0}
    return {logits: 1.0, name: LOGITS_PER_P / (255 if exact.output.kind == "image" else 1)}


def _own_results(frame: Frame, run: HeldRun, half: PackageRunner) -> dict[str, Any]:
    """Each operation's result in half precision, with half-precision weights, on the exact values of its inputs."""
    from ..mil.mixed import SUFFIXES

    names, found = set(run.names), {}

    def hook(name: str, value: Any) -> Any:
        plain = SUFFIXES.sub("", name)
        if plain not in names or run.value(plain).shape != value.shape or run.value(plain).dtype != value.dtype:
            return None
        found[plain] = value
        return run.value(plain)

    half.predict(frame, hook=hook)
    return found
