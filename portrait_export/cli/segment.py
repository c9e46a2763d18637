"""`portrait-export segment`: photographs and a model or package in; masks, cut-outs or new backgrounds out."""

from __future__ import annotations

from pathlib import Path

import click

from . import options

LOOKS = ("mask", "cutout", "replace", "blur")


@click.command()
@click.argument("photos", nargs=-1, required=True, type=options.File(), metavar="PHOTO...")
@click.option("--package", "-p", type=options.File(), help="A saved .mlpackage to run with our runtime.")
@options.SOURCE
@click.option(
    "--out",
    "-o",
    required=True,
    type=options.File(),
    help="A file for one photo (.png, .jpg, .webp), or a folder for any number.",
)
@click.option(
    "--as",
    "look",
    type=options.Named("look", lambda: list(LOOKS)),
    default="mask",
    help="What to make: mask (grayscale), cutout (transparent PNG), replace or blur (the background).",
)
@click.option(
    "--background", help="For --as replace: a colour (`white`, `#1e90ff`) or a picture's path.  [default: white]"
)
@click.option("--blur", "sigma", type=click.FloatRange(0, 1000), help="For --as blur: sigma in pixels of the photo.")
@click.option(
    "--depth",
    type=options.File(),
    help="For depth models: the photo's depth map (16-bit PNG, white is near), or a folder with maps of its name.",
)
@options.FORCE
@options.QUIET
def segment(
    photos: tuple[Path, ...],
    package: Path | None,
    model: str | None,
    checkpoint: Path | None,
    random_weights: bool,
    size: tuple[int, int] | None,
    out: Path,
    look: str,
    background: str | None,
    sigma: float | None,
    depth: Path | None,
    force: bool,
    quiet: bool,
) -> int:
    """Cut people out of PHOTOs of any size. The result has the photo's own resolution, upright.

    \b
    portrait-export segment me.jpg --model serseg_b0 --as cutout -o me.png
    portrait-export segment *.jpg --package build/serseg_b0-int8/serseg_b0.mlpackage -o masks/

    A photo that cannot be read does not stop the others; the exit code is then 2.
    """
    from ..inputs.sources import ModelSource
    from ..workflows.segment import Look, SegmentRequest, segment_photos
    from . import render

    request = SegmentRequest(
        photos=photos,
        package=package,
        source=ModelSource(model=model, checkpoint=checkpoint, random_weights=random_weights, size=size),
        out=out,
        look=Look(kind=look, background=background, sigma=sigma),
        depth=depth,
        force=force,
    )
    failures = []
    for done in segment_photos(request, render.observer(quiet=quiet, verbose=False)):
        for note in done.notes if not quiet else ():
            render.warn(f"{done.photo}: {note}")
        if done.error is not None:
            failures.append(done.error)
            render.failure(done.error)
        else:
            render.result(str(done.out))
    return failures[0].exit_code if failures else 0
