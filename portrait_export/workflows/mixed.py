"""Store each weight in its own form.

A file of rules decides it, or the best choice within a budget of size or mask IoU."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ExecutionError
from ..inputs.frames import load_frames
from ..inputs.sequences import load_sequences
from ..inputs.sources import LoadedModel
from ..preprocessing import LOGITS_KEY
from ..utils.evenly import evenly
from ..utils.stages import Stages
from .budget import search
from .compress import PHOTOGRAPHS, Calibration, measure
from .recurrent import fitted_photographs
from .requests import CoreMLRequest
from .sensitivities import (
    BY_GRADIENTS,
    BY_OUTPUTS,
    CACHE,
    GRADIENT_PHOTOGRAPHS,
    SUMS,
    Measured,
    by_gradients,
    by_outputs,
    key_of,
    open_cache,
)
from .trials import Trials, Work
from .tune import tuned

if TYPE_CHECKING:
    import numpy as np

    from ..artifacts import Lowered
    from ..mil.compile import CompiledProgram
    from ..mil.encoded import Compression
    from ..mil.program import Metadata
    from ..quantize.knapsack import Choice
    from ..quantize.sensitivity import Encoder


def compress_mixed(
    stages: Stages,
    compiled: CompiledProgram,
    lowered: Lowered,
    model: LoadedModel,
    request: CoreMLRequest,
    metadata: Metadata,
    folder: Path,
) -> tuple[CompiledProgram, Compression]:
    """Return the program with each weight in its own form, and what was decided for each of them.

    Args:
        compiled: without compression.
        metadata: of the package.
        folder: the output folder, where measured sensitivities are kept for another run.
    """
    with opened(stages, compiled, lowered, model, request, metadata) as work:
        if request.settings is not None:
            return _stored(stages, work, request, _by_rules(work))
        return Budgets(work, folder / CACHE).compressed(stages, request)


@contextmanager
def opened(
    stages: Stages,
    compiled: CompiledProgram,
    lowered: Lowered,
    model: LoadedModel,
    request: CoreMLRequest,
    metadata: Metadata,
) -> Iterator[Work]:
    """Write the uncompressed package to a temporary folder and find its weights; the arguments of `compress_mixed`."""
    from ..mil.package import save_package
    from ..mil.program import read_program
    from ..quantize.encode import weights_of
    from ..quantize.recipes import RECIPES

    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "uncompressed.mlpackage"
        saved = save_package(compiled, lowered, path, metadata=metadata)
        weights = weights_of(read_program(path).main, min_elements=RECIPES["mixed"].min_elements)
        yield Work(stages, compiled, lowered, model, request, metadata, saved, weights)


def _by_rules(work: Work) -> Compression:
    from ..quantize.encode import SAFE_BITS, encode
    from ..quantize.sensitivity import compensable
    from ..quantize.settings import assign_by_rules, read_settings

    request, weights, stages = work.request, work.weights, work.stages
    file = request.settings
    assert file is not None
    assignment = assign_by_rules(weights, read_settings(file, target=request.target), file=file.name)
    hessians = None
    if request.rounding != "nearest":
        low = {name for name, storage in assignment.stored.items() if storage.bits < SAFE_BITS}
        names = [name for name in assignment.stored if name in low.union(compensable(weights))]
        hessians = measure(stages, work.path, weights, work.model, names)
    with stages.stage("quantize") as stage:
        ios18 = work.compiled.spec.specificationVersion >= 9
        compression = encode(weights, assignment, ios18=ios18, hessians=hessians, on_weight=stage.progress)
        stage.summary = f"{len(compression.encoded)} weights by the rules of {file.name}"
        stage.details = [f"{name} left as it is: {reason}" for name, reason in compression.left.items()]
    return compression


class Budgets:
    """Measures what each way to store each weight costs, once, and then finds the best choices within budgets."""

    def __init__(self, work: Work, cache: Path, calibration: Calibration | None = None):
        """
        Args:
            cache: the file of earlier measurements, which gets these.
            calibration: of the same program, to use and to add to.
        """
        from ..quantize.knapsack import path_of
        from ..quantize.sensitivity import Encoder, compensable

        self._work = work
        request, weights = work.request, work.weights
        compensated = request.rounding != "nearest"
        hessians: Mapping[str, np.ndarray] = {}
        if compensated:
            hessians = measure(work.stages, work.path, weights, work.model, compensable(weights), calibration)
        encoder = Encoder(weights, hessians, ios18=work.compiled.spec.specificationVersion >= 9)
        data = None if request.parity is None else request.parity.data
        load = load_sequences if work.model.carried else load_frames
        judged = load(data, work.model.spec, split=None if data else "evaluate", kinds=work.model.kinds)
        photographs = [hashlib.sha256(item.image.read_bytes()).hexdigest() for item in judged.items]
        key = key_of(
            *(work.uncompressed.sha256, request.target, compensated, SUMS, GRADIENT_PHOTOGRAPHS),
            *(request.min_iou, photographs),
        )
        measured = open_cache(cache, key, weights.layers)
        _measure_options(work, encoder, measured)
        self._frontier = path_of(measured.options)
        self._trials = Trials(work, encoder, measured, judged)

    def compressed(self, stages: Stages, request: CoreMLRequest) -> tuple[CompiledProgram, Compression]:
        """The program with the best choice for a request, which differs from the first one by its size alone."""
        with stages.stage("budget") as stage:
            choice = search(stage, self._frontier, self._trials, request)
        with stages.stage("quantize") as stage:
            compression = self._trials.compression(choice)
            stage.summary = f"{len(compression.encoded)} weights: {_counts(choice)}"
            stage.details = [
                f"{name}: {one.name}, {one.size_bytes:,} B, sensitivity {one.error:.3g}" for name, one in choice.items()
            ]
            stage.facts = {"choice": {name: one.name for name, one in choice.items()}}
        return _stored(stages, self._work, request, compression)


def _stored(
    stages: Stages, work: Work, request: CoreMLRequest, compression: Compression
) -> tuple[CompiledProgram, Compression]:
    """The program with compressed weights, tuned if that is asked for."""
    from ..mil.store import store

    if request.tune:
        compression = tuned(stages, work.path, compression, work.model)
    return store(work.compiled.copy(), {**compression.encoded, **compression.tuned}), compression


def _counts(choice: Choice) -> str:
    from ..quantize.recipes import RECIPES

    kinds = [one.name for one in choice.values()]
    return ", ".join(f"{kinds.count(name)} {name}" for name in RECIPES if name in kinds)


def _measure_options(work: Work, encoder: Encoder, measured: Measured) -> None:
    """Fill `measured` with the size and error of every recipe for every weight, unless it has them."""
    from ..quantize.sensitivity import options_of

    logits, target = work.metadata.user_defined.get(LOGITS_KEY, ""), work.request.target
    with work.stages.stage("sensitivity") as stage:
        if measured.method:
            stage.summary = f"{measured.method}, measured before ({CACHE})"
            return
        reason = "it has no logits" if not logits else ""
        if logits:
            candidates = encoder.candidates(target, measured=True, on_weight=stage.progress)
            frames = evenly(fitted_photographs(work.model, PHOTOGRAPHS), GRADIENT_PHOTOGRAPHS)
            try:
                errors = by_gradients(stage, work.path, logits, encoder, candidates, frames)
                measured.method = BY_GRADIENTS
                stage.summary = f"{BY_GRADIENTS} by {len(candidates)} weights on {len(frames)} photographs"
            except ExecutionError as error:
                reason = error.message
        if reason:
            candidates = encoder.candidates(target, measured=False, on_weight=stage.progress)
            errors, measured.method = by_outputs(encoder, candidates), BY_OUTPUTS
            stage.summary = f"{BY_OUTPUTS}, of {len(candidates)} weights"
            stage.warnings.append(
                f"Gradients of the masks cannot be measured ({reason.rstrip('.')}), so weights are chosen by"
                f" {BY_OUTPUTS}."
            )
        measured.options = options_of(encoder, candidates, errors)
        measured.save()
