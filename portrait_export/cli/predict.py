"""`portrait-export predict`: run any ML Program once on input files and show its outputs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from . import options


@click.command()
@click.argument("package", type=options.File())
@click.option(
    "--input",
    "-i",
    "inputs",
    multiple=True,
    metavar="NAME=FILE",
    help="A picture for an image input (stretched to its size), .npy for an array; repeat for each input.",
)
@click.option(
    "--out",
    "-o",
    type=options.File(),
    help="Folder for the outputs: .png for images, .npy for arrays, .json for labels and probabilities.",
)
@click.option("--function", help="The function of a multi-function package to run.  [default: the package's default]")
@options.ARITHMETIC
@click.option("--device", default="cpu", help="A torch device: cpu, cuda or mps.")
@options.FORCE
@options.output_options(options.AS_JSON)
def predict(
    package: Path,
    inputs: tuple[str, ...],
    out: Path | None,
    function: str | None,
    arithmetic: str,
    device: str,
    force: bool,
    console: options.Console,
) -> None:
    """Run PACKAGE, any Core ML ML Program, once with our runtime and show its outputs.

    \b
    portrait-export predict other.mlpackage -i image=me.jpg -i strength=half.npy -o out/
    """
    from ..workflows.predict import PredictRequest, predict_files
    from . import render

    request = PredictRequest(
        package=package,
        inputs=_named_files(inputs),
        out=out,
        function=function,
        arithmetic=arithmetic,
        device=device,
        force=force,
    )
    outputs = predict_files(request)
    if console.as_json:
        render.result_json([{**asdict(o), "file": str(o.file) if o.file else None} for o in outputs])
        return
    rows = [
        [o.name, o.kind, "x".join(map(str, o.shape)), o.dtype, _number(o.low), _number(o.high), str(o.file or "")]
        for o in outputs
    ]
    render.result(render.table(["output", "kind", "shape", "type", "lowest", "highest", "file"], rows, right=(4, 5)))
    for output in outputs:
        if output.value is not None:
            render.result(f"\n{render.style(output.name, bold=True)}:{_value(output.value)}")


def _named_files(pairs: tuple[str, ...]) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for pair in pairs:
        name, equals, file = pair.partition("=")
        if not (name and equals and file):
            raise click.UsageError(f"{pair!r} is not NAME=FILE, such as image=me.jpg.")
        if name in named:
            raise click.UsageError(f"Input {name!r} is given twice.")
        named[name] = Path(file)
    return named


SHOWN_LABELS = 10  # of a classifier, the likeliest first; --json and -o have all


def _value(value: Any) -> str:
    """A label, or the labels with the highest probabilities."""
    if not isinstance(value, dict):
        return f" {value}"
    best = sorted(value.items(), key=lambda item: -item[1])
    lines = [f"{label}  {_number(probability)}" for label, probability in best[:SHOWN_LABELS]]
    more = f"\n  and {len(best) - SHOWN_LABELS} more" if len(best) > SHOWN_LABELS else ""
    return "\n  " + "\n  ".join(lines) + more


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.5g}"
