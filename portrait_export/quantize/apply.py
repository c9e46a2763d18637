"""Turn a recipe into the passes that compress a program's weights, for a deployment target."""

from __future__ import annotations

import importlib

from ..artifacts import CompressionPass
from ..errors import QuantizeError
from .recipe import Recipe


def compression_passes(recipe: Recipe, *, target: str) -> tuple[CompressionPass, ...]:
    """The passes that `mil.compile` runs after its own. Empty for a recipe that leaves the weights alone.

    Raises:
        QuantizeError: the target is older than the recipe's operators.
    """
    check_target(recipe, target=target)
    if recipe.scheme is None:
        return ()
    scheme = importlib.import_module(f".{recipe.scheme}", __package__)
    return tuple(scheme.passes(recipe))


def check_target(recipe: Recipe, *, target: str) -> None:
    """Raise QuantizeError if a deployment target is older than the recipe's operators."""
    if _ios(target) < _ios(recipe.minimum_target):
        raise QuantizeError(
            f"Recipe {recipe.name} needs {recipe.minimum_target}; the deployment target is {target}.",
            hint=f"pass `--target {recipe.minimum_target}` or another recipe.",
        )


def _ios(target: str) -> int:
    return int(target.removeprefix("iOS"))
