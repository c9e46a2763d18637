"""The options that several commands share, and what turns their text into values."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ..errors import nearest
from ..preprocessing import OUTPUTS

MAX_SIDE = 4096  # pixels; activations of a larger input do not fit into a phone


class File(click.Path):
    """The path of a file or folder. An empty one, as of a shell's unset variable, and `-` are refused."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("the path is empty.", param, ctx)
        if value == "-":
            self.fail("standard input and output are not used; write ./- for a file of that name.", param, ctx)
        return super().convert(value, param, ctx)


class Named(click.ParamType):
    """One of some names; an unknown one is answered with the nearest."""

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


class Size(click.ParamType):
    """HxW in pixels, such as 512x512 or 256x192."""

    name = "HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d{1,5})[x×](\d{1,5})", str(value).strip().lower())
        if not match:
            self.fail(f"{value!r} is not a size; write height x width in pixels, such as 512x512.", param, ctx)
        height, width = int(match[1]), int(match[2])
        if not (32 <= height <= MAX_SIDE and 32 <= width <= MAX_SIDE):
            self.fail(f"{value!r} is out of range: each side must have 32 to {MAX_SIDE} pixels.", param, ctx)
        return height, width


class Sizes(click.ParamType):
    """Several sizes with commas between them, such as 256x256,512x512."""

    name = "HxW,HxW,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        return tuple(Size().convert(part, param, ctx) for part in str(value).split(","))


def model_names() -> list[str]:
    """Names of the registered models."""
    from ..models.registry import list_models

    return list_models()


def recipe_names() -> list[str]:
    """Names of the quantization recipes."""
    from ..quantize.recipes import RECIPES

    return list(RECIPES)


def target_names() -> list[str]:
    """Deployment targets that packages are written for."""
    from ..mil.coreml import TARGETS

    return list(TARGETS)


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def together(*options: Decorator) -> Decorator:
    """Several options as one decorator, shown in the order they are given."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


MODEL = click.option(
    "--model", "-m", type=Named("model", model_names), help="A registered model; `portrait-export models` lists them."
)
CHECKPOINT = click.option(
    "--checkpoint",
    type=File(),
    help="Weights to use instead of the shipped ones: a Hugging Face folder, .safetensors, .bin, .pth or .ckpt.",
)
RANDOM_WEIGHTS = click.option(
    "--random-weights",
    is_flag=True,
    help="Use well-scaled random weights: for sizes and shapes; the masks mean nothing.",
)
SIZE = click.option("--size", type=Size(), help="Input size in pixels.  [default: the model's, 512x512]")
SIZES = click.option(
    "--sizes",
    type=Sizes(),
    help="Several input sizes for one package, the default first, such as 256x256,512x512.",
)
DATA = click.option(
    "--data",
    type=File(),
    help="Photographs to compare on: a folder, or images/ + masks/.  [default: the calibration set that comes along]",
)
OUTPUT_KIND = click.option(
    "--output",
    "output_kind",
    type=Named("output", lambda: list(OUTPUTS)),
    default="mask",
    help="What the package returns: mask (grayscale image), multiarray (P(person), Xcode preview) or logits.",
)
ARITHMETIC = click.option(
    "--arithmetic",
    type=Named("arithmetic", lambda: ["as_typed", "fp16", "fp32"]),
    default="as_typed",
    help="Our runtime's arithmetic: as_typed (what the package declares), fp16 (every result rounded) or fp32.",
)
FORCE = click.option("--force", is_flag=True, help="Replace outputs that exist.")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
QUIET = click.option("--quiet", "-q", is_flag=True, help="Show nothing but errors and results.")
VERBOSE = click.option("--verbose", "-v", is_flag=True, help="Show what each stage did in detail.")

SOURCE = together(MODEL, CHECKPOINT, RANDOM_WEIGHTS, SIZE)
TALK = together(AS_JSON, QUIET, VERBOSE)
