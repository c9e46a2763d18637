"""Apply a recipe for a deployment target."""

from __future__ import annotations

from pathlib import Path

from ..errors import QuantizeError
from .recipe import Recipe


def check_recipe(recipe: Recipe, *, target: str, rounding: str | None = None, tune: bool = False) -> None:
    """Raise QuantizeError if the target does not support the recipe's operators, or the recipe not the options."""
    if tune and not recipe.few_bits:
        raise QuantizeError(
            f"Recipe {recipe.name} loses too little to be improved; `tune=True` is for recipes below 8 bits.",
            hint="leave out `tune=`, or pass a recipe such as `quantize=palette4`.",
        )
    if rounding == "gptq" and not recipe.compresses:
        raise QuantizeError(
            f"Recipe {recipe.name} compresses no weights; `rounding=gptq` is for recipes that do.",
            hint="leave out `rounding=`, or pass a recipe such as `quantize=int8`.",
        )
    if not supports(target, recipe):
        raise QuantizeError(
            f"Recipe {recipe.name} needs {recipe.minimum_target}; the deployment target is {target}.",
            hint=f"pass `target={recipe.minimum_target}` or another recipe.",
        )


def check_activations(recipe: Recipe, method: str | None, *, asymmetric: bool, precision: str) -> None:
    """Raise QuantizeError if the recipe leaves activations alone and they are chosen, or the precision is not half."""
    if not recipe.activations and (method or asymmetric):
        chosen = f"activations={method}" if method else "asymmetric=True"
        raise QuantizeError(
            f"Recipe {recipe.name} compresses weights alone; `{chosen}` is for recipes with 8-bit activations.",
            hint=f"leave out `{chosen.partition('=')[0]}=`, or pass `quantize=w8a8`.",
        )
    if recipe.activations and precision != "fp16":
        raise QuantizeError(
            f"Recipe {recipe.name} rounds half-precision activations; the precision is {precision}.",
            hint="leave out `precision=`, or pass `quantize=int8`.",
        )


def supports(target: str, recipe: Recipe) -> bool:
    """Whether a deployment target supports a recipe's operators."""
    return _ios(target) >= _ios(recipe.minimum_target)


def check_budget(
    recipe: Recipe, *, settings: Path | None, max_mb: float | None, min_iou: float | None, parity: bool
) -> None:
    """Raise QuantizeError unless exactly a recipe for each weight has a budget, or a file of rules."""
    if recipe.form != "mixed":
        if max_mb is not None:
            raise QuantizeError(
                f"Recipe {recipe.name} has one size; `max_mb=` is for `quantize=mixed`.",
                hint="leave out `max_mb=`, or pass `quantize=mixed`.",
            )
        return
    if max_mb is not None and max_mb <= 0:
        raise QuantizeError(f"`max_mb=` is a size in MB above 0; found {max_mb:g}.")
    if settings is None and max_mb is None and (min_iou is None or not parity):
        raise QuantizeError(
            "Recipe mixed chooses how each weight is stored by a budget, and there is none.",
            hint="pass `max_mb=` for the best masks within a size, `min_iou=` for the smallest size with such masks, or"
            " a TOML file of rules as `quantize=`.",
        )
    if settings is not None and max_mb is not None:
        raise QuantizeError(f"{settings.name} decides how each weight is stored, so there is no `max_mb=` to keep.")


def _ios(target: str) -> int:
    return int(target.removeprefix("iOS"))
