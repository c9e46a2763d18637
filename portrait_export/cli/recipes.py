"""`portrait-export recipes`: list the ways to compress weights."""

from __future__ import annotations

import click

from . import options

INTRODUCTION = """\
All buy a smaller package: Core ML decodes the weights when it loads the package or while it computes, so whether a
recipe is also faster depends on the device. First and last layers stay as they are if that costs little; if not, they
keep 8 bits, as grouped and recurrent layers do.

w8a8 buys speed on Neural Engines from A17 Pro and M4 on, which multiply integers: values between layers are rounded to
8 bits, by ranges measured on photographs. Additions, and layers that 8 bits would harm, keep half precision.
"""


@click.command()
@options.output_options(options.AS_JSON)
def recipes(console: options.Console) -> None:
    """List the quantization recipes.

    \b
    bits      per element of a layer's weight
    size      of the weights against 32-bit floats, without scales and tables
    rounding  gptq moves each rounding error into inputs that are not rounded yet
    needs     the oldest iOS that can run it
    """
    from ..quantize.recipes import RECIPES
    from . import render

    rows = [
        {
            "name": recipe.name,
            "bits": recipe.bits or None,
            "size": recipe.bits / 32 if recipe.bits else None,
            "rounding": recipe.rounding if recipe.dtype else None,
            "target": recipe.minimum_target,
            "summary": recipe.summary,
        }
        for recipe in RECIPES.values()
    ]
    if console.as_json:
        render.result_json(rows)
        return
    cells = [
        [
            str(row["name"]),
            str(row["bits"] or "2–16"),
            f"{100 * float(str(row['size'])):.3g} %" if row["size"] else "–",
            str(row["rounding"] or "–"),
            str(row["target"]),
            str(row["summary"]),
        ]
        for row in rows
    ]
    render.result(
        render.table(["recipe", "bits", "size", "rounding", "needs", "how weights are stored"], cells, right=(1, 2))
    )
    render.result("\n" + INTRODUCTION.rstrip())
