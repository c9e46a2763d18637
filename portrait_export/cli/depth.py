"""`portrait-export depth`: make 16-bit depth maps of photos with MiDaS."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import options

if TYPE_CHECKING:
    from ..workflows.estimate_depth import DepthResult


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
    type=options.FileOrFolder(),
    help="A folder, or a .png for a single photo.  [default: depth/ in each FOLDER]",
)
@click.option(
    "--white",
    type=White(),
    default=1000.0,
    help="The network's output that becomes white, or `photo`: each photo's own range from black to white.",
)
@options.FORCE
@options.OUTPUT_OPTIONS
def depth(
    photos: tuple[Path, ...],
    checkpoint: Path | None,
    onnx: Path | None,
    out: tuple[Path, bool] | None,
    white: float | str,
    force: bool,
    console: options.Console,
) -> int:
    """Make the depth maps that depth models need: 16-bit gray PNG, white is near.

    \b
    portrait-export depth my_photos/ --checkpoint midas_v21_small_256.pt    # my_photos/images/* → my_photos/depth/*
    portrait-export depth me.jpg --checkpoint midas_v21_small_256.pt -o me_depth.png

    \b
    The network is not bundled: download it from release v2_1 of github.com/isl-org/MiDaS (MIT).

    The published depth models were trained on the network's output divided by 1000, hence --white 1000. Existing maps
    are kept. A photo that cannot be read does not stop the others; the exit code is then 2.
    """
    from ..workflows.estimate_depth import DepthRequest, estimate_depths
    from . import render

    request = DepthRequest(
        photos=photos,
        checkpoint=checkpoint,
        onnx=onnx,
        out=None if out is None else out[0],
        folder=out is not None and out[1],
        white=white if isinstance(white, float) else None,
        force=force,
    )
    results = []
    for result in estimate_depths(request, console.observer()):
        results.append(result)
        for note in () if console.quiet or console.as_json else result.notes:
            render.warn(f"{result.photo}: {note}")
        if result.error is not None:
            render.failure(result.error)
        elif not result.kept and not console.as_json:
            render.result(str(result.out))
    kept = sum(result.kept for result in results)
    if console.as_json:
        render.result_json([_as_json(result) for result in results])
    elif kept and not console.quiet:
        render.message(f"{kept} existing depth maps were kept; --force replaces them.")
    return max((result.error.exit_code for result in results if result.error is not None), default=0)


def _as_json(result: DepthResult) -> dict[str, Any]:
    return {
        "photo": str(result.photo),
        "out": None if result.error is not None else str(result.out),
        "kept": result.kept,
        "notes": list(result.notes),
        "error": None if result.error is None else {"code": result.error.code, "message": result.error.message},
    }
