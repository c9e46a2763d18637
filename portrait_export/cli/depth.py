"""`portrait-export depth`: photographs and a MiDaS file in, 16-bit depth maps out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import options


class White(click.ParamType):
    """A positive number, or `photo`."""

    name = "NUMBER|photo"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return self.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "photo" or not isinstance(value, str):
            return value
        try:
            number = float(value)
        except ValueError:
            number = 0.0
        if not 0 < number < float("inf"):
            self.fail(f"{value!r} is neither a number above 0 nor `photo`.", param, ctx)
        return number


@click.command()
@click.argument("photos", nargs=-1, required=True, type=options.File(), metavar="PHOTO|FOLDER...")
@click.option(
    "--checkpoint",
    type=options.File(),
    help="MiDaS v2.1 small, midas_v21_small_256.pt; read as tensors only.",
)
@click.option("--onnx", type=options.File(), help="A depth network in ONNX, such as MiDaS' model-small.onnx.")
@click.option(
    "--out",
    "-o",
    type=options.File(),
    help="A folder, or a .png for one photo.  [default: depth/ in each FOLDER]",
)
@click.option(
    "--white",
    type=White(),
    default=1000.0,
    help="The network's number that becomes white, or `photo`: each photo's own range from black to white.",
)
@options.FORCE
@options.QUIET
def depth(
    photos: tuple[Path, ...],
    checkpoint: Path | None,
    onnx: Path | None,
    out: Path | None,
    white: float | str,
    force: bool,
    quiet: bool,
) -> int:
    """Make the depth maps that depth models read beside a photo: 16-bit gray PNG, white is near.

    \b
    portrait-export depth my_photos/ --checkpoint midas_v21_small_256.pt    # my_photos/images/* → my_photos/depth/*
    portrait-export depth me.jpg --checkpoint midas_v21_small_256.pt -o me_depth.png

    \b
    The network does not come along: release v2_1 of github.com/isl-org/MiDaS (MIT) has it.

    The published depth models were trained on its numbers divided by 1000, which is what --white stands for. Maps
    that exist are kept. A photo that cannot be read does not stop the others; the exit code is then 2.
    """
    from ..workflows.estimate_depth import DepthRequest, estimate_depths
    from . import render

    request = DepthRequest(
        photos=photos,
        checkpoint=checkpoint,
        onnx=onnx,
        out=out,
        white=white if isinstance(white, float) else None,
        force=force,
    )
    failures, kept = [], 0
    for done in estimate_depths(request, render.observer(quiet=quiet, verbose=False)):
        for note in done.notes if not quiet else ():
            render.warn(f"{done.photo}: {note}")
        kept += done.kept
        if done.error is not None:
            failures.append(done.error)
            render.failure(done.error)
        elif not done.kept:
            render.result(str(done.out))
    if kept and not quiet:
        render.say(f"{kept} depth maps exist and were kept; --force makes them anew.")
    return failures[0].exit_code if failures else 0
