"""Make the packages of a sweep, each with its recipe, and compare their masks.

The network is lowered and measured once. A package is the one that `export` makes with the arguments of its point.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..inputs.frames import Frames
from ..inputs.runners import RememberingRunner
from ..inputs.sequences import InOrder, Pans
from ..inputs.sources import LoadedModel, ModelSource
from ..utils.files import write_json
from ..utils.stages import RunningStage, SilentObserver, Stages
from . import steps
from .calls import arguments_of, export_call
from .compress import Calibration
from .export import lowered_at_each_size
from .mixed import Budgets, opened
from .requests import CoreMLRequest, ParityRequest
from .sensitivities import CACHE, key_of

if TYPE_CHECKING:
    from ..artifacts import Lowered
    from ..capture.onnx.stored import StoredModel
    from ..mil.compile import CompiledProgram
    from ..quantize.recipe import Recipe
    from ..verify.frontier import Point
    from ..verify.gates import Thresholds

POINT_FILE = "point.json"
MAX_POINT_BYTES = 1 << 20
PRECISION = "fp16"


@dataclass(frozen=True)
class SweepRequest:
    """The arguments of `sweep`.

    Attributes:
        source: the network and its weights.
        recipes: names in `quantize.recipes`; empty: all that the target supports.
        budgets_mb: sizes in MB of packages of recipe `mixed`; empty: some between the sizes of the other recipes.
        tune: also make each package below 8 bits with `tune`.
        target: the oldest system that must run the packages.
        data: a folder of photos to compare on; None uses the evaluate half of the calibration set.
        kinds: as for `ParityRequest`.
        photos: compare on at most so many of the photos, evenly spread.
        out: output folder; None is build/MODEL-sweep.
        force: make every package again.
        command: writes what a person calls with the arguments of `export` to make a package.
    """

    source: ModelSource
    recipes: tuple[str, ...] = ()
    budgets_mb: tuple[float, ...] = ()
    tune: bool = False
    target: str = "iOS18"
    data: Path | None = None
    kinds: tuple[str, ...] = ()
    photos: int | None = None
    out: Path | None = None
    force: bool = False
    command: Callable[[Mapping[str, Any]], str] = export_call


@dataclass(frozen=True)
class Plan:
    """A package to make."""

    recipe: Recipe
    tune: bool = False
    max_mb: float | None = None

    @property
    def name(self) -> str:
        """Of the point and of its folder."""
        budget = "" if self.max_mb is None else f"-{self.max_mb:g}MB"
        return f"{self.recipe.name}{budget}{'+tune' if self.tune else ''}"

    @property
    def arguments(self) -> dict[str, Any]:
        """Of `export`."""
        chosen = {"quantize": self.recipe.name, "max_mb": self.max_mb, "tune": self.tune}
        return {name: value for name, value in chosen.items() if value}


class PointMaker:
    """Makes points; what several of them need is computed when the first one does."""

    def __init__(
        self,
        stages: Stages,
        model: LoadedModel,
        request: SweepRequest,
        folder: Path,
        simplified: Sequence[StoredModel],
        frames: Frames | InOrder | Pans,
        stack: ExitStack,
    ):
        """
        Args:
            folder: where each point has a folder of its own.
            simplified: the network.
            frames: to compare masks on.
            stack: closed when no further point is made.
        """
        self._stages, self._model, self._request, self._folder = stages, model, request, folder
        self._simplified, self._frames, self._stack = simplified, frames, stack
        self._calibration = Calibration()
        self._budgets: Budgets | None = None

    @property
    def uncompressed_bytes(self) -> int:
        """The size of the package without compression."""
        return self._base.size_bytes

    def point(self, plan: Plan) -> Point:
        """Make a package and compare its masks, unless a run before has.

        Raises:
            QuantizeError: the recipe makes no package of this network.
        """
        key = self._key(plan)
        with self._stages.stage(plan.name) as stage:
            kept = None if self._request.force else self._kept(plan, key)
            point = kept or self._made(stage, plan)
            if kept is None:
                write_json(self._folder / plan.name / POINT_FILE, {"key": key, "point": asdict(point)})
            masks = "–" if point.mask_iou is None else f"{point.mask_iou:.5f}"
            verdict = "" if point.passed else f"; failed: {len(point.failed)}, first {point.failed[0]}"
            before = "" if kept is None else "; made before"
            stage.summary = f"{point.size_bytes / 1e6:.2f} MB, mask IoU {masks}{verdict}{before}"
        return point

    @cached_property
    def _base(self) -> _Base:
        """The program without compression."""
        from ..mil.package import save_package
        from ..quantize.recipes import RECIPES

        plain = RECIPES["none"]
        request = self._export_request(Plan(plain))
        lowered = lowered_at_each_size(self._stages, self._simplified, [self._model], request)
        program, logits = steps.compiled_program(self._stages, lowered, self._model, plain, request)
        metadata = steps.metadata_of(program, logits, [self._model], plain, request)
        with tempfile.TemporaryDirectory() as folder:
            saved = save_package(program.copy(), lowered, Path(folder) / "plain.mlpackage", metadata=metadata)
        return _Base(program, lowered, logits, saved.sha256, saved.size_bytes)

    def _export_request(self, plan: Plan) -> CoreMLRequest:
        request = self._request
        return CoreMLRequest(
            source=request.source,
            recipe=plan.recipe.name,
            target=request.target,
            precision=PRECISION,
            tune=plan.tune,
            max_mb=plan.max_mb,
            name=self._model.name,
            parity=ParityRequest(data=request.data, kinds=request.kinds, max_mb=plan.max_mb),
            force=True,
        )

    def _key(self, plan: Plan) -> str:
        """SHA-256 of all that a point depends on."""
        files = [[_digest(item.image), _digest(item.mask)] for item in self._frames.items]
        return key_of(self._base.sha256, plan.name, self._request.target, files, asdict(self._thresholds(plan)))

    def _thresholds(self, plan: Plan) -> Thresholds:
        from ..verify.gates import kind_of, thresholds_for

        return thresholds_for(kind_of(plan.recipe.name, PRECISION), trained=self._model.trained)

    def _kept(self, plan: Plan, key: str) -> Point | None:
        """The point of a run before, if all that it depends on is the same and its package is there."""
        from ..mil.package import saved_package
        from ..verify.frontier import Point

        file = self._folder / plan.name / POINT_FILE
        try:
            if file.stat().st_size > MAX_POINT_BYTES:
                return None
            data = json.loads(file.read_text(encoding="utf-8"))
            if data["key"] != key:
                return None
            point = Point.from_json(data["point"])
            if saved_package(self._package(plan)).sha256 != point.sha256:
                return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        return replace(point, name=plan.name, command=self._command(plan), package=self._relative(plan))

    def _package(self, plan: Plan) -> Path:
        return self._folder / plan.name / f"{self._model.name}.mlpackage"

    def _relative(self, plan: Plan) -> str:
        return self._package(plan).relative_to(self._folder).as_posix()

    def _command(self, plan: Plan) -> str:
        request = self._request
        photographs = {"data": request.data, "kinds": request.kinds}
        given = {name: value for name, value in photographs.items() if value}
        return request.command({**arguments_of(request.source), **plan.arguments, "target": request.target, **given})

    def _made(self, stage: RunningStage, plan: Plan) -> Point:
        """Make a package, audit it, and compare its masks."""
        from ..runtime.runner import PackageRunner
        from ..verify.frontier import Point, lowest, scores_of
        from ..verify.gates import size_gate
        from ..verify.parity import compare

        inner, path = Stages(_Within(stage)), self._package(plan)
        built = self._built(inner, plan)
        package = steps.save(inner, built, path, self._model, self._export_request(plan))
        audit, _ = steps.audit(inner, built, path, plan.recipe)
        stage.warnings += dict.fromkeys(line for ended in inner.ended for line in ended.warnings)
        step = stage.counter(len(self._frames))
        report = compare(
            self._reference,
            PackageRunner(path),
            self._frames,
            self._thresholds(plan),
            threshold=self._model.spec.threshold,
            on_image=step,
        ).with_gates(size_gate(self._model.name, plan.recipe.name, package.size_bytes, max_mb=plan.max_mb))
        kinds = scores_of(report)
        return Point(
            name=plan.name,
            recipe=plan.recipe.name,
            command=self._command(plan),
            package=self._relative(plan),
            sha256=package.sha256,
            size_bytes=package.size_bytes,
            mask_iou=lowest([kind.mask_iou for kind in kinds]),
            worst_iou=lowest([kind.worst_iou for kind in kinds]),
            label_iou=report.summary.label_miou_candidate,
            reference_label_iou=report.summary.label_miou_reference,
            kinds=kinds,
            passed=audit.passed and report.passed,
            failed=(*audit.problems, *(gate.title for gate in report.gates if not gate.passed)),
        )

    @cached_property
    def _reference(self) -> RememberingRunner:
        return RememberingRunner(self._model.open_runner())

    def _built(self, stages: Stages, plan: Plan) -> steps.Built:
        """The package of a point, in memory."""
        base, request = self._base, self._export_request(plan)
        program = base.program.copy()
        metadata = steps.metadata_of(program, base.logits, [self._model], plan.recipe, request)
        if plan.recipe.form != "mixed":
            found = steps.compressed(
                stages, program, base.lowered, self._model, plan.recipe, request, metadata, self._calibration
            )
            return steps.Built(found[0], base.lowered, metadata, found[1])
        if self._budgets is None:
            opening = opened(stages, program, base.lowered, self._model, request, metadata)
            self._budgets = Budgets(self._stack.enter_context(opening), self._folder / CACHE, self._calibration)
        program, compression = self._budgets.compressed(stages, request)
        return steps.Built(program, base.lowered, metadata, compression)


@dataclass(frozen=True)
class _Base:
    """A compiled program, and hash and size of its package without compression."""

    program: CompiledProgram
    lowered: Lowered
    logits: str
    sha256: str
    size_bytes: int


class _Within(SilentObserver):
    """Shows the progress of stages as that of the stage that they are in."""

    def __init__(self, stage: RunningStage):
        self._stage = stage

    def stage_progress(self, done: int, total: int) -> None:
        """Passed on."""
        self._stage.progress(done, total)


def _digest(file: Path | None) -> str:
    return "" if file is None else hashlib.sha256(file.read_bytes()).hexdigest()
