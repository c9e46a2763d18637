"""Improve the stored values of a compressed program by distillation from the float program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import PortraitError, QuantizeError
from ..inputs.sources import LoadedModel
from ..utils.stages import Stages
from .recurrent import fitted_photographs

if TYPE_CHECKING:
    from torch import Tensor

    from ..artifacts import Frame
    from ..mil.encoded import Compression
    from ..mil.program import Function
    from ..quantize.tunable import Loss, Tunable
    from ..runtime.gradients import DifferentiableProgram
    from ..runtime.runner import PackageRunner

PHOTOGRAPHS = 16  # of the calibrate half
EVERY = 4  # Every fourth is held out, to decide whether the result is better.
STEPS = 128  # of one photograph each
# Of the values' root mean square, per step. With palette2 of segformer_b0 0.01 made masks worse, 0.003 better.
RATE = 0.003
CERTAIN = 4.0  # logits beyond it are equal to the loss: their masks are certain

# Operator → parameters with one value per channel that are stored as they are.
_PLAIN = {
    "conv": ("bias",),
    "conv_transpose": ("bias",),
    "linear": ("bias",),
    "layer_norm": ("gamma", "beta"),
    "instance_norm": ("gamma", "beta"),
    "batch_norm": ("gamma", "beta"),
}


def tuned(stages: Stages, path: Path, compression: Compression, model: LoadedModel) -> Compression:
    """Return the compression with tables, scales, biases and norms that fit better; as it was if nothing did.

    Args:
        path: the uncompressed package.
    Raises:
        QuantizeError: gradients do not pass through the program.
    """
    from ..quantize.tunable import improve, parameters_of
    from ..runtime.gradients import DifferentiableProgram
    from ..runtime.runner import PackageRunner

    with stages.stage("tune") as stage:
        runner, program = PackageRunner(path), DifferentiableProgram(path)
        tunables = _tunables(program, runner.program.function, compression)
        frames = _photographs(model)
        held_out = len(frames) // EVERY
        try:
            loss = _distance(program, runner, frames)
            before, after = improve(
                tunables,
                loss,
                fitted=len(frames) - held_out,
                held_out=held_out,
                steps=STEPS,
                rate=RATE,
                on_step=stage.progress,
            )
        except (PortraitError, RuntimeError) as error:
            raise QuantizeError(
                f"{model.name} cannot be tuned: {str(error).splitlines()[0]}", hint="leave out `tune=True`."
            ) from error
        count = sum(parameter.numel() for parameter in parameters_of(tunables))
        if after >= before:
            stage.summary = f"kept as rounded: none of {STEPS} steps was better on {held_out} held-out photographs"
            return compression
        stage.summary = (
            f"{count:,} values: squared distance of the logits on {held_out} held-out photographs {before:.2g} →"
            f" {after:.2g}"
        )
        stored = {name: each.encoded() for name, each in tunables.items()}
    return replace(
        compression,
        encoded={name: stored.get(name, weight) for name, weight in compression.encoded.items()},
        tuned={name: weight for name, weight in stored.items() if name not in compression.encoded},
        errors={},  # they were those of rounding
    )


def _photographs(model: LoadedModel) -> list[Frame]:
    """Photographs of the calibrate half, evenly spread: those to fit first, then those that are held out."""
    frames = [labelled.frame for labelled in fitted_photographs(model, PHOTOGRAPHS)]
    held_out = frames[EVERY - 1 :: EVERY]
    return [frame for index, frame in enumerate(frames) if index % EVERY != EVERY - 1] + held_out


def _tunables(program: DifferentiableProgram, function: Function, compression: Compression) -> dict[str, Tunable]:
    from ..mil.program import Reference
    from ..mil.store import IN_THE_SPECIFICATION
    from ..mil.types import TensorType
    from ..mil.values import Values
    from ..quantize.tunable import Tunable, plain, tunable

    found: dict[str, Tunable] = {}
    for name, weight in compression.encoded.items():
        values = tunable(weight)
        if values is not None:
            found[name] = values
    constants = Values.of(function.inputs, function.block).constants
    for op in function.block.walk():
        for parameter in _PLAIN.get(op.type, ()):
            for value in op.inputs.get(parameter, ()):
                constant = constants.get(value.name) if isinstance(value, Reference) else None
                if not isinstance(value, Reference) or constant is None or value.name in found:
                    continue
                kind = constant.type
                if isinstance(kind, TensorType) and (kind.count or 0) >= IN_THE_SPECIFICATION:
                    found[value.name] = Tunable(plain(constant.numpy(), kind.dtype))
    can = program.replaceable(found)
    return {name: values for name, values in found.items() if name in can}


def _distance(program: DifferentiableProgram, runner: PackageRunner, frames: list[Frame]) -> Loss:
    """The mean squared difference of the logits to the float program's, where the mask is not certain.

    A program without logits is compared by its output, relative to the output's variance.
    """
    import torch

    name = runner.logits_name or runner.output.name
    inputs = [runner.inputs_of(frame) for frame in frames]

    def bounded(values: Tensor) -> Tensor:
        return torch.tanh(values / CERTAIN)

    scale: Callable[[Tensor], Tensor] = bounded if runner.logits_name else torch.Tensor.float
    with torch.no_grad():
        wanted = [scale(program.run(each, name)) for each in inputs]
        spread = 1.0 if runner.logits_name else float(torch.stack([each.var() for each in wanted]).mean()) or 1.0

    def loss(constants: dict[str, Tensor], index: int) -> Tensor:
        return (scale(program.run(inputs[index], name, constants)) - wanted[index]).square().mean() / spread

    return loss
