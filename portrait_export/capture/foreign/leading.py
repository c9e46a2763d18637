"""Recognise a graph's own normalisation of its pixels, and which pixels it is made for."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np

from ...preprocessing import IMAGENET_MEAN, IMAGENET_STD
from ..huggingface import LARGEST_UNIT
from ..onnx.graph import Graph
from .affine import Pixels, ends, follow
from .interface import ImageInput

Triple = tuple[float, float, float]

ALIKE = 0.03  # relative difference up to which numbers are taken for known ones: files round, and ImageNet's vary
NOT_CENTRED = 0.05  # a mean from here to LARGEST_UNIT is one of pixels in 0..1
# Of pixels that a batch norm was trained on: photographs in 0..1 have about 0.45 ± 0.26, so -0.1 ± 0.52 in -1..1.
UNIT_MEAN, UNIT_STD = 0.15, 0.45
SIGNED_MEAN, SIGNED_STD = 0.3, (0.3, 0.65)
NORMAL_MEAN, NORMAL_STD = 0.6, (0.65, 1.5)
BYTES_MEAN = 5.0
LEAST_BYTES = 16.0  # what is subtracted from pixels in 0..255, or what they are divided by, is larger
CLOSE = 0.01  # of the range of pixels: means up to which are taken for known ones


class Numbers(NamedTuple):
    """What is done to a pixel: (pixel * scale - mean) / std, per channel."""

    scale: float
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    @property
    def plain(self) -> bool:
        """Whether pixels are only scaled."""
        return not any(self.mean) and set(self.std) == {1.0}

    def __str__(self) -> str:
        """As options."""
        scale = "`scale=1`" if self.scale == 1 else "`scale=1/255`"
        return scale if self.plain else f"{scale}, `mean={_listed(self.mean)}`, `std={_listed(self.std)}`"


BYTES = Numbers(1.0)
UNIT = Numbers(1 / 255)
SIGNED = Numbers(1 / 255, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
IMAGENET = Numbers(1 / 255, IMAGENET_MEAN, IMAGENET_STD)
# https://github.com/openai/CLIP, clip/clip.py (MIT).
CLIP = Numbers(1 / 255, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
CENTRED = Numbers(1.0, (123.68, 116.779, 103.939))  # pixels less VGG's means, https://arxiv.org/abs/1409.1556


def reversed_channels(numbers: Numbers) -> Numbers:
    """The same in the other order of channels."""
    return Numbers(numbers.scale, numbers.mean[::-1], numbers.std[::-1])


IMAGENET_BGR, CLIP_BGR = reversed_channels(IMAGENET), reversed_channels(CLIP)
NAMES = {
    BYTES: "0..255", UNIT: "0..1", SIGNED: "-1..1", IMAGENET: "ImageNet's normalisation",
    IMAGENET_BGR: "ImageNet's normalisation of BGR", CLIP: "CLIP's normalisation",
    CLIP_BGR: "CLIP's normalisation of BGR",
}  # fmt: skip
UNCLEAR = (IMAGENET, SIGNED, UNIT, BYTES)  # what arithmetic may be made for that looks like none of them


@dataclass(frozen=True)
class Leading:
    """The arithmetic on pixels that a graph starts with: y = (x - mean) / std, per channel of its input.

    Attributes:
        nodes: its operators, such as `Sub, Div`.
        mean, std: what it amounts to; of a batch norm, those of the pixels that it was trained on.
        takes: the pixels that it is made for, the likeliest first; several where its numbers suit several.
        trained: it is a batch norm, which may also be a layer of the network.
        color: the order of the input's channels, where the numbers tell it; else empty.
        reverses: it reverses the order of the channels.
        others: what other layers read instead, in words.
    """

    nodes: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    takes: tuple[Numbers, ...]
    trained: bool = False
    color: str = ""
    reverses: bool = False
    others: tuple[str, ...] = ()

    @property
    def normalises(self) -> bool:
        """Whether it changes numbers rather than the order of channels alone."""
        return bool(self.takes)

    @property
    def numbers(self) -> Numbers | None:
        """What is to be done to pixels before it; None where it may be a layer behind ImageNet's."""
        layer = self.takes[:1] == (IMAGENET,) and (self.trained or len(self.takes) > 1)
        return None if layer or not self.takes else self.takes[0]

    def __str__(self) -> str:
        if self.trained:
            return f"{self.nodes}, trained on {short(self.mean)} ± {short(self.std)}"
        return f"{self.nodes}: (x - {short(self.mean)}) / {short(self.std)}"


def leading_arithmetic(graph: Graph, image: ImageInput, channels: tuple[int, ...] = (0, 1, 2)) -> Leading | None:
    """What a graph does to a picture before its own layers; None where it does nothing.

    Where layers read differently normalised pixels, the first is taken, and pixels as they come are not counted.

    Args:
        channels: of the input, that the picture has; the numbers of a single one are given three times.
    """
    found: dict[str, Leading] = {}
    for pixels in ends(graph, follow(graph, image)):
        leading = _leading(pixels, channels)
        if leading is not None:
            found.setdefault(str(leading) if leading.normalises else leading.nodes, leading)
    normalising = [leading for leading in found.values() if leading.normalises]
    if not normalising:
        return next(iter(found.values()), None)
    first = normalising[0]
    others = tuple(
        str(other) for other in normalising[1:] if not _alike((*other.mean, *other.std), (*first.mean, *first.std))
    )
    return Leading(**{**vars(first), "others": others})


def _leading(pixels: Pixels, channels: tuple[int, ...]) -> Leading | None:
    """What one value is of the pixels; None where it is the pixels, or not all of their channels."""
    if not set(channels) <= set(pixels.source) or not pixels.gain.all():
        return None
    places = [pixels.source.index(channel) for channel in channels] * (3 // len(channels))
    reverses = len(channels) == 3 and places == [2, 1, 0]
    nodes = ", ".join(pixels.ops)
    trained = pixels.mean is not None and pixels.std is not None
    if pixels.mean is not None and pixels.std is not None:
        mean, std = _rounded(pixels.mean[places]), _rounded(pixels.std[places])
    else:
        mean, std = _rounded((-pixels.offset / pixels.gain)[places]), _rounded((1 / pixels.gain)[places])
    if not trained and np.allclose(mean, 0, atol=1e-6) and np.allclose(std, 1, atol=1e-5):
        return Leading(nodes, mean, std, (), reverses=reverses) if reverses else None
    takes = _trained_on(mean, std) if trained else _made_for(mean, std)
    return Leading(nodes, mean, std, takes, trained, _color(mean, std, trained=trained), reverses)


def _rounded(values: np.ndarray) -> Triple:
    first, second, third = (float(f"{value:.6g}") + 0.0 for value in values)
    return first, second, third


# Which pixels it is made for


def _made_for(mean: Triple, std: Triple) -> tuple[Numbers, ...]:
    """The pixels that (x - mean) / std is made for, the likeliest first."""
    known = _known(mean, std)
    if known is not None:
        return (known[0],)
    reach, average = max(map(abs, (*mean, *std))), sum(mean) / 3
    scaling = max(map(abs, mean)) < 1e-3 * max(map(abs, std))
    if scaling and reach < LEAST_BYTES and not _alike(std, std[:1] * 3):
        return (IMAGENET, UNIT)  # one factor per channel, as the weights of a sum over them have
    if LARGEST_UNIT < reach < LEAST_BYTES:
        return UNCLEAR
    if reach > LARGEST_UNIT:
        return (BYTES,) if average > -1 else (BYTES, UNIT)
    if average >= NOT_CENTRED or (scaling and _alike(std, (1 / 255,) * 3)):
        return (UNIT,)
    return (UNIT, SIGNED)


def _trained_on(mean: Triple, std: Triple) -> tuple[Numbers, ...]:
    """The pixels whose mean and deviation a batch norm has stored, the likeliest first."""
    average, spread = sum(mean) / 3, sum(std) / 3
    if average > BYTES_MEAN:
        return (BYTES,)
    if average > UNIT_MEAN and spread < UNIT_STD:
        return (UNIT,)
    if abs(average) < SIGNED_MEAN and SIGNED_STD[0] < spread < SIGNED_STD[1]:
        return (SIGNED,)
    if abs(average) < NORMAL_MEAN and NORMAL_STD[0] <= spread < NORMAL_STD[1]:
        return (IMAGENET,)
    return (IMAGENET, UNIT)


# Pixels as networks take them, and what graphs make of them: an exporter puts one normalisation before another. Those
# of pixels less 127, over 128 (EfficientNet-Lite) are taken for -1..1.
_TAKEN = (UNIT, BYTES, SIGNED, IMAGENET, CLIP)
_MADE = (*_TAKEN, CENTRED)


def _known(mean: Triple, std: Triple) -> tuple[Numbers, str] | None:
    """The pixels of which (x - mean) / std makes others that are known, and the order of the channels that they tell.

    x = (u - m) / s of u in 0..1 gives (u - (m + s·mean)) / (s·std): the sum and the product are those of the others.
    """
    found = []
    for order, (taken, made) in product(("rgb", "bgr"), product(_TAKEN, _MADE)):
        numbers, other = (each if order == "rgb" else reversed_channels(each) for each in (taken, made))
        (centre, spread), (wanted, width) = _of_unit(numbers), _of_unit(other)
        near = np.abs(centre + spread * mean - wanted).max() <= CLOSE
        if taken != made and near and np.allclose(spread * std / width, 1, atol=ALIKE):
            found.append((numbers, order))
    return (found[0][0], found[0][1] if len({order for _, order in found}) == 1 else "") if found else None


def _of_unit(numbers: Numbers) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation that make pixels of 0..1 what `numbers` makes of those of 0..255."""
    return np.array(numbers.mean) / (255 * numbers.scale), np.array(numbers.std) / (255 * numbers.scale)


def _alike(values: tuple[float, ...], known: tuple[float, ...]) -> bool:
    """Whether numbers are the known ones, but for rounding."""
    return bool(np.allclose(values, known, rtol=ALIKE, atol=1e-4))


def _color(mean: Triple, std: Triple, *, trained: bool) -> str:
    """The order of the channels, where their means are ImageNet's in any unit, or the numbers are known ones."""
    for order, known in (("rgb", IMAGENET_MEAN), ("bgr", IMAGENET_MEAN[::-1])):
        if mean[0] and _alike(tuple(value / mean[0] for value in mean), tuple(k / known[0] for k in known)):
            return order
    found = None if trained else _known(mean, std)
    return found[1] if found is not None else ""


def short(values: tuple[float, ...]) -> str:
    """Numbers of the channels, once where they are the same."""
    return f"{values[0]:.4g}" if len(set(values)) == 1 else "(" + ", ".join(f"{v:.4g}" for v in values) + ")"


def _listed(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"
