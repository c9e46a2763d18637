"""`portrait-export models`: list the registered models with their size, cost and weights."""

from __future__ import annotations

from typing import Any

import click

from . import options


@click.command()
@click.argument("pattern", default="*")
@options.output_options(options.AS_JSON)
def models(pattern: str, console: options.Console) -> None:
    """List the models whose name matches PATTERN, such as 'serseg_*'.

    \b
    params  trainable parameters
    GMACs   multiply-adds of convolutions and matrix products at the model's input size
    fp16    size of the weights at two bytes each
    """
    from ..errors import UsageError, nearest
    from ..models.registry import list_models
    from . import render

    names = list_models(pattern)
    if not names:
        known = list_models()
        raise UsageError(f"No model matches {pattern!r}.", hint=nearest(pattern, known, what="model"))
    rows = [_facts(name) for name in names]
    if console.as_json:
        render.result_json(rows)
        return
    headers = ["model", "params", "GMACs", "fp16", "input", "weights", "description"]
    cells = [
        [
            row["name"],
            f"{row['parameters'] / 1e6:.2f} M",
            f"{row['gmacs']:.1f}",
            render.size(row["parameters"] * 2),
            f"{row['height']}x{row['width']}" + (" + depth" if "depth" in row["inputs"] else ""),
            render.style("bundled", fg="green") if row["weights"] else "none",
            row["description"],
        ]
        for row in rows
    ]
    render.result(render.table(headers, cells, right=(1, 2, 3)))


def _facts(name: str) -> dict[str, Any]:
    from ..models.registry import model_spec

    spec = model_spec(name)
    return {
        "name": name,
        "description": spec.description,
        "parameters": spec.params,
        "gmacs": spec.gmacs,
        "height": spec.size[0],
        "width": spec.size[1],
        "inputs": list(spec.inputs),
        "weights": spec.weights_path is not None,
        "paper": spec.paper,
        "published": dict(spec.published),
    }
