"""Define the options that several commands share, and the types that parse their text."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..artifacts import ARITHMETICS
from ..errors import nearest
from ..preprocessing import OUTPUTS

if TYPE_CHECKING:
    from ..inputs.sources import ModelSource
    from ..utils.stages import Observer

MAX_SIDE = 4096  # pixels; the activations of a larger input do not fit into a phone's memory

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


# ---- types ------------------------------------------------------------------------------------------------------


class File(click.Path):
    """The path of a file or folder. An empty path (often an unset shell variable) and `-` are rejected."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("the path is empty.", param, ctx)
        if value == "-":
            self.fail("standard input and output are not supported; use ./- for a file of that name.", param, ctx)
        return super().convert(value, param, ctx)


class OutputFile(File):
    """The path of a file to write. One that ends as a folder does is rejected."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if _ends_as_folder(value):
            self.fail(f"{value} is a folder; name a file in it.", param, ctx)
        return super().convert(value, param, ctx)


class FileOrFolder(File):
    """The path of a file or folder to write, and whether it ends as a folder does, which a Path does not keep."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        return super().convert(value, param, ctx), _ends_as_folder(value)


def _ends_as_folder(value: Any) -> bool:
    return str(value).endswith(("/", os.sep))


class Named(click.ParamType):
    """One of a list of names; the error for any other suggests the nearest."""

    def __init__(self, what: str, names: Callable[[], list[str]]):
        self.name = what
        self._names = names

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return self.name.upper()

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        names = self._names()
        if value not in names:
            self.fail(f"there is no {self.name} `{value}`: {nearest(str(value), names, what=self.name)}", param, ctx)
        return str(value)


class RecipeOrFile(Named):
    """A quantization recipe, or the path of a TOML file of rules."""

    def __init__(self) -> None:
        super().__init__("recipe", recipe_names)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if str(value).endswith(".toml"):
            return str(value)
        return super().convert(value, param, ctx)


class Size(click.ParamType):
    """HxW in pixels, such as 512x512 or 256x192."""

    name = "HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d{1,5})[x×](\d{1,5})", str(value).strip().lower())
        if not match:
            self.fail(f"{value!r} is not a size; use height x width in pixels, such as 512x512.", param, ctx)
        height, width = int(match[1]), int(match[2])
        if not (32 <= height <= MAX_SIDE and 32 <= width <= MAX_SIDE):
            self.fail(f"{value!r} is out of range: each side must have 32 to {MAX_SIDE} pixels.", param, ctx)
        return height, width


class Sizes(click.ParamType):
    """Several sizes, separated by commas, such as 256x256,512x512."""

    name = "HxW,HxW,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        return tuple(Size().convert(part, param, ctx) for part in str(value).split(","))


class Parsed(click.ParamType):
    """Text parsed by a function of capture.foreign.options, which is imported only if there is text."""

    def __init__(self, reader: str, metavar: str):
        self.name = metavar
        self._reader = reader

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return self.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from ..capture.foreign import options

        if not isinstance(value, str):
            return value
        try:
            return getattr(options, self._reader)(value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


class Listed(click.ParamType):
    """Several values of a type, separated by commas."""

    def __init__(self, one: click.ParamType, metavar: str = ""):
        self.name = metavar or one.name
        self._one = one

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return f"{self.name.upper()},…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        if isinstance(value, tuple):
            return value
        return tuple(self._one.convert(part.strip(), param, ctx) for part in str(value).split(","))


class Number(click.FloatRange):
    """A number within bounds. NaN, which compares false with every bound, is refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not in the range {self._describe_range()}.", param, ctx)
        return number


def model_names() -> list[str]:
    """Return the names of the registered models."""
    from ..models.registry import list_models

    return list_models()


def photograph_kinds() -> list[str]:
    """Return the kinds of bundled photographs."""
    from ..calibration.dataset import KINDS

    return list(KINDS)


def recipe_names() -> list[str]:
    """Return the names of the quantization recipes."""
    from ..quantize.recipes import RECIPES

    return list(RECIPES)


def target_names() -> list[str]:
    """Return the supported deployment targets."""
    from ..mil.coreml import TARGETS

    return list(TARGETS)


# ---- groups of options ------------------------------------------------------------------------------------------


def combined(*options: Decorator) -> Decorator:
    """Combine several options into one decorator; --help shows them in the given order."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def collected(argument: str, build: Callable[..., Any], *options: Decorator) -> Decorator:
    """Combine several options whose values the command receives as a single `argument`: `build(**values)`."""
    group = combined(*options)
    names = [param.name for param in getattr(group(lambda: None), "__click_params__", ())]

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def wrapped(**values: Any) -> Any:
            own = {name: values.pop(name) for name in names}
            return command(**values, **{argument: build(**own)})

        return group(wrapped)

    return decorate


@dataclass(frozen=True)
class Console:
    """How a command reports: the values of --json, --quiet and --verbose."""

    as_json: bool = False
    quiet: bool = False
    verbose: bool = False

    def observer(self) -> Observer:
        """Return what prints the stages of a pipeline."""
        from . import render

        return render.observer(quiet=self.quiet or self.as_json, verbose=self.verbose)


def _model_source(**values: Any) -> ModelSource:
    from ..inputs.sources import ModelSource

    return ModelSource(**values)


MODEL = click.option(
    "--model", "-m", type=Named("model", model_names), help="A registered model; `portrait-export models` lists them."
)
CHECKPOINT = click.option(
    "--checkpoint",
    type=File(),
    help="Weights to use instead of the bundled ones: a Hugging Face folder, .safetensors, .bin, .pth, .pt or .ckpt.",
)
RANDOM_WEIGHTS = click.option(
    "--random-weights",
    is_flag=True,
    help="Use well-scaled random weights, to measure size and shapes only; the masks mean nothing.",
)
PERSON_CLASS = click.option(
    "--person-class",
    type=Parsed("classes", "K"),
    help="The classes of a checkpoint or network of your own that are the person, counted from 0: 15, or 1,2, or 1-8."
    "  [default: detected and reported]",
)
SIZES = click.option(
    "--sizes",
    type=Sizes(),
    help="Several input sizes for one package, the default first, such as 256x256,512x512.",
)
DATA = click.option(
    "--data",
    type=File(),
    help="Photos to compare on: a folder, or images/ + masks/.  [default: the bundled calibration set]",
)
KINDS = click.option(
    "--kinds",
    type=Listed(Named("kind", photograph_kinds)),
    default=(),
    show_default=False,
    help="Which bundled photos to use: portrait, everyday, empty, or several with commas.  [default: those that"
    " the weights are good enough for]",
)
OUTPUT = click.option(
    "--output",
    type=Named("output", lambda: list(OUTPUTS)),
    default="mask",
    help="What the package returns: mask (grayscale image), multiarray (P(person), Xcode preview) or logits.",
)
MIN_IOU = click.option("--min-iou", type=Number(0, 1), help="Gate on this mean mask IoU instead of the recipe's.")
ARITHMETIC = click.option(
    "--arithmetic",
    type=Named("arithmetic", lambda: list(ARITHMETICS)),
    default="as_typed",
    help="Our runtime's arithmetic: as_typed (as the package declares), fp16 (every result rounded) or fp32.",
)
AUTHOR = click.option(
    "--author", help="Author of the weights, for the metadata.  [default: empty for weights of your own]"
)
LICENSE = click.option(
    "--license",
    help="Licence of the weights, for the metadata.  [default: for weights of your own, what their model card states]",
)
FORCE = click.option("--force", is_flag=True, help="Replace existing outputs.")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
QUIET = click.option("--quiet", "-q", is_flag=True, help="Show only errors and results.")
VERBOSE = click.option("--verbose", "-v", is_flag=True, help="Show the details of each stage.")


def source_options(*options: Decorator) -> Decorator:
    """Some of the options that select a network and its weights; the command gets them as `source`."""
    return collected("source", _model_source, *options)


def output_options(*options: Decorator) -> Decorator:
    """Some of --json, --quiet and --verbose; the command gets them as `console`."""
    return collected("console", Console, *options)


def source_of_size(default: str) -> Decorator:
    """The options that select a network and its weights, with what a size is by default."""
    size = click.option("--size", type=Size(), help=f"Input size in pixels.  [default: {default}]")
    return source_options(MODEL, CHECKPOINT, RANDOM_WEIGHTS, size, PERSON_CLASS)


SOURCE = source_of_size("the model's, 512x512")
OUTPUT_OPTIONS = output_options(AS_JSON, QUIET, VERBOSE)
