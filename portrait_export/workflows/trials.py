"""Make packages of choices of storage, and judge their masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..inputs.runners import RememberingRunner
from ..inputs.sources import LoadedModel
from ..preprocessing import LOGITS_KEY
from ..utils.evenly import evenly
from ..utils.stages import RunningStage, Stages
from .compress import PHOTOGRAPHS
from .recurrent import fitted_photographs
from .requests import CoreMLRequest
from .sensitivities import BY_GRADIENTS, Measured, Trial, digest_of

if TYPE_CHECKING:
    from ..artifacts import LabelledFrame, Lowered, Runner
    from ..mil.compile import CompiledProgram
    from ..mil.encoded import Compression
    from ..mil.package import SavedPackage
    from ..mil.program import Metadata
    from ..quantize.knapsack import Choice, Options
    from ..quantize.layers import Weights
    from ..quantize.sensitivity import Encoder

MEASURED_WEIGHTS = 12  # at a time, those that are predicted to harm most
MEASURED_PHOTOGRAPHS = 4  # of the calibrate half


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

    def __init__(self, work: Work, encoder: Encoder, measured: Measured, frames: Sequence[LabelledFrame]):
        self._work, self._encoder, self._measured, self._frames = work, encoder, measured, frames
        self._package = work.path.with_name("trial.mlpackage")
        self._reference: Runner | None = None
        self._known: set[tuple[str, str]] = set()

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

    @property
    def options(self) -> Options:
        """Of each weight, as they were measured before any trial."""
        return self._measured.options

    def corrected(self, stage: RunningStage, options: Options, choice: Choice) -> Options:
        """The options after the weights of a choice that are predicted to harm most were measured, each alone.

        Without gradients of the masks predictions are of another kind, and the options stay as they are.
        """
        import torch

        from ..quantize.knapsack import corrected
        from ..quantize.sensitivity import NONE
        from ..runtime.mask_changes import MaskChanges
        from ..runtime.runner import PackageRunner

        work = self._work
        if self._measured.method != BY_GRADIENTS:
            return options
        new = [n for n, one in choice.items() if one.name != NONE and (n, one.name) not in self._known]
        worst = sorted(new, key=lambda name: (-choice[name].error, name))[:MEASURED_WEIGHTS]
        self._known |= {(name, choice[name].name) for name in worst}
        changes = {name: torch.from_numpy(self._encoder.change(name, choice[name].name)) for name in worst}
        measuring = MaskChanges(work.path, worst, work.metadata.user_defined[LOGITS_KEY])
        runner, every = PackageRunner(work.path), fitted_photographs(work.model, PHOTOGRAPHS)
        frames = evenly(every, MEASURED_PHOTOGRAPHS)
        sums: dict[str, float] = {}
        for done in range(len(frames)):
            stage.progress(done, len(frames))
            for name, moved in measuring.of(runner.inputs_of(frames[done].frame), changes).items():
                sums[name] = sums.get(name, 0.0) + moved / len(frames)
        found = {name: corrected(options[name], choice[name].name, error) for name, error in sums.items()}
        return {**options, **found}

    def judge(self, stage: RunningStage, choice: Choice) -> Trial:
        """Compare the masks of a choice with the model's."""
        from ..runtime.runner import PackageRunner
        from ..verify.gates import thresholds_for
        from ..verify.parity import compare

        digest = digest_of(choice)
        if digest not in self._measured.trials:
            size = self.size_bytes(choice)
            work, step = self._work, stage.counter(len(self._frames))
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
