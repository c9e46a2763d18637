"""`portrait-export segment`: write masks, cut-outs or new backgrounds for photos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import options

if TYPE_CHECKING:
    from ..inputs.sources import ModelSource
    from ..workflows.segment import SegmentResult

LOOKS = ("mask", "cutout", "replace", "blur")


@click.command()
@click.argument("photos", nargs=-1, required=True, type=options.File(), metavar="PHOTO|FOLDER...")
@click.option("--package", "-p", type=options.File(), help="A saved .mlpackage to run with our runtime.")
@options.source_of_size("the model's, 512x512; of a package, the one that suits the photo")
@click.option(
    "--out",
    "-o",
    required=True,
    type=options.FileOrFolder(),
    help="A file for a single photo (.png, .jpg, .webp), or a folder.",
)
@click.option(
    "--as",
    "look",
    type=options.Named("look", lambda: list(LOOKS)),
    default="mask",
    help="What to make: mask (grayscale), cutout (transparent PNG), replace or blur (the background).",
)
@click.option(
    "--background", help="For --as replace: a colour (`white`, `#1e90ff`) or the path of a picture.  [default: white]"
)
@click.option("--blur", "sigma", type=options.Number(0, 1000), help="For --as blur: sigma in pixels of the photo.")
@click.option(
    "--depth",
    type=options.File(),
    help="For depth models: the photo's depth map (16-bit PNG, white is near), or a folder of maps with the photos'"
    " names.",
)
@click.option(
    "--image",
    "pictures",
    multiple=True,
    metavar="NAME=FILE",
    help="For models that take further pictures: the one for input NAME, of the photo's view, or a folder with the"
    " photos' names; may be repeated.",
)
@click.option(
    "--refine/--no-refine",
    default=True,
    help="Sharpen the mask along the photo's edges, or keep the network's own.",
)
@click.option(
    "--sequence",
    is_flag=True,
    help="The photos are the frames of one film, in this order: a recurrent network carries its values.",
)
@options.FORCE
@options.OUTPUT_OPTIONS
def segment(
    photos: tuple[Path, ...],
    package: Path | None,
    source: ModelSource,
    out: tuple[Path, bool],
    look: str,
    background: str | None,
    sigma: float | None,
    depth: Path | None,
    pictures: tuple[str, ...],
    refine: bool,
    sequence: bool,
    force: bool,
    console: options.Console,
) -> int:
    """Cut people out of PHOTOs of any size, and of those in FOLDERs and their subfolders.

    The result has the photo's own resolution, upright.

    \b
    portrait-export segment me.jpg --model serseg_b0 --as cutout -o me.png
    portrait-export segment my_photos/ --package build/serseg_b0-int8/serseg_b0.mlpackage -o masks/

    A photo that cannot be read does not stop the others; the exit code is then 2.
    """
    from ..verify.scores import one_colour_warning
    from ..workflows.segment import Look, SegmentRequest, segment_photos
    from . import render

    request = SegmentRequest(
        photos=photos,
        package=package,
        source=source,
        out=out[0],
        folder=out[1],
        look=Look(kind=look, background=background, sigma=sigma),
        depth=depth,
        pictures=tuple(_named_file(text) for text in pictures),
        refine=refine,
        sequence=sequence,
        force=force,
    )
    results = []
    for result in segment_photos(request, console.observer()):
        results.append(result)
        for note in () if console.quiet or console.as_json else result.notes:
            render.warn(f"{result.photo}: {note}")
        if result.error is not None:
            render.failure(result.error)
        elif not console.as_json:
            render.result(str(result.out))
    if console.as_json:
        render.result_json([_as_json(result) for result in results])
    warning = one_colour_warning([result.person_share for result in results if result.person_share is not None])
    if warning and not console.quiet:
        render.warn(warning)
    return max((result.error.exit_code for result in results if result.error is not None), default=0)


def _named_file(text: str) -> tuple[str, Path]:
    name, separator, file = text.partition("=")
    if not (name and separator and file):
        raise click.BadParameter(f"{text!r} is not NAME=FILE.", param_hint="'--image'")
    return name, Path(file)


def _as_json(result: SegmentResult) -> dict[str, Any]:
    return {
        "photo": str(result.photo),
        "out": None if result.error is not None else str(result.out),
        "person_share": result.person_share,
        "notes": list(result.notes),
        "error": None if result.error is None else {"code": result.error.code, "message": result.error.message},
    }
