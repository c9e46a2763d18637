"""Compare Core ML with our runtime on single operations and bundled models."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import PortraitError, UsageError, first_line, nearest
from ..inputs.frames import load_frames
from ..inputs.sources import ModelSource
from ..utils.stages import Observer, SilentObserver, Stages
from ..utils.version import __version__
from .export import export_coreml
from .requests import CoreMLRequest

if TYPE_CHECKING:
    from ..artifacts import Frame
    from ..runtime.agreement import Difference
    from ..runtime.cases import Case
    from ..runtime.mlmodel import MLModel
    from ..runtime.runner import PackageRunner
    from ..utils.stages import RunningStage

UNITS = ("CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE")
PRECISIONS = ("fp32", "fp16")

FAILED, REFUSED, NOT_WRITTEN = "failed", "refused", "not written"  # verdicts beside those of runtime.agreement


class Engine(Protocol):
    """What the runtime is compared with: `mil.mac.CoreMLEngine`."""

    def describe(self) -> Mapping[str, str]:
        """What and where it is. Raises PackageError if it cannot run here."""

    def open(self, package: Path, unit: str) -> Any:
        """An object with coremltools' `predict`."""

    def devices(self, package: Path, unit: str) -> tuple[str, ...]:
        """Where the package's operations run."""


@dataclass(frozen=True)
class AgreeRequest:
    """The arguments of `check_agreement`.

    Attributes:
        units: the compute units to run on.
        operators: compare only these; empty: every operator that has a case.
        packages: packages to compare; None exports every model that has weights, as int8; empty: none.
        photos: how many photographs of the calibration set each package is run on.
    """

    units: tuple[str, ...] = UNITS
    operators: tuple[str, ...] = ()
    packages: tuple[Path, ...] | None = None
    photos: int = 4


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        subject: the operator; for packages the package's name.
        case: the behaviour; for packages the photograph.
        precision: `fp32` or `fp16`; empty for packages.
        unit: the compute units that were allowed.
        verdict: `equal`, `close`, `differs`; `refused` by the engine; `failed` in our runtime; `not written` by
            coremltools.
        largest, of_scale: see `runtime.agreement.Difference`.
        iou: of the masks; None for operations.
        devices: where the engine ran it.
        reason: the error, or what differs other than by a distance.
    """

    subject: str
    case: str
    precision: str
    unit: str
    verdict: str
    largest: float | None = None
    of_scale: float | None = None
    iou: float | None = None
    devices: tuple[str, ...] = ()
    reason: str = ""

    @property
    def agrees(self) -> bool:
        """Whether both engines gave a result, and the same within the tolerance."""
        return self.verdict in ("equal", "close", NOT_WRITTEN)


@dataclass(frozen=True)
class Agreement:
    """Every comparison, and what was compared.

    Attributes:
        engine: what the runtime was compared with.
        operations, packages: the rows, in order.
        without_case: operator → why it was not compared.
    """

    engine: Mapping[str, str]
    operations: tuple[Row, ...]
    packages: tuple[Row, ...]
    without_case: Mapping[str, str]

    @property
    def passed(self) -> bool:
        """Whether every row agrees."""
        return all(row.agrees for row in (*self.operations, *self.packages))


def check_agreement(request: AgreeRequest, observer: Observer, engine: Engine) -> Agreement:
    """Compare our runtime with an engine.

    Raises:
        PackageError: the engine cannot run here.
        UsageError: an operator without a case, or compute units that do not exist.
    """
    from ..runtime.cases import WITHOUT_CASE

    described = dict(engine.describe())
    described |= {"portrait_export": __version__, "python": platform.python_version()}
    chosen = _chosen(request)
    stages = Stages(observer)
    with tempfile.TemporaryDirectory() as folder:
        with stages.stage("operations") as stage:
            operations = _operations(chosen, request.units, engine, Path(folder), stage)
            stage.summary = counted(operations)
        with stages.stage("packages") as stage:
            packages = _packages(request, engine, Path(folder), stage)
            stage.summary = counted(packages)
    return Agreement(described, operations, packages, WITHOUT_CASE)


def counted(rows: Sequence[Row]) -> str:
    """How many rows have each verdict."""
    found = [row.verdict for row in rows]
    return ", ".join(f"{found.count(verdict)} {verdict}" for verdict in dict.fromkeys(found)) or "none"


def _chosen(request: AgreeRequest) -> list[Case]:
    from ..runtime.cases import cases

    everything = cases()
    known = tuple(dict.fromkeys(case.op for case in everything))
    for name in request.operators:
        if name not in known:
            raise UsageError(f"Operator {name!r} has no case.", hint=nearest(name, known, what="operator"))
    for unit in request.units:
        if unit not in (*UNITS, "ALL"):
            hint = nearest(unit, (*UNITS, "ALL"), what="compute unit")
            raise UsageError(f"There are no compute units {unit!r}.", hint=hint)
    return [case for case in everything if not request.operators or case.op in request.operators]


# ---- operations -------------------------------------------------------------------------------------------------


def _operations(
    cases: Sequence[Case], units: Sequence[str], engine: Engine, folder: Path, stage: RunningStage
) -> tuple[Row, ...]:
    rows: list[Row] = []
    trials = [(case, precision) for case in cases for precision in PRECISIONS]
    for done, (case, precision) in enumerate(trials):
        rows += _operation(case, precision, units, engine, folder / "operation.mlpackage")
        stage.progress(done + 1, len(trials))
    return tuple(rows)


def _operation(case: Case, precision: str, units: Sequence[str], engine: Engine, path: Path) -> list[Row]:
    """One case in one precision on every compute unit."""
    from ..mil.one_operation import save_operation
    from ..runtime.agreement import TOLERANCES, compare
    from ..runtime.mlmodel import MLModel

    def row(unit: str, verdict: str, **values: Any) -> Row:
        return Row(case.op, case.name, precision, unit, verdict, **values)

    try:
        given = save_operation(case.op, case.inputs, path, precision=precision, target=case.target)
    except PortraitError as error:
        return [row(unit, NOT_WRITTEN, reason=error.message) for unit in units]
    try:
        ours = MLModel(path).predict(dict(given))
    except PortraitError as error:
        return [row(unit, FAILED, reason=error.message) for unit in units]
    rows = []
    for unit in units:
        try:
            theirs = engine.open(path, unit).predict(dict(given))
        except Exception as error:  # whatever Core ML raises is a result of this comparison
            rows.append(row(unit, REFUSED, reason=first_line(error)))
            continue
        found = compare(ours, theirs, tolerance=TOLERANCES[precision])
        rows.append(row(unit, devices=_devices(engine, path, unit), **_numbers(found)))
    return rows


def _devices(engine: Engine, path: Path, unit: str) -> tuple[str, ...]:
    """Where the engine runs a package; empty if it does not say, as before macOS 14.4."""
    try:
        return engine.devices(path, unit)
    except Exception:  # the comparison stands without it
        return ()


def _numbers(found: Difference) -> dict[str, Any]:
    return {
        "verdict": found.verdict,
        "largest": found.largest,
        "of_scale": found.of_scale,
        "reason": found.reason,
    }


# ---- packages ---------------------------------------------------------------------------------------------------


def _packages(request: AgreeRequest, engine: Engine, folder: Path, stage: RunningStage) -> tuple[Row, ...]:
    from ..models.registry import list_models, model_spec

    rows: list[Row] = []
    bundled = [name for name in list_models() if model_spec(name).weights_path is not None]
    subjects: Sequence[str | Path] = bundled if request.packages is None else request.packages
    for done, subject in enumerate(subjects):
        rows += _package(subject if isinstance(subject, Path) else _exported(subject, folder), request, engine)
        stage.progress(done + 1, len(subjects))
    return tuple(rows)


def _exported(model: str, folder: Path) -> Path:
    """A package of a model with its bundled weights, int8."""
    source = ModelSource(model=model)
    request = CoreMLRequest(source=source, recipe="int8", parity=None, out=folder / model, force=True)
    return export_coreml(request, SilentObserver()).package.path


def _package(path: Path, request: AgreeRequest, engine: Engine) -> list[Row]:
    """One package on photographs of the calibration set, on every compute unit."""
    from ..inputs.runners import open_package
    from ..runtime.mlmodel import MLModel

    opened = open_package(path)
    frames = [item.frame for item in load_frames(None, opened.spec, kinds=("portrait",))[: request.photos]]
    ours = MLModel(path)
    rows = []
    for unit in request.units:
        try:
            theirs = engine.open(path, unit)
        except Exception as error:  # whatever Core ML raises is a result of this comparison
            rows.append(Row(path.stem, "every photograph", "", unit, REFUSED, reason=first_line(error)))
            continue
        devices = _devices(engine, path, unit)
        rows += [_photograph(path.stem, unit, devices, opened.runner, frame, ours, theirs) for frame in frames]
    return rows


def _photograph(
    name: str, unit: str, devices: tuple[str, ...], runner: PackageRunner, frame: Frame, ours: MLModel, theirs: Any
) -> Row:
    from ..runtime.agreement import TOLERANCES, compare
    from ..verify.gates import FP16_WORST_IOU  # of fp16 packages with PyTorch; not measured against Core ML
    from ..verify.metrics import mask_iou

    given = runner.inputs_of(frame)
    mine = ours.predict(dict(given))
    try:
        other = theirs.predict(dict(given))
    except Exception as error:  # whatever Core ML raises is a result of this comparison
        return Row(name, frame.name, "", unit, REFUSED, devices=devices, reason=first_line(error))
    found = compare(mine, other, tolerance=TOLERANCES["fp16"])
    row = Row(name, frame.name, "", unit, devices=devices, **_numbers(found))
    if runner.output.name not in other or found.largest is None:
        return row
    size = frame.image.shape[:2]
    name_of_mask = runner.output.name
    iou = mask_iou(runner.probability(mine[name_of_mask], size), runner.probability(other[name_of_mask], size))
    if found.verdict == "equal":
        return replace(row, iou=iou)
    return replace(row, iou=iou, verdict="close" if iou >= FP16_WORST_IOU else "differs")
