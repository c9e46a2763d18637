"""Define the settings of a network of the user's own.

They come from options, or from a TOML file next to the network.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ...errors import UsageError, nearest
from ...preprocessing import COLORS, POSITIVES, RESIZES, SHOWS
from ...utils.toml import read_toml, readers_of, setting

ACTIVATIONS = ("auto", "logits", "multilabel", "sigmoid", "softmax", "argmax", "probability", "matte255", "signed")
COMPOSITIONS = ("yolo-seg", "maskformer")
SOURCES = ("onnx", "torch", "torchscript")


# Values, as text or as TOML has them. Each function raises ValueError with the reason why not.


def three_numbers(value: Any) -> tuple[float, ...]:
    """`0.5` or `0.485,0.456,0.406`: one number for all channels, or one per channel."""
    items = [item for item in re.split(r"[,\s]+", value.strip()) if item] if isinstance(value, str) else value
    items = list(items) if isinstance(items, (list, tuple)) else [items]
    numbers = [number(item) for item in items]
    if len(numbers) not in (1, 3):
        raise ValueError(f"expected one number or three, found {len(numbers)}")
    return tuple(numbers * 3 if len(numbers) == 1 else numbers)


def of_picture(read: Callable[[Any], Any]) -> Callable[[str], tuple[str, Any]]:
    """`0.5`, or `bgr=0.5` for one picture: the name, empty where there is none, and the value."""

    def split(text: str) -> tuple[str, Any]:
        name, _, value = text.rpartition("=")
        return name, read(value)

    return split


def number(value: Any) -> float:
    """A number, or a fraction such as `1/255`."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("expected a number")
    top, _, bottom = str(value).partition("/")
    try:
        result = float(top) / float(bottom or 1)
    except (ValueError, ZeroDivisionError) as error:
        raise ValueError(f"{value!r} is not a number or a fraction such as 1/255") from error
    if not math.isfinite(result):
        raise ValueError(f"{value!r} is not finite")
    return result


def factor(value: Any) -> float:
    """A number above 0."""
    result = number(value)
    if not result > 0:
        raise ValueError(f"expected a number above 0, found {value}")
    return result


def divisors(value: Any) -> tuple[float, ...]:
    """One number or three, above 0."""
    numbers = three_numbers(value)
    if min(numbers) <= 0:
        raise ValueError(f"expected numbers above 0, found {value}")
    return numbers


def classes(value: Any) -> tuple[int, ...]:
    """`15`, `1,2,5` or `1-8`: class numbers, counted from 0."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, (list, tuple)):
        value = ",".join(str(item) for item in value)
    found: set[int] = set()
    for part in str(value).replace(" ", "").split(","):
        match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part)
        if not match or (match[2] and int(match[2]) < int(match[1])):
            raise ValueError(f"{part!r} is not a class number or a range such as 1-8")
        found.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return tuple(sorted(found))


def fixed(value: Any) -> tuple[tuple[str, float], ...]:
    """`["r1i=0", "downsample_ratio=0.25"]`: what fills the inputs that are not the photograph."""
    pairs = []
    for item in _listed(value):
        name, separator, text = str(item).rpartition("=")
        if not separator or not name:
            raise ValueError(f"{item!r} is not NAME=NUMBER")
        pairs.append((name, number(text)))
    return tuple(pairs)


def carried(value: Any) -> tuple[tuple[str, str], ...]:
    """`["r1i=r1o"]`: which input takes which output with the next frame."""
    pairs = []
    for item in _listed(value):
        name, _, output = str(item).partition("=")
        if not name or not output:
            raise ValueError(f"{item!r} is not INPUT=OUTPUT")
        pairs.append((name, output))
    return tuple(pairs)


def _one_of(names: tuple[str, ...]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in names:
            raise ValueError(f"expected one of {', '.join(names)}")
        return str(value)

    return read


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("expected a name")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(_text(item) for item in _listed(value))


def _listed(value: Any) -> list[Any]:
    if isinstance(value, (list, tuple)):
        return list(value)
    return [value]


def _size(value: Any) -> tuple[int, int]:
    items = value.lower().split("x") if isinstance(value, str) else _listed(value)
    if len(items) != 2 or not all(str(item).isdigit() and 1 <= int(item) <= 16384 for item in items):
        raise ValueError("expected height and width in pixels, such as [512, 512]")
    return int(items[0]), int(items[1])


def picture_inputs(value: Any) -> tuple[str, ...]:
    """`src`, or `["src", "bgr=background"]`: inputs that take pictures, and what they show."""
    names = _texts(value)
    for name in names:
        _, separator, shows = name.rpartition("=")
        if separator and shows not in SHOWS:
            raise ValueError(f"{name!r} is not NAME or NAME=KIND, KIND being one of {', '.join(SHOWS)}")
    return names


def numbers_of_pictures(value: Any) -> tuple[PictureSettings, ...]:
    """`{bgr = {mean = 0.5, std = 0.5}}`: how some pictures are normalised, by the input's name."""
    if not isinstance(value, Mapping):
        raise ValueError("expected a table for each input, such as [pictures.bgr]")
    readers = readers_of(PictureSettings)
    found = []
    for name, table in value.items():
        if not isinstance(table, Mapping):
            raise ValueError(f"{name} is not a table")
        given = {}
        for key, each in table.items():
            if key not in readers:
                raise ValueError(f"{name}.{key} is not a setting; {nearest(str(key), list(readers), what='setting')}")
            try:
                given[key] = readers[key](each)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{name}.{key}: {error}") from error
        found.append(PictureSettings(str(name), **given))
    return tuple(found)


def _share(value: Any) -> float:
    share = number(value)
    if not 0 < share < 1:
        raise ValueError("expected a number between 0 and 1")
    return share


@dataclass(frozen=True)
class PictureSettings:
    """How one of a network's pictures is normalised, where it differs from the others.

    Attributes:
        name: of the network's input, or of the package's.
        mean, std, scale, color: as in Settings.
    """

    name: str
    mean: tuple[float, ...] | None = setting(three_numbers)
    std: tuple[float, ...] | None = setting(divisors)
    scale: float | None = setting(factor)
    color: str | None = setting(_one_of(COLORS))


# As the command line gives them: for all pictures, or for one by its input's name.
mean_of, std_of = of_picture(three_numbers), of_picture(divisors)
scale_of = of_picture(factor)
color_of = of_picture(_one_of(COLORS))
NORMALISING = ("mean", "std", "scale", "color")  # settings that each picture may have for itself


def merged(first: Sequence[PictureSettings], second: Sequence[PictureSettings]) -> tuple[PictureSettings, ...]:
    """Both, by name; where both set something, the first counts."""
    found = {each.name: each for each in second}
    for each in first:
        given = {key: value for key in NORMALISING if (value := getattr(each, key)) is not None}
        found[each.name] = replace(found.get(each.name, PictureSettings(each.name)), **given)
    return tuple(found.values())


@dataclass(frozen=True)
class Settings:
    """How photographs are prepared for a network, and what in its output is the person.

    A field that is None or empty is not set.

    Attributes:
        size: (height, width) in pixels.
        mean, std: per channel in the order that `color` gives, in the units of `pixel * scale`.
        scale, color, resize, positive, threshold: as in PortraitSpec.
        image_input: the inputs that take pictures, the photograph's first, each `NAME` or `NAME=SHOWS`.
        pictures: normalisation of single pictures; `mean`, `std`, `scale` and `color` are of all in colour.
        mask_output: the output, or any value inside the graph, that holds the person.
        person_class: which of its classes are the person.
        activation: what has been applied to that output, one of `ACTIVATIONS`.
        keep_outputs: further outputs that the package is to return, as they are.
        fix_inputs: name → the number that fills an input other than the photograph.
        carry: input → output that it takes with the next frame.
        compose: how one mask is made from the instances that the network returns, one of `COMPOSITIONS`.
    """

    size: tuple[int, int] | None = setting(_size)
    mean: tuple[float, ...] | None = setting(three_numbers)
    std: tuple[float, ...] | None = setting(divisors)
    scale: float | None = setting(factor)
    color: str | None = setting(_one_of(COLORS))
    resize: str | None = setting(_one_of(RESIZES))
    positive: str | None = setting(_one_of(POSITIVES))
    threshold: float | None = setting(_share)
    image_input: tuple[str, ...] = setting(picture_inputs, ())
    pictures: tuple[PictureSettings, ...] = setting(numbers_of_pictures, ())
    mask_output: str | None = setting(_text)
    person_class: tuple[int, ...] | None = setting(classes)
    activation: str | None = setting(_one_of(ACTIVATIONS))
    keep_outputs: tuple[str, ...] = setting(_texts, ())
    fix_inputs: tuple[tuple[str, float], ...] = setting(fixed, ())
    carry: tuple[tuple[str, str], ...] = setting(carried, ())
    compose: str | None = setting(_one_of(COMPOSITIONS))

    @property
    def normalises(self) -> bool:
        """Whether any of the numbers that the network expects is set."""
        return not (self.mean is None and self.std is None and self.scale is None)


@dataclass(frozen=True)
class ForeignOptions(Settings):
    """Where a foreign network is, and its settings.

    What is not set is decided by the TOML file, else by the metadata of an ONNX file of this project, else by the graph
    or the files next to it, else by a stated default.

    Attributes:
        onnx, torchscript: a file. torch: `module.py:factory`. Exactly one of the three is given.
        preprocessing: the TOML file; None looks for one next to the network, with its name.
        any_size: run a file that fixes its input's size at another size.
    """

    onnx: Path | None = None
    torch: str | None = None
    torchscript: Path | None = None
    preprocessing: Path | None = None
    any_size: bool = False

    @property
    def file(self) -> Path:
        """The file that holds the network, or its code."""
        if self.onnx is not None:
            return self.onnx
        if self.torchscript is not None:
            return self.torchscript
        assert self.torch is not None
        return Path(self.torch.rpartition(":")[0] or self.torch)


def require_one_source(options: ForeignOptions) -> None:
    """Raise UsageError unless exactly one of `onnx`, `torch` and `torchscript` is given."""
    given = [f"`{name}=`" for name in SOURCES if getattr(options, name) is not None]
    if len(given) == 1:
        return
    if given:
        raise UsageError(f"{' and '.join(given)} cannot be used together: one network at a time.")
    used = [field.name for field in fields(options) if getattr(options, field.name) != field.default]
    arguments = ", ".join(f"`{name}=`" for name in used)
    raise UsageError(
        f"{arguments} describe{'s' if len(used) == 1 else ''} a network of your own, and none is given.",
        hint="add `onnx=FILE`, `torch=FILE.py:FACTORY` or `torchscript=FILE`; registered models have their own.",
    )


def require_no_reading(options: ForeignOptions) -> None:
    """Raise UsageError for options that describe an output beside `compose=`, which makes its own."""
    names = ("mask_output", "activation", "positive")
    given = [f"`{name}=`" for name in names if getattr(options, name) is not None]
    if options.compose is not None and given:
        raise UsageError(
            f"`compose=` and {' and '.join(given)} cannot be used together: the mask is made from several outputs, and"
            " it is a probability of the person.",
            hint="`person_class=` names the class.",
        )


def with_toml(options: ForeignOptions) -> tuple[ForeignOptions, str]:
    """The options, completed by a TOML file; and that file's name, empty where there is none.

    Raises UsageError with everything that is wrong with the file.
    """
    adjacent = options.file.with_suffix(".toml")
    file = options.preprocessing or (adjacent if adjacent.is_file() else None)
    if file is None:
        return options, ""
    return completed(options, read_toml(file, Settings)), file.name


def completed(options: ForeignOptions, stored: Settings) -> ForeignOptions:
    """The options, with what they leave unset from stored settings."""
    unset = [field.name for field in fields(Settings) if getattr(options, field.name) in (None, ())]
    filled = replace(options, **{name: getattr(stored, name) for name in unset})
    return replace(filled, pictures=merged(options.pictures, stored.pictures))
