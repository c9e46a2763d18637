"""Read a TOML file of rules that choose a recipe for each weight.

A rule takes weights by their names, or by the types of the operations that read them.

    recipe = "palette4"          # of the weights that no rule takes

    [[rules]]
    weights = "*decode_head*"    # glob patterns of names of weights
    operations = "conv"          # glob patterns of types of operations
    recipe = "int8"              # or "none"

The first rule that takes a weight decides. Its recipe holds exactly: also for first, last and grouped layers, which
keep at least 8 bits otherwise, and small first and last layers, which stay as they are otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ..errors import QuantizeError, nearest
from ..utils.toml import read_toml, setting
from .apply import check_recipe
from .assignment import Assignment, Storage
from .encode import assign
from .layer import Layer
from .layers import Weights
from .recipes import RECIPES

SUFFIX = ".toml"
LEFT_BY_RULE = "a rule leaves it as it is"
LEFT_BY_DEFAULT = "no rule takes it"


def _recipe(value: Any) -> str:
    names = [name for name, recipe in RECIPES.items() if name == "none" or recipe.form in _PER_WEIGHT]
    if value not in names:
        raise ValueError(f"not a recipe for a single weight; {nearest(str(value), names, what='recipe')}")
    return str(value)


_PER_WEIGHT = ("channels", "blocks", "palette")


@dataclass(frozen=True)
class Rule:
    """One choice.

    Attributes:
        recipe: for the weights that the rule takes.
        weights: glob patterns of names of weights; empty: any.
        operations: glob patterns of types of the operations that read them; empty: any.
    """

    recipe: str = setting(_recipe)
    weights: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()

    def takes(self, layer: Layer) -> bool:
        """Whether the rule is for a layer."""
        named = not self.weights or any(fnmatchcase(layer.name, pattern) for pattern in self.weights)
        return named and (
            not self.operations or any(fnmatchcase(op, p) for op in layer.operators for p in self.operations)
        )


@dataclass(frozen=True)
class Settings:
    """The content of a file.

    Attributes:
        recipe: for weights that no rule takes, with at least 8 bits for sensitive layers.
        rules: in the order in which they are tried.
    """

    recipe: str = setting(_recipe, "none")
    rules: tuple[Rule, ...] = ()


def read_settings(file: Path, *, target: str) -> Settings:
    """Read a file. Raises UsageError or QuantizeError with everything in it that cannot be used for any network."""
    settings = read_toml(file, Settings)
    problems = [
        f"rules[{index}] has no {what}"
        for index, rule in enumerate(settings.rules)
        for what, missing in (
            ("recipe", not rule.recipe),
            ("patterns: give `weights` or `operations`", not rule.weights and not rule.operations),
        )
        if missing
    ]
    if problems:
        raise QuantizeError(f"{file.name} has rules that cannot be used.", context=problems)
    for name in (settings.recipe, *(rule.recipe for rule in settings.rules)):
        check_recipe(RECIPES[name], target=target)
    return settings


def assign_by_rules(weights: Weights, settings: Settings, *, file: str) -> Assignment:
    """Store every weight as the first rule that takes it says.

    Raises:
        QuantizeError: patterns that fit no weight, and rules that take none because others do, all at once.
    """
    default = assign(weights, RECIPES[settings.recipe])
    stored, left = {}, dict(weights.left)
    taken = dict.fromkeys(range(len(settings.rules)), 0)
    for name, layer in weights.layers.items():
        index = next((index for index, rule in enumerate(settings.rules) if rule.takes(layer)), None)
        if index is not None:
            taken[index] += 1
        recipe = RECIPES[settings.recipe if index is None else settings.rules[index].recipe]
        if recipe.form == "none":
            left[name] = LEFT_BY_DEFAULT if index is None else LEFT_BY_RULE
        elif index is not None:
            stored[name] = Storage.of(recipe)
        elif name in default.stored:
            stored[name] = default.stored[name]
        else:
            left[name] = default.left[name]
    problems = _unused(weights.layers, settings, taken)
    if problems:
        raise QuantizeError(
            f"{file} has patterns that fit no weight of this network.",
            context=problems,
            hint=f"the weights are, for example: {', '.join(list(weights.layers)[:3])};"
            f" the operations: {', '.join(sorted({op for one in weights.layers.values() for op in one.operators}))}.",
        )
    return Assignment(stored, left)


def _unused(layers: Mapping[str, Layer], settings: Settings, taken: Mapping[int, int]) -> list[str]:
    problems = []
    types = {op for layer in layers.values() for op in layer.operators}
    for index, rule in enumerate(settings.rules):
        lost = [f"weights {p!r}" for p in rule.weights if not any(fnmatchcase(name, p) for name in layers)]
        lost += [f"operations {p!r}" for p in rule.operations if not any(fnmatchcase(op, p) for op in types)]
        problems += [f"rules[{index}]: {what} fit none" for what in lost]
        if not lost and not taken[index]:
            problems.append(f"rules[{index}] takes no weight: its patterns fit none together, or earlier rules do")
    return problems
