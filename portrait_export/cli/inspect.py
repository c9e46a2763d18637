"""`portrait-export inspect`: a package or ONNX file in, what it takes, gives and holds out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import options


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@options.AS_JSON
def inspect(file: Path, as_json: bool) -> None:
    """Show FILE's inputs, outputs, operations, weights by stored type, deployment target and metadata.

    FILE is a .mlpackage, an .mlmodel that holds an ML Program, or an .onnx file.
    """
    from . import render

    facts = _describe(file)
    if as_json:
        render.result_json(facts)
    else:
        _show(facts)


def _describe(file: Path) -> dict[str, Any]:
    if file.suffix.lower() == ".onnx":
        from ..capture.describe import describe_onnx

        return describe_onnx(file)
    from ..mil.describe import describe_package

    return describe_package(file)


def _show(facts: dict[str, Any]) -> None:
    from . import render

    needs = f", needs {facts['needs']} or later" if "needs" in facts else ""
    opset = ", opset " + " ".join(f"{d} {v}" for d, v in facts["opset"].items()) if "opset" in facts else ""
    render.result(f"{facts['file']}: {facts['kind']}, {render.size(facts['size_bytes'])}{needs}{opset}")
    for side in ("inputs", "outputs"):
        rows = [
            [f["name"], f["kind"], _shape(f), f.get("color") or f.get("dtype", ""), f["description"]]
            for f in facts[side]
        ]
        render.result("\n" + render.table([side, "kind", "shape", "type", "description"], rows))
    rows = [[name, str(count)] for name, count in facts["operations"].items()]
    total = sum(facts["operations"].values())
    render.result("\n" + render.table([f"operations ({total})", "count"], rows, right=(1,)))
    rows = [
        [dtype, f"{row['weights']:,}", f"{row['elements']:,}", render.size(row["bytes"])]
        for dtype, row in facts["weights"].items()
    ]
    render.result("\n" + render.table(["stored as", "weights", "elements", "bytes"], rows, right=(1, 2, 3)))
    rows = [[key, _one_line(text)] for key, text in facts["metadata"].items() if text]
    if rows:
        render.result("\n" + render.table(["metadata", ""], rows))


def _shape(feature: dict[str, Any]) -> str:
    return "x".join(str(side) for side in feature["shape"])


def _one_line(text: str, limit: int = 96) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"
