"""Define the options that describe a network of the user's own; they complete the command's `source`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

import click

from ..preprocessing import POSITIVES, RESIZES
from .options import File, Named, Parsed, collected


def _activations() -> list[str]:
    from ..capture.foreign.options import ACTIVATIONS

    return list(ACTIVATIONS)


def _compositions() -> list[str]:
    from ..capture.foreign.options import COMPOSITIONS

    return list(COMPOSITIONS)


FILE = File()
OPTIONS = (
    click.option("--onnx", type=FILE, help="A network of your own: any portrait segmentation network in ONNX."),
    click.option(
        "--torch",
        metavar="FILE.py:FACTORY",
        help="A network of your own in PyTorch. RUNS that Python file and calls FACTORY() for the module;"
        " --checkpoint is its weights (read as tensors only).",
    ),
    click.option(
        "--torchscript",
        type=FILE,
        help="A network of your own in TorchScript. RUNS the program in the file: use only files you trust.",
    ),
    click.option(
        "--preprocessing",
        type=FILE,
        help="TOML file with the settings below.  [default: the .toml next to the network, if there is one]",
    ),
    click.option(
        "--mean",
        multiple=True,
        type=Parsed("mean_of", "[NAME=]R,G,B"),
        help="Subtracted from pixel * scale, per channel in --color's order."
        " NAME= sets it for one picture of a network that takes several."
        "  [default: from the graph or its files, else ImageNet's with a warning]",
    ),
    click.option(
        "--std",
        multiple=True,
        type=Parsed("std_of", "[NAME=]R,G,B"),
        help="Divides pixel * scale - mean, per channel.  [default: as for --mean]",
    ),
    click.option(
        "--scale",
        multiple=True,
        type=Parsed("scale_of", "[NAME=]NUMBER"),
        help="Multiplies the 0..255 pixel.  [default: 1/255, or 1 if mean and std are in 0..255]",
    ),
    click.option(
        "--color",
        multiple=True,
        type=Parsed("color_of", "[NAME=]COLOR"),
        help="Channel order of the training data: rgb or bgr.  [default: rgb]",
    ),
    click.option(
        "--resize",
        type=Named("resize", lambda: list(RESIZES)),
        help="How a photo is fitted to the input size: stretch, fit, fill or crop.  [default: stretch]",
    ),
    click.option(
        "--image-input",
        multiple=True,
        metavar="NAME=KIND",
        help="The input that takes the photo; repeated, further inputs that take pictures. What one shows, =KIND, may"
        " be left out: photo, background, trimap or mask.  [default: the only picture, by its shape]",
    ),
    click.option(
        "--mask-output",
        metavar="NAME",
        help="The output (or any value inside an ONNX graph) with the person's mask.  [default: detected and reported]",
    ),
    click.option(
        "--activation",
        type=Named("activation", _activations),
        help="What that output holds: logits, multilabel (logits, classes overlap), sigmoid, softmax, argmax (class"
        " numbers), probability (any other 0..1), matte255 (0..255) or signed (-1..1).  [default: auto, from the graph"
        " and its values on photographs]",
    ),
    click.option(
        "--positive",
        type=Named("positive", lambda: list(POSITIVES)),
        help="What the single channel of a network marks: person or background.  [default: person]",
    ),
    click.option(
        "--keep-output",
        "keep_outputs",
        multiple=True,
        metavar="NAME",
        help="A further output for the package to return unchanged; may be repeated.  [default: none]",
    ),
    click.option(
        "--fix-input",
        "fix_inputs",
        multiple=True,
        metavar="NAME=NUMBER",
        help="Fill an input other than the photo with a number; may be repeated.  [default: none]",
    ),
    click.option(
        "--carry",
        multiple=True,
        metavar="INPUT=OUTPUT",
        help="An input of a recurrent network that takes an output with the next frame; may be repeated."
        "  [default: by name, such as r1i and r1o]",
    ),
    click.option(
        "--compose",
        type=Named("compose", _compositions),
        help="Make one mask of the person from instances: yolo-seg (detections with coefficients, and prototypes) or"
        " maskformer (classes and masks of queries).  [default: such outputs are refused]",
    ),
)


def own_network(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add these options to a command, below its `source` options; a network of the user's own goes into `source`."""

    @wraps(command)
    def completed(*, source: Any, network: Any, **values: Any) -> Any:
        if network is not None:
            network = replace(network, person_class=source.person_class)
            source = replace(source, foreign=network, person_class=None)
        return command(source=source, **values)

    return collected("network", _network, *OPTIONS)(completed)


def _network(**values: Any) -> Any:
    """Return the ForeignOptions, or None if no option was used."""
    used = {name: value for name, value in values.items() if value not in (None, ())}
    if not used:
        return None
    from ..capture.foreign.options import ForeignOptions, carried, fixed, picture_inputs, require_one_source

    readers = (("image_input", picture_inputs), ("fix_inputs", fixed), ("carry", carried))
    flags = {"image_input": "--image-input", "fix_inputs": "--fix-input", "carry": "--carry"}
    for name, read in readers:
        if name in used:
            try:
                used[name] = read(used[name])
            except ValueError as error:
                raise click.BadParameter(f"{error}.", param_hint=f"'{flags[name]}'") from error
    used = _per_picture(used)
    options = ForeignOptions(**used)
    require_one_source(options)
    return options


def _per_picture(used: dict[str, Any]) -> dict[str, Any]:
    """Separate what is set for single pictures (`--mean bgr=0.5`) from what is set for all; the last one counts."""
    from ..capture.foreign.options import NORMALISING, PictureSettings, merged

    found = {name: value for name, value in used.items() if name not in NORMALISING}
    pictures: tuple[PictureSettings, ...] = ()
    for key in NORMALISING:
        for name, value in used.get(key, ()):
            if name:
                pictures = merged([PictureSettings(name, **{key: value})], pictures)
            else:
                found[key] = value
    return {**found, "pictures": pictures} if pictures else found
