"""The table of quantization recipes. A new recipe is a row here."""

from __future__ import annotations

from ..errors import QuantizeError, nearest
from . import linear
from .recipe import Recipe

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("none", "weights as the compute precision has them (fp16 unless `precision=fp32`)"),
        Recipe(
            "int8",
            "weights as 8-bit integers, symmetric, one scale per output channel: half the size of fp16",
            passes=linear.passes,
            dtype="int8",
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
