"""`portrait-export sweep`: packages of one network with every recipe, compared by size and masks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import options
from .network_options import own_network

if TYPE_CHECKING:
    from ..inputs.sources import ModelSource
    from ..workflows.sweep import Sweep


@click.command()
@options.SOURCE
@own_network
@click.option(
    "--recipes",
    type=options.Listed(options.Named("recipe", options.recipe_names)),
    default=(),
    show_default=False,
    help="Only these recipes, such as int8,palette4,mixed.  [default: all that the target supports]",
)
@click.option(
    "--budgets",
    type=options.Listed(options.Number(0, min_open=True), "MB"),
    default=(),
    show_default=False,
    help="Sizes of packages of recipe mixed, such as 1.4,1.7,2.0.  [default: five, 18 to 40 % of the uncompressed one]",
)
@click.option("--tune", is_flag=True, help="Make each package below 8 bits with --tune, too (minutes each).")
@click.option(
    "--target",
    type=options.Named("target", options.target_names),
    default="iOS18",
    help="The oldest iOS that must run the packages: iOS16, iOS17, iOS18 or iOS26.",
)
@click.option(
    "--data",
    type=options.File(),
    help="Photos to compare on: a folder, or images/ + masks/.  [default: the evaluate half of the calibration set]",
)
@options.KINDS
@click.option("--photos", type=click.IntRange(min=1), help="Compare on at most so many photos, evenly spread.")
@click.option("--out", "-o", type=options.File(), help="Output folder.  [default: build/MODEL-sweep]")
@click.option("--force", is_flag=True, help="Make every package again, even if a run before has.")
@options.OUTPUT_OPTIONS
def sweep(
    source: ModelSource,
    recipes: tuple[str, ...],
    budgets: tuple[float, ...],
    tune: bool,
    target: str,
    data: Path | None,
    kinds: tuple[str, ...],
    photos: int | None,
    out: Path | None,
    force: bool,
    console: options.Console,
) -> None:
    """Make packages with every recipe and several budgets, and compare their sizes and masks.

    The network is captured and measured once. A run that was interrupted goes on where it was.

    \b
    Writes to the output folder: sweep.html, frontier.png, sweep.md, sweep.json, and a
    folder with a package for each point.
    """
    from ..workflows.points import SweepRequest
    from ..workflows.sweep import sweep as run

    request = SweepRequest(
        source=source,
        recipes=recipes,
        budgets_mb=budgets,
        tune=tune,
        target=target,
        data=data,
        kinds=kinds,
        photos=photos,
        out=out,
        force=force,
        command=_command,
    )
    _show(run(request, console.observer()), console)


def _command(arguments: Mapping[str, Any]) -> str:
    from .coreml import coreml
    from .flags import command_line

    return command_line(coreml, arguments)


def _show(made: Sweep, console: options.Console) -> None:
    """Print the table and the commands of the frontier; everything as JSON; or the path of the report."""
    from ..verify.report.sweep import cells, heads
    from . import render

    if console.as_json:
        render.result_json(made.record)
        return
    if console.quiet:
        render.result(str(made.report))
        return
    columns = heads(made.points)
    rows = [cells(point, made.points) for point in made.points]
    render.result("")
    render.result(render.table(columns, rows, right=range(1, len(columns) - 2)))
    render.result("")
    for point in made.frontier:
        render.result(point.command)
    for note in made.notes:
        render.result(f"{render.style('note', fg='yellow')}  {note}")
    render.result(f"\nreport   {made.report}")
