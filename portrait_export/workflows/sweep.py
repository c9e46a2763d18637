"""Compare the packages that all recipes make of one network.

The recipe for each weight makes several, one per budget. Sizes and masks are compared.

`points.py` makes one package. Each is kept in a folder of its own, so that an interrupted sweep goes on where it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import QuantizeError, UsageError
from ..inputs.frames import Frames, load_frames, stand_in_note
from ..inputs.sequences import PANNED, InOrder, Pans, load_sequences
from ..inputs.sources import LoadedModel
from ..utils.files import held_alone, remove_stale_partials, write_json
from ..utils.stages import Observer, Stage, Stages
from ..utils.wording import in_words
from . import steps
from .checks import check_folder, check_photos
from .export import simplified_at_each_size
from .parity import JUDGING_SPLIT, kinds_warning
from .points import Plan, PointMaker, SweepRequest
from .records import tool_versions
from .requests import ParityRequest

if TYPE_CHECKING:
    from ..verify.frontier import Point

SHARES = (0.18, 0.22, 0.26, 0.32, 0.4)  # of the uncompressed package: the sizes of mixed ones that nobody chose
SWEEP_FILE = "sweep.json"
FITTED_NOTE = "Recipes are fitted to the calibrate half of the calibration set, and all are judged on the other half."


@dataclass(frozen=True)
class Sweep:
    """The packages of a sweep.

    Attributes:
        folder: the output folder.
        model: the network, at its input size.
        points: by size.
        left_out: recipes that make no package of this network, with the reason.
        notes: what the numbers were measured on.
        stages: the finished stages, with timings.
        record: all of it as plain values: the content of sweep.json.
    """

    folder: Path
    model: LoadedModel
    points: tuple[Point, ...]
    left_out: Mapping[str, str]
    notes: tuple[str, ...]
    stages: tuple[Stage, ...]
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def frontier(self) -> tuple[Point, ...]:
        """The points that no other one beats."""
        return tuple(point for point in self.points if not point.beaten_by)

    @property
    def report(self) -> Path:
        """The HTML report."""
        from ..verify.report.sweep import PAGE_FILE

        return self.folder / PAGE_FILE


Judged = Frames | InOrder | Pans


def sweep(request: SweepRequest, observer: Observer) -> Sweep:
    """Make the packages and compare them.

    Raises:
        PortraitError: a stage failed. A failed gate does not raise: see `Point.passed`.
    """
    stages = Stages(observer)
    _check(request)
    (model,) = steps.load(stages, request.source, kinds=request.kinds)
    frames, notes = _photographs(request, model)
    folder = request.out or Path("build") / f"{model.name}-sweep"
    with held_alone(folder), ExitStack() as stack:
        remove_stale_partials(folder)
        simplified = simplified_at_each_size(stages, [model])
        maker = PointMaker(stages, model, request, folder, simplified, frames, stack)
        points, left_out = _made(maker, request)
        notes += [f"{name} is left out: {reason}" for name, reason in left_out.items()]
        if not points:
            raise QuantizeError("No recipe makes a package of this network.", context=notes)
        made = Sweep(folder, model, points, left_out, tuple(notes), ())
        made = replace(made, record=_record(made, request, frames))
        _write(stages, made, request, frames)
        located = tuple(replace(point, package=str(folder / point.package)) for point in points)
        return replace(made, points=located, stages=tuple(stages.ended))


def _made(maker: PointMaker, request: SweepRequest) -> tuple[tuple[Point, ...], dict[str, str]]:
    """The points by size, and why recipes are left out."""
    from ..verify.frontier import marked

    plans, left_out = _plans(maker, request)
    points = []
    for plan in plans:
        try:
            points.append(maker.point(plan))
        except QuantizeError as error:
            left_out[plan.name] = error.message
    return marked(points), left_out


def _check(request: SweepRequest) -> None:
    """Raise PortraitError, before minutes of work, if the sweep cannot end well."""
    from ..quantize.apply import check_recipe
    from ..quantize.recipes import get_recipe

    for name in request.recipes:
        check_recipe(get_recipe(name), target=request.target)
    _require_tunable(request)
    if any(not budget > 0 for budget in request.budgets_mb):
        found = ", ".join(f"{budget:g}" for budget in request.budgets_mb)
        raise UsageError(f"`budgets=` are sizes in MB above 0; found {found}.")
    if request.photos is not None and request.photos < 1:
        raise UsageError(f"`photos={request.photos}` leaves no photograph to compare on.")
    if request.out is not None:
        check_folder(request.out)
    check_photos(ParityRequest(data=request.data, kinds=request.kinds))


def _require_tunable(request: SweepRequest) -> None:
    """Raise UsageError for tuning, if none of the chosen recipes can be tuned."""
    from ..quantize.recipes import get_recipe

    names = _names(request)
    if request.tune and not any(get_recipe(name).few_bits for name in names):
        raise UsageError(
            f"`tune=True` is for recipes below 8 bits, and none is among the chosen ones: {', '.join(names)}.",
            hint="add one such as palette4 to `recipes=`, or leave out `tune=True`.",
        )


def _names(request: SweepRequest) -> list[str]:
    """The recipes to make packages with."""
    from ..quantize.recipes import RECIPES

    return list(dict.fromkeys([*(request.recipes or RECIPES), *(["mixed"] if request.budgets_mb else [])]))


def _photographs(request: SweepRequest, model: LoadedModel) -> tuple[Judged, list[str]]:
    """The photographs to compare on, and what is to be known about them."""
    bundled = request.data is None
    split = JUDGING_SPLIT if bundled else None
    notes = [FITTED_NOTE] if bundled else []
    if model.kinds and bundled and not request.kinds:
        notes.append(kinds_warning(model, "the masks are compared on photographs of that kind"))
    if model.carried:
        sequences = load_sequences(
            request.data, model.spec, split=split, kinds=model.kinds, photographs=request.photos or PANNED
        )
        return sequences, [*notes, f"The masks are compared on {sequences.note}."]
    frames = load_frames(request.data, model.spec, split=split, kinds=model.kinds)
    if request.photos is not None and request.photos < len(frames):
        few = frames.spread(request.photos)
        notes.append(
            f"The masks are compared on {len(few)} of {len(frames)} photographs; on all, gates may judge otherwise."
        )
        frames = few
    if frames.without_depth:
        notes.append(stand_in_note(len(frames.without_depth), len(frames)))
    return frames, notes


def _plans(maker: PointMaker, request: SweepRequest) -> tuple[list[Plan], dict[str, str]]:
    """The packages to make, and why recipes of the table are left out."""
    from ..quantize.apply import supports
    from ..quantize.recipes import RECIPES

    plans, left_out = [], {}
    for recipe in [RECIPES[name] for name in _names(request)]:
        if not supports(request.target, recipe):
            left_out[recipe.name] = f"it needs {recipe.minimum_target}; the target is {request.target}."
            continue
        sizes: tuple[float | None, ...] = (None,)
        if recipe.form == "mixed":
            sizes = tuple(dict.fromkeys(request.budgets_mb)) or _ladder(maker.uncompressed_bytes)
        tunes = (False, True) if request.tune and recipe.few_bits else (False,)
        plans += [Plan(recipe, tune, max_mb) for max_mb in sizes for tune in tunes]
    return plans, left_out


def _ladder(uncompressed_bytes: int) -> tuple[float, ...]:
    return tuple(dict.fromkeys(float(f"{share * uncompressed_bytes / 1e6:.2g}") for share in SHARES))


def _record(made: Sweep, request: SweepRequest, frames: Judged) -> dict[str, Any]:
    spec = made.model.spec
    return {
        "model": made.model.name,
        "trained": made.model.trained,
        "size": [spec.height, spec.width],
        "target": request.target,
        "photographs": len(frames),
        "points": [asdict(point) for point in made.points],
        "left_out": {name: in_words(reason) for name, reason in made.left_out.items()},
        "notes": list(map(in_words, made.notes)),
        "provenance": dict(made.model.provenance),
        "versions": tool_versions(),
    }


def _write(stages: Stages, made: Sweep, request: SweepRequest, frames: Judged) -> None:
    from ..verify.report.sweep import write_sweep

    name = made.model.name
    with stages.stage("report") as stage:
        write_json(made.folder / SWEEP_FILE, made.record)
        written = write_sweep(
            made.points,
            made.folder,
            title=f"{name} for {request.target}: {len(made.points)} packages, {len(frames)} photographs",
            facts={"model": name, **made.model.provenance, **tool_versions()},
            notes=made.record["notes"],
        )
        stage.summary = f"{written}, {SWEEP_FILE}"
