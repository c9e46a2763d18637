"""Compare the recipes for a network from Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..utils.stages import Observer, SilentObserver
from .arguments import NetworkOptions, Size, StrPath, names_of, numbers_of, path_of, require_known, source_of
from .checked import checked

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..workflows.sweep import Sweep


@checked
def sweep(
    model: str | None = None,
    *,
    checkpoint: StrPath | None = None,
    onnx: StrPath | None = None,
    torch: str | None = None,
    torchscript: StrPath | None = None,
    random_weights: bool = False,
    size: Size | None = None,
    recipes: Sequence[str] = (),
    budgets: float | Sequence[float] = (),
    tune: bool = False,
    target: str = "iOS18",
    data: StrPath | None = None,
    kinds: Sequence[str] = (),
    photos: int | None = None,
    out: StrPath | None = None,
    force: bool = False,
    observer: Observer | None = None,
    **network: Unpack[NetworkOptions],
) -> Sweep:
    """Make packages of a network with every recipe and several budgets, and compare their sizes and masks.

    The output folder gets sweep.html, frontier.png, sweep.md, sweep.json, and a folder with a package for each point.
    A run that was interrupted goes on where it was.

        swept = pe.sweep("segformer_b0", budgets=[1.4, 1.7, 2.0])
        for point in swept.frontier:
            print(point.size_bytes, point.mask_iou, point.label_iou, point.passed, point.command)

    Args:
        model, checkpoint, onnx, torch, torchscript, random_weights, size, network: the model, as for `export`.
        recipes: only these; by default all that the target supports.
        budgets: sizes in MB of packages of recipe `mixed`; by default five, from 18 to 40 % of the uncompressed one.
        tune: also make each package below 8 bits with `tune=True`; minutes each.
        target: the oldest iOS that must run the packages: `iOS16`, `iOS17`, `iOS18` or `iOS26`.
        data: a folder of photos to compare on, or one with images/ and masks/; by default the evaluate half of the
            bundled calibration set.
        kinds: as for `export`.
        photos: compare on at most so many of the photos, evenly spread.
        out: output folder; by default build/MODEL-sweep.
        force: make every package again, even if a run before has.
        observer: receives the progress; by default nothing does.
    Returns:
        The frozen result: `points` by size and `frontier` (each with `size_bytes`, `mask_iou`, `label_iou`, `kinds`,
        `passed`, `package`, `command`), `left_out`, `folder`, `report` and `record` (the content of sweep.json).
    Raises:
        PortraitError: the packages could not be made. A failed gate does not raise: see `passed` of a point.
    """
    from ..mil.coreml import TARGETS
    from ..quantize.recipes import RECIPES
    from ..workflows.points import SweepRequest
    from ..workflows.sweep import sweep as run

    require_known("target", target, TARGETS)
    for recipe in names_of(recipes):
        require_known("recipes", recipe, RECIPES)
    request = SweepRequest(
        source=source_of(
            model=model,
            checkpoint=checkpoint,
            random_weights=random_weights,
            size=size,
            onnx=onnx,
            torch=torch,
            torchscript=torchscript,
            network=network,
        ),
        recipes=names_of(recipes),
        budgets_mb=numbers_of(budgets),
        tune=tune,
        target=target,
        data=path_of(data),
        kinds=names_of(kinds),
        photos=photos,
        out=path_of(out),
        force=force,
    )
    return run(request, observer or SilentObserver())
