"""Round the activations of a program to 8 bits."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import QuantizeError
from ..utils.stages import Stages
from .spare import Rounding, spare

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ..artifacts import LabelledFrame, Lowered
    from ..mil.compile import CompiledProgram
    from ..mil.encoded import Activations
    from ..mil.program import Metadata
    from ..runtime.ranges import Ranges
    from ..utils.stages import RunningStage
    from ..verify.gates import Thresholds


def round_activations(
    stages: Stages,
    compiled: CompiledProgram,
    lowered: Lowered,
    frames: Sequence[LabelledFrame],
    method: str,
    metadata: Metadata,
    *,
    asymmetric: bool,
    thresholds: Thresholds | None = None,
) -> tuple[CompiledProgram, Activations]:
    """Return the program with 8-bit activations, and what was decided for each value.

    Args:
        compiled: without compression.
        frames: whose activations are measured.
        method: how ranges are chosen, one of `artifacts.ACTIVATIONS`.
        metadata: of the package; the uncompressed one needs its PortraitSpec to be run.
        thresholds: of the gates that the masks are to pass; None if they mean nothing.
    Raises:
        QuantizeError: a value is NaN or infinite on a photograph, or no operation can read 8-bit values.
    """
    from ..mil.package import save_package
    from ..mil.program import read_program
    from ..quantize.activation_layers import decide, find_candidates
    from ..quantize.activations import Histogram

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "uncompressed.mlpackage"
        save_package(compiled, lowered, path, metadata=metadata)
        candidates = find_candidates(read_program(path).main)
        with stages.stage("calibrate") as stage:
            ranges = measure(stage, path, frames, candidates.values)
            stage.summary = f"ranges of {len(ranges.counts)} values on {len(frames)} photographs"
        with stages.stage("activations") as stage:
            activations, ends, zeros = decide(
                candidates,
                lambda name: Histogram(*ranges.histogram(name)) if name in ranges.counts else None,
                method=method,
                asymmetric=asymmetric,
                on_value=stage.progress,
            )
            if not activations.layers:
                raise QuantizeError(
                    f"No operation can read 8-bit activations: {_reasons(activations)}.",
                    hint="`quantize=int8` stores the weights alone in 8 bits.",
                )
            stage.summary = f"{len(activations.layers)} operations could read 8-bit values"
        rounding = Rounding(compiled, lowered, metadata, path, frames, candidates, ends, zeros)
        rounded = None
        if thresholds is not None:
            with stages.stage("trials") as stage:
                activations, rounded = spare(stage, rounding, activations, thresholds)
        with stages.stage("round") as stage:
            rounded = rounded or rounding.program(activations)
            unsigned = ", unsigned where nothing is negative" if zeros else ""
            side = "asymmetric" if asymmetric else f"symmetric{unsigned}"
            stage.summary = (
                f"{len(activations.layers)} operations read 8-bit values, {len(activations.left)} do not;"
                f" ranges by {method}, {side}"
            )
            stage.details = [f"{name} in half precision: {reason}" for name, reason in activations.left.items()]
            stage.details += [f"{name}: {snr:.1f} dB" for name, snr in activations.snr_db.items()]
    return rounded, activations


def measure(stage: RunningStage, package: Path, frames: Sequence[LabelledFrame], names: Collection[str]) -> Ranges:
    """Run a package on photographs, one after the other, and count what its values are.

    Raises:
        QuantizeError: a value is NaN or infinite, with the first photograph where it is.
    """
    from ..runtime.ranges import Ranges
    from ..runtime.runner import PackageRunner

    runner = PackageRunner(package)
    ranges = Ranges(names)
    for done in range(len(frames)):
        stage.progress(done, len(frames))
        frame = frames[done].frame
        runner.predict(frame, hook=ranges)
        broken = ranges.not_finite()
        if broken:
            name, count = next(iter(broken.items()))
            raise QuantizeError(
                f"The value {name} has {count} elements that are NaN or infinite on the photograph {frame.name}, so it"
                " has no range.",
                hint="`portrait-export blame` names the operation that they come from.",
            )
    return ranges


def _reasons(activations: Activations) -> str:
    """The first reasons, or that there are no such operations."""
    return "; ".join(dict.fromkeys(activations.left.values())) or "there are no convolutions or linear layers"
