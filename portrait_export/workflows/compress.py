"""Compress the weights of a compiled program with a recipe whose stored values we compute ourselves."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..inputs.frames import load_frames
from ..inputs.sources import LoadedModel
from ..utils.stages import Stages

if TYPE_CHECKING:
    import numpy as np

    from ..artifacts import Lowered
    from ..inputs.frames import Frames
    from ..mil.compile import CompiledProgram
    from ..mil.encoded import Compression
    from ..mil.program import Metadata
    from ..quantize.layers import Weights
    from ..quantize.recipe import Recipe

FITTED_SPLIT = "calibrate"  # of the calibration set; the other half judges
PHOTOGRAPHS = 16  # whose layer inputs are measured: more change the rounding little


def compress(
    stages: Stages,
    compiled: CompiledProgram,
    lowered: Lowered,
    model: LoadedModel,
    recipe: Recipe,
    rounding: str,
    metadata: Metadata,
) -> tuple[CompiledProgram, Compression]:
    """Return the program with its weights in the recipe's form, and what was decided for each of them.

    Args:
        compiled: without compression.
        rounding: `nearest`, or `gptq`, for which the uncompressed program runs on photographs first.
        metadata: of the package; the uncompressed one needs its PortraitSpec to be run.
    """
    from ..mil.package import save_package
    from ..mil.program import read_program
    from ..mil.store import store
    from ..quantize.encode import SAFE_BITS, bits_of, encode, weights_of

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "uncompressed.mlpackage"
        save_package(compiled, lowered, path, metadata=metadata)
        weights = weights_of(read_program(path).main, recipe)
        low = [name for name, layer in weights.layers.items() if bits_of(layer, recipe) < SAFE_BITS]
        hessians = measure(stages, path, weights, model, low) if rounding == "gptq" else None
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
                    f"{name}: {100 * error:.2f} % of its output's energy" for name, error in compression.errors.items()
                ]
    return store(compiled, compression.encoded), compression


def fitted_photographs(model: LoadedModel) -> Frames:
    """The photographs whose layer inputs are measured: evenly spread over the calibrate half of the calibration set."""
    frames = load_frames(None, model.spec, split=FITTED_SPLIT, kinds=model.kinds)
    return frames[:: max(1, len(frames) // PHOTOGRAPHS)][:PHOTOGRAPHS]


def measure(
    stages: Stages, path: Path, weights: Weights, model: LoadedModel, names: Sequence[str]
) -> Mapping[str, np.ndarray]:
    """Run the uncompressed package on photographs and return the Hessians of the layers of some weights."""
    from ..runtime.hessians import Hessians
    from ..runtime.runner import PackageRunner

    with stages.stage("calibrate") as stage:
        runner = PackageRunner(path)
        readers = {name: [(use.operation, use.parameter) for use in weights.uses[name]] for name in names}
        hessians = Hessians(runner.program.function, readers)
        frames = fitted_photographs(model)
        for done in range(len(frames)):
            stage.progress(done, len(frames))
            runner.program.predict(runner.inputs_of(frames[done].frame), hook=hessians)
        stage.summary = f"inputs of {len(hessians.sums)} weights on {len(frames)} photographs"
        missing = sorted(set(names) - set(hessians.sums))
        if missing:
            stage.details.append(f"rounded to nearest, because their inputs are not measured: {', '.join(missing)}")
    return hessians.sums
