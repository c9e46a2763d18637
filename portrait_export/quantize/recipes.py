"""The table of quantization recipes. A new recipe is a row here."""

from __future__ import annotations

from ..errors import QuantizeError, nearest
from .recipe import Recipe


def _palette(bits: int, *, target: str = "iOS16", note: str = "") -> Recipe:
    return Recipe(
        f"palette{bits}",
        f"{bits}-bit indices into a table of {2**bits} values per weight{note}",
        form="palette",
        bits=bits,
        dtype=f"uint{bits}",
        minimum_target=target,
    )


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("none", "weights as the compute precision has them (fp16 unless `precision=fp32`)"),
        Recipe(
            "int8",
            "weights as 8-bit integers, symmetric, one scale per output channel: half the size of fp16",
            form="channels",
            bits=8,
            dtype="int8",
            rounding="nearest",
        ),
        Recipe(
            "int8-block32",
            "8-bit integers, one scale per 32 inputs of an output channel",
            form="blocks",
            bits=8,
            block=32,
            dtype="int8",
            minimum_target="iOS18",
        ),
        Recipe(
            "int4-block32",
            "4-bit integers, one scale per 32 inputs of an output channel",
            form="blocks",
            bits=4,
            block=32,
            dtype="int4",
            minimum_target="iOS18",
        ),
        _palette(8),
        _palette(6),
        _palette(4),
        _palette(3, target="iOS18"),
        _palette(2, note="; masks change visibly"),
        Recipe(
            "w8a8",
            "weights as int8, and 8-bit activations between layers: faster on Neural Engines from A17 Pro and M4 on",
            form="channels",
            bits=8,
            dtype="int8",
            minimum_target="iOS17",
            activations="mse",
        ),
        Recipe(
            "palette4-vector",
            "8-bit indices into a table of 256 pairs of values per weight: 4 bits per element",
            form="palette",
            bits=4,
            vector=2,
            dtype="uint8",
            minimum_target="iOS18",
        ),
        Recipe(
            "mixed",
            "a recipe for each weight: the best within `max_mb=`, the smallest with `min_iou=`, or by a TOML file",
            form="mixed",
            bits=0,
            dtype="mixed",
        ),
    )
}


def get_recipe(name: str) -> Recipe:
    """Look up a recipe. Raises QuantizeError with the nearest name if there is none."""
    if name not in RECIPES:
        raise QuantizeError(
            f"There is no quantization recipe {name!r}.",
            code="unknown-recipe",
            hint=nearest(name, list(RECIPES), what="recipe"),
        )
    return RECIPES[name]
