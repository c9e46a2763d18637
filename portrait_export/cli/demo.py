"""`portrait-export demo`: export packages into the iOS demo, with photos to try them on."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import UsageError
from . import options

DEFAULT_MODELS = ("serseg_b0", "segformer_b0")


@click.command()
@click.option(
    "--model",
    "-m",
    "models",
    type=options.Named("model", options.model_names),
    multiple=True,
    help="A registered model to export as int8; may be repeated.  [default: serseg_b0 and segformer_b0]",
)
@click.option(
    "--package",
    "-p",
    "packages",
    type=options.File(),
    multiple=True,
    help="A package, or the Core AI asset of the same name; may be repeated.",
)
@click.option("--parity/--no-parity", default=True, help="Run each exported package and gate on its masks.")
@click.option("--app", type=options.File(), help="The folder of the app's sources.  [default: this checkout's]")
@options.OUTPUT_OPTIONS
def demo(
    models: tuple[str, ...], packages: tuple[Path, ...], parity: bool, app: Path | None, console: options.Console
) -> int:
    """Export models and place them in the iOS demo, with the photos of the calibration set.

    \b
    portrait-export demo --model serseg_b0
    portrait-export demo --package build/mine/mine.mlpackage

    What was placed before is replaced. Open ios_demo/App/PortraitDemo.xcodeproj in Xcode then.
    Exit code 1: a gate failed, and nothing was placed.
    """
    from ..inputs.sources import ModelSource
    from ..workflows.export import export_coreml
    from ..workflows.place import app_folder, place
    from ..workflows.requests import CoreMLRequest, ParityRequest
    from . import export_summary, render

    if packages and not models and not parity:
        raise UsageError("--no-parity is for models that are exported; with --package alone, none is.")
    folder = app_folder(app)
    made = []
    for name in models or (() if packages else DEFAULT_MODELS):
        request = CoreMLRequest(
            source=ModelSource(model=name), recipe="int8", parity=ParityRequest() if parity else None, force=True
        )
        export = export_coreml(request, console.observer())
        if not export.passed:
            export_summary.show(export, console)
            return 1
        made.append(export.package.path)
    placed = place([*made, *packages], folder)
    if console.as_json:
        render.result_json(
            {
                "folder": str(placed.folder),
                "packages": list(placed.packages),
                "assets": list(placed.assets),
                "photos": placed.photos,
                "size_bytes": placed.size_bytes,
            }
        )
        return 0
    render.result(f"placed in {placed.folder}: {placed.photos} photos and {render.size(placed.size_bytes)} of packages")
    for name in placed.packages:
        render.result(f"  {name}.mlpackage" + (f", {name}.aimodel" if name in placed.assets else ""))
    return 0
