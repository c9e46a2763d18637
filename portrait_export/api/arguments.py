"""Turn the keyword arguments of the Python API into requests.

Values are checked on the way.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from ..errors import UsageError, nearest

if TYPE_CHECKING:
    from ..inputs.sources import ModelSource

StrPath = str | os.PathLike[str]
Size = tuple[int, int]  # height, width in pixels
BY_INPUT = {"fix_inputs": '{"ratio": 0.25}', "carry": '{"r1i": "r1o"}'}  # options that are mappings
PER_PICTURE = ("mean", "std", "scale", "color")  # options that a mapping sets for single pictures, by input's name


class NetworkOptions(TypedDict, total=False):
    """Keyword arguments that describe a network of your own; what is left out is detected, or has a default.

    Attributes:
        preprocessing: a TOML file with these settings; by default the one next to the network, if there is one.
        mean, std: per channel in the order of `color`, in the units of `pixel * scale`; one number or three.
        scale: multiplies the 0..255 pixel.
        color: channel order of the training data, `rgb` or `bgr`. These four may also be given by input's name, such as
            `mean={"bgr": 0.5}`, for a network that takes several pictures.
        resize: how photos are fitted to the input size: `stretch`, `fit`, `fill` or `crop`.
        image_input: name of the input that takes the photo; or a list that also names inputs of further pictures, each
            with what it shows: `["src", "bgr=background", "tri=trimap", "last=mask"]`.
        mask_output: name of the output, or of any value inside an ONNX graph, with the person's mask.
        person_class: the classes that are the person, counted from 0: 15, [1, 2] or "1-8"; of a checkpoint, too.
        activation: what that output holds: `logits`, `multilabel`, `sigmoid`, `softmax`, `argmax` (class numbers),
            `probability` (any other 0..1), `matte255` (0..255), `signed` (-1..1) or `auto`.
        positive: what a single channel marks, `person` or `background`.
        keep_outputs: names of further outputs for the package to return unchanged.
        fix_inputs: name → number, to fill inputs other than the photo.
        carry: input → output that it takes with the next frame, of a recurrent network.
        compose: how one mask is made from the instances that the network returns, `yolo-seg` or `maskformer`.
    """

    preprocessing: StrPath
    mean: float | Sequence[float] | Mapping[str, float | Sequence[float]]
    std: float | Sequence[float] | Mapping[str, float | Sequence[float]]
    scale: float | Mapping[str, float]
    color: str | Mapping[str, str]
    resize: str
    image_input: str | Sequence[str]
    mask_output: str
    person_class: int | str | Sequence[int]
    activation: str
    positive: str
    keep_outputs: Sequence[str]
    fix_inputs: Mapping[str, float]
    carry: Mapping[str, str]
    compose: str


def source_of(
    *,
    model: str | None = None,
    checkpoint: StrPath | None = None,
    random_weights: bool = False,
    size: Size | None = None,
    onnx: StrPath | None = None,
    torch: str | None = None,
    torchscript: StrPath | None = None,
    network: Mapping[str, Any] | None = None,
) -> ModelSource:
    """Return the network and weights that the arguments select.

    Args:
        network: the NetworkOptions.
    Raises:
        UsageError: a value that cannot be used.
    """
    from ..inputs.sources import ModelSource

    network = dict(network or {})
    person_class = None
    if onnx is None and torch is None and torchscript is None and network.get("person_class") is not None:
        person_class = _read("person_class", network.pop("person_class"))
    return ModelSource(
        model=model,
        checkpoint=path_of(checkpoint),
        random_weights=random_weights,
        size=None if size is None else size_of(size),
        foreign=_own_network(onnx, torch, torchscript, network),
        person_class=person_class,
    )


def _own_network(
    onnx: StrPath | None, torch: str | None, torchscript: StrPath | None, network: Mapping[str, Any]
) -> Any:
    """Return the description of a network of the user's own; None if no argument is about one."""
    given = {
        name: _read(name, value)
        for name, value in network.items()
        if value is not None and not (name in PER_PICTURE and isinstance(value, Mapping))
    }
    pictures = _pictures_of(network)
    given |= {"pictures": pictures} if pictures else {}
    given |= {"onnx": path_of(onnx), "torch": torch, "torchscript": path_of(torchscript)}
    given = {name: value for name, value in given.items() if value is not None}
    if not given:
        return None
    from ..capture.foreign.options import ForeignOptions, require_one_source

    options = ForeignOptions(**given)
    require_one_source(options)
    return options


def _pictures_of(network: Mapping[str, Any]) -> Any:
    """What is set for single pictures."""
    by_name: dict[str, dict[str, Any]] = {}
    for key in PER_PICTURE:
        value = network.get(key)
        for name, each in value.items() if isinstance(value, Mapping) else ():
            by_name.setdefault(name, {})[key] = each
    if not by_name:
        return ()
    from ..capture.foreign.options import numbers_of_pictures

    try:
        return numbers_of_pictures(by_name)
    except ValueError as error:
        raise UsageError(f"The settings of a picture cannot be used: {error}.") from error


def _read(name: str, value: Any) -> Any:
    """Check the value of one of NetworkOptions, as the TOML file's values are checked."""
    from ..capture.foreign.options import Settings
    from ..utils.toml import readers_of

    if name == "preprocessing":
        return path_of(value)
    if name in BY_INPUT:
        if not isinstance(value, Mapping):
            raise UsageError(f"`{name}=` maps inputs, such as {BY_INPUT[name]}; found {type(value).__name__}.")
        value = [f"{key}={each}" for key, each in value.items()]
    try:
        return readers_of(Settings)[name](value)
    except (TypeError, ValueError) as error:
        raise UsageError(f"`{name}={value!r}` cannot be used: {error}.") from error


def path_of(value: StrPath | None) -> Path | None:
    """Return a path, or None. Raises UsageError for an empty one, or for something else."""
    if value is None:
        return None
    if not isinstance(value, (str, os.PathLike)):
        raise UsageError(f"A path is a string or a pathlib.Path; found an object of type {type(value).__name__}.")
    if not os.fspath(value):
        raise UsageError("A path is empty.")
    return Path(value)


def is_size(value: Any) -> bool:
    """Whether a value is (height, width) in whole numbers."""
    return isinstance(value, Sequence) and len(value) == 2 and all(isinstance(side, Integral) for side in value)


def size_of(value: Sequence[int]) -> Size:
    """Return (height, width). Raises UsageError unless there are two whole numbers."""
    if not is_size(value):
        raise UsageError(f"A size is (height, width) in whole pixels, such as (512, 512); found {value!r}.")
    return int(value[0]), int(value[1])


def patterns_of(value: str | Sequence[str]) -> tuple[str, ...]:
    """Return one or several patterns. Raises UsageError for an empty one."""
    patterns = (value,) if isinstance(value, str) else tuple(value)
    if not all(isinstance(pattern, str) and pattern for pattern in patterns):
        raise UsageError(f"Patterns are names such as 'softmax' or '/decoder/*'; found {value!r}.")
    return patterns


def names_of(value: str | Sequence[str]) -> tuple[str, ...]:
    """Return one or several names as a tuple."""
    return (value,) if isinstance(value, str) else tuple(value)


def paths_of(value: StrPath | Sequence[StrPath]) -> tuple[Path, ...]:
    """Return one or several paths as a tuple."""
    return tuple(map(Path, (value,) if isinstance(value, (str, os.PathLike)) else value))


def numbers_of(value: float | Sequence[float]) -> tuple[float, ...]:
    """Return one or several numbers as a tuple."""
    return tuple(map(float, value)) if isinstance(value, Sequence) else (float(value),)


def require_known(argument: str, value: str, known: Iterable[str]) -> None:
    """Raise UsageError, with the nearest name, unless the value is one of the known ones."""
    names = list(known)
    if value not in names:
        raise UsageError(
            f"`{argument}={value!r}` does not exist.", hint=nearest(value, names, what=argument.removesuffix("s"))
        )
