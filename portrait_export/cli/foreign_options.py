"""The options that describe a network of the user's own in; one ForeignOptions (or None) for the command out."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from ..preprocessing import COLORS, POSITIVES, RESIZES
from .options import File, Named, together


class Read(click.ParamType):
    """Text that a function of capture.foreign.options turns into a value; it is imported when there is text."""

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


def _activations() -> list[str]:
    from ..capture.foreign.options import ACTIVATIONS

    return list(ACTIVATIONS)


FILE = File()
OPTIONS = together(
    click.option("--onnx", type=FILE, help="A network of your own: any portrait net in ONNX."),
    click.option(
        "--torch",
        metavar="FILE.py:FACTORY",
        help="A network of your own in PyTorch. RUNS that Python file and calls FACTORY() for the module;"
        " --checkpoint has its weights (read as tensors only).",
    ),
    click.option(
        "--torchscript", type=FILE, help="A network of your own in TorchScript. RUNS the program in it: trust the file."
    ),
    click.option(
        "--preprocessing",
        type=FILE,
        help="TOML with the settings below.  [default: the .toml beside the network, if there is one]",
    ),
    click.option(
        "--mean",
        type=Read("three_numbers", "R,G,B"),
        help="Subtracted from pixel * scale, per channel in --color's order."
        "  [default: as the graph or its files tell, else ImageNet's, with a warning]",
    ),
    click.option("--std", type=Read("three_numbers", "R,G,B"), help="Divides what is left.  [default: as for --mean]"),
    click.option(
        "--scale",
        type=Read("number", "NUMBER"),
        help="Multiplies the 0..255 pixel.  [default: 1/255, or 1 where mean and std are in 0..255]",
    ),
    click.option(
        "--color",
        type=Named("color", lambda: list(COLORS)),
        help="Channel order the network was trained on: rgb or bgr.  [default: rgb]",
    ),
    click.option(
        "--resize",
        type=Named("resize", lambda: list(RESIZES)),
        help="How a photo of another shape is brought to the input size: stretch, fit, fill or crop."
        "  [default: stretch]",
    ),
    click.option(
        "--image-input", metavar="NAME", help="The input that takes the photo.  [default: found by its shape]"
    ),
    click.option(
        "--mask-output",
        metavar="NAME",
        help="The output (or any value inside an ONNX graph) that holds the person.  [default: found, and said]",
    ),
    click.option(
        "--person-class",
        type=Read("classes", "K"),
        help="Which of its classes are the person, from 0: 15, or 1,2, or 1-8.  [default: found, and said]",
    ),
    click.option(
        "--activation",
        type=Named("activation", _activations),
        help="What that output has been through: logits (nothing), multilabel (nothing, classes overlap), sigmoid,"
        " softmax, argmax or probability (anything else).  [default: auto]",
    ),
    click.option(
        "--positive",
        type=Named("positive", lambda: list(POSITIVES)),
        help="What a network with one channel marks: person or background.  [default: person]",
    ),
    click.option(
        "--keep-output",
        "keep_outputs",
        multiple=True,
        metavar="NAME",
        help="A further output for the package to return as it is; may be repeated.  [default: none]",
    ),
    click.option(
        "--fix-input",
        "fix_inputs",
        multiple=True,
        metavar="NAME=NUMBER",
        help="Fill an input that is not the photo with a number; may be repeated.  [default: none]",
    ),
)
NAMES = (
    *("onnx", "torch", "torchscript", "preprocessing", "mean", "std", "scale", "color", "resize", "image_input"),
    *("mask_output", "person_class", "activation", "positive", "keep_outputs", "fix_inputs"),
)


def foreign(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command these options; it gets them as one argument `foreign`, None where none was used."""

    @wraps(command)
    def wrapped(**given: Any) -> Any:
        said = {name: given.pop(name) for name in NAMES}
        return command(
            **given, foreign=_collected({key: value for key, value in said.items() if value not in (None, ())})
        )

    return OPTIONS(wrapped)


def _collected(said: dict[str, Any]) -> Any:
    if not said:
        return None
    from ..capture.foreign.options import ForeignOptions, fixed, require_one_source

    if "fix_inputs" in said:
        try:
            said["fix_inputs"] = fixed(said["fix_inputs"])
        except ValueError as error:
            raise click.BadParameter(f"{error}.", param_hint="'--fix-input'") from error
    options = ForeignOptions(**said)
    require_one_source(options)
    return options
