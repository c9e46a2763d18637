"""Compress the weights of a compiled program with stored values that we compute ourselves.

They are those of a recipe, or the 8-bit integers that a quantized network stored.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..inputs.sources import LoadedModel
from ..utils.stages import Stages
from .activations import round_activations
from .recurrent import fitted_photographs
from .requests import CoreMLRequest
from .tune import tuned

if TYPE_CHECKING:
    import numpy as np

    from ..artifacts import Lowered
    from ..mil.compile import CompiledProgram
    from ..mil.encoded import Compression
    from ..mil.program import Metadata
    from ..quantize.layers import Weights
    from ..quantize.recipe import Recipe

PHOTOGRAPHS = 16  # whose layer inputs are measured: more change the rounding little


@dataclass
class Calibration:
    """Measurements of a program's layer inputs, kept for further recipes.

    Attributes:
        hessians: by the weight's name.
        measured: the weights whose layers were measured, or cannot be.
    """

    hessians: dict[str, np.ndarray] = field(default_factory=dict)
    measured: set[str] = field(default_factory=set)


def compress(
    stages: Stages,
    compiled: CompiledProgram,
    lowered: Lowered,
    model: LoadedModel,
    recipe: Recipe,
    request: CoreMLRequest,
    metadata: Metadata,
    calibration: Calibration | None = None,
) -> tuple[CompiledProgram, Compression]:
    """Return the program with its weights in the recipe's form, and what was decided for each of them.

    A recipe with 8-bit activations, or with `gptq` rounding, runs the uncompressed program on photographs first.

    Args:
        compiled: without compression.
        request: its `rounding`, `activations`, `asymmetric` and `tune` count.
        metadata: of the package; the uncompressed one needs its PortraitSpec to be run.
        calibration: of the same program, to use and to add to.
    """
    from ..mil.package import save_package
    from ..mil.program import read_program
    from ..mil.store import store
    from ..quantize.activation_layers import weights_behind
    from ..quantize.encode import encode, weights_of
    from ..quantize.sensitivity import compensable
    from ..verify.gates import thresholds_for

    rounding = recipe.rounded_by(request.rounding)
    activations = None
    if recipe.activations:
        method, asymmetric = request.activations or recipe.activations, request.asymmetric
        frames = fitted_photographs(model, PHOTOGRAPHS)
        masked = model.trained and not model.carried  # the masks of a sequence depend on those before
        compiled, activations = round_activations(
            stages,
            compiled,
            lowered,
            frames,
            method,
            metadata,
            asymmetric=asymmetric,
            thresholds=thresholds_for(recipe.name, min_iou=request.min_iou) if masked else None,
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "uncompressed.mlpackage"
        save_package(compiled, lowered, path, metadata=metadata)
        function = read_program(path).main
        weights = (
            weights_of(function, min_elements=recipe.min_elements)
            if activations is None
            else weights_behind(function, recipe, frozenset(activations.layers))
        )
        hessians = None
        if rounding == "gptq":
            kept = None if recipe.activations else calibration  # rounded activations are other inputs
            hessians = measure(stages, path, weights, model, compensable(weights), kept)
        with stages.stage("quantize") as stage:
            compression = encode(
                weights,
                recipe,
                ios18=compiled.spec.specificationVersion >= 9,
                hessians=hessians,
                on_weight=stage.progress,
            )
            stage.summary = f"{len(compression.encoded)} weights, rounded by {rounding}"
            stage.details = [f"{name} left as it is: {reason}" for name, reason in compression.left.items()]
            if hessians is not None:
                stage.details += [
                    f"{name}: {100 * error:.2g} % of its output's energy" for name, error in compression.errors.items()
                ]
        if request.tune:
            compression = tuned(stages, path, compression, model)
    values = {**compression.encoded, **compression.tuned}
    return store(compiled, values), replace(compression, activations=activations)


def keep_integers(
    stages: Stages, compiled: CompiledProgram, lowered: Lowered, metadata: Metadata
) -> tuple[CompiledProgram, Compression]:
    """Return the program of a quantized network with its weights as the 8-bit integers that the network stored."""
    from ..mil.package import save_package
    from ..mil.program import read_program
    from ..mil.store import store
    from ..quantize.layers import find_weights
    from ..quantize.recovered import MIN_ELEMENTS, recover

    with tempfile.TemporaryDirectory() as folder, stages.stage("quantize") as stage:
        path = Path(folder) / "decoded.mlpackage"
        save_package(compiled, lowered, path, metadata=metadata)
        weights = find_weights(read_program(path).main, min_elements=MIN_ELEMENTS)
        compression = recover(weights, ios18=compiled.spec.specificationVersion >= 9)
        kept, total = len(compression.encoded), len(weights.layers)
        stage.summary = f"{kept} of {total} weights keep the 8-bit integers of the network"
        stage.details = [f"{name} left as it is: {reason}" for name, reason in compression.left.items()]
    return store(compiled, compression.encoded), compression


def measure(
    stages: Stages,
    path: Path,
    weights: Weights,
    model: LoadedModel,
    names: Sequence[str],
    calibration: Calibration | None = None,
) -> Mapping[str, np.ndarray]:
    """Run the uncompressed package on photographs and return the Hessians of the layers of some weights.

    Args:
        calibration: what was measured before; the rest is measured and added.
    """
    kept = calibration or Calibration()
    new = [name for name in names if name not in kept.measured]
    if new:
        kept.hessians.update(_hessians(stages, path, weights, model, new))
        kept.measured.update(new)
    return {name: kept.hessians[name] for name in names if name in kept.hessians}


def _hessians(
    stages: Stages, path: Path, weights: Weights, model: LoadedModel, names: Sequence[str]
) -> Mapping[str, np.ndarray]:
    from ..runtime.hessians import Hessians
    from ..runtime.runner import PackageRunner

    with stages.stage("calibrate") as stage:
        runner = PackageRunner(path)
        readers = {name: [(use.operation, use.parameter) for use in weights.uses[name]] for name in names}
        hessians = Hessians(runner.program.function, readers)
        frames = fitted_photographs(model, PHOTOGRAPHS)
        for done in range(len(frames)):
            stage.progress(done, len(frames))
            runner.predict(frames[done].frame, hook=hessians)
        stage.summary = f"inputs of {len(hessians.sums)} weights on {len(frames)} photographs"
        missing = sorted(set(names) - set(hessians.sums))
        if missing:
            stage.details.append(f"rounded to nearest, because their inputs are not measured: {', '.join(missing)}")
    return hessians.sums
