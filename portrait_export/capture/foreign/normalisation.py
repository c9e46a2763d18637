"""Decide how photographs are prepared for a foreign network, and report every reason to doubt it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...preprocessing import IMAGENET_MEAN, IMAGENET_STD, PortraitSpec
from ..huggingface import LARGEST_UNIT, PREPROCESSOR, Preprocessor
from ..onnx.graph import Graph, Node
from .finding import Finding
from .interface import ImageInput
from .options import Settings

_THROUGH = ("Cast", "Transpose", "Identity", "Squeeze", "Unsqueeze", "Reshape")
_ARITHMETIC = ("Sub", "Add", "Mul", "Div")
ASSUMED = (
    "no preprocessing was given, so ImageNet's is assumed: RGB, pixel/255, mean 0.485,0.456,0.406,"
    " std 0.229,0.224,0.225; a wrong guess gives wrong masks on the phone. Set `mean=`, `std=` and `scale=`,"
    " or write a TOML file"
)


@dataclass(frozen=True)
class Leading:
    """The arithmetic on pixels that a graph starts with: y = (x - mean) / std, per channel.

    Attributes:
        nodes: its operators, such as `Sub, Div`.
        mean, std: what it amounts to; None for a batch norm, whose numbers are learned.
    """

    nodes: str
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @property
    def takes_pixels(self) -> bool:
        """Whether it expects 0..255 rather than 0..1."""
        assert self.mean is not None
        assert self.std is not None
        return max(map(abs, (*self.mean, *self.std))) > LARGEST_UNIT

    def __str__(self) -> str:
        if self.mean is None or self.std is None:
            return self.nodes
        return f"{self.nodes}: (x - {_short(self.mean)}) / {_short(self.std)}"


def leading_arithmetic(graph: Graph, name: str) -> Leading | None:
    """What a graph does to its image input before the first real operator; None where it does nothing.

    Each operator is y = a·x + b; a chain of them is one, and (x - mean) / std is that with a = 1/std, b = -mean/std.
    """
    gain, offset = np.ones(3), np.zeros(3)
    names: list[str] = []
    value = name
    while (node := graph.sole_use(value)) is not None:
        if node.op == "BatchNormalization" and graph.shape(node.input(1)) == (3,):
            return Leading(", ".join([*names, "BatchNormalization"]))
        if node.op in _ARITHMETIC:
            constant = _per_channel(graph, node)
            if constant is None or (node.op == "Div" and (node.input(0) != value or not constant.all())):
                break
            gain, offset = _composed(node.op, gain, offset, constant, reverse=node.input(0) != value)
            names.append(node.op)
        elif node.op not in _THROUGH:
            break
        value = node.output
    if not names or not gain.all():
        return None
    mean, std = (tuple(float(f"{v:.6g}") for v in values) for values in (-offset / gain, 1 / gain))
    return Leading(", ".join(names), mean, std)


def _per_channel(graph: Graph, node: Node) -> np.ndarray | None:
    for name in node.inputs:
        array = graph.constant(name)
        if array is not None and array.size in (1, 3):
            return np.broadcast_to(array.reshape(-1).astype(np.float64), (3,))
    return None


def _composed(
    op: str, gain: np.ndarray, offset: np.ndarray, constant: np.ndarray, *, reverse: bool
) -> tuple[np.ndarray, np.ndarray]:
    """One more operator after y = gain·x + offset; `reverse` where the constant is the first operand."""
    if op == "Mul":
        return gain * constant, offset * constant
    if op == "Div":
        return gain / constant, offset / constant
    if op == "Add":
        return gain, offset + constant
    return (-gain, constant - offset) if reverse else (gain, offset - constant)


def decide(
    options: Settings, image: ImageInput, leading: Leading | None, preprocessor: Preprocessor | None, *, toml: str
) -> Finding[PortraitSpec]:
    """How photographs are prepared.

    Args:
        leading: arithmetic on pixels in the graph itself.
        preprocessor: what a preprocessor_config.json next to the network says.
        toml: name of the file that some options come from, empty where there is none.
    """
    numbers = _numbers(options, image, leading, preprocessor, toml)
    color = options.color or (preprocessor.color if preprocessor is not None else None)
    resize = options.resize or (preprocessor.resize if preprocessor is not None else None)
    spec = PortraitSpec(
        height=image.height,
        width=image.width,
        color=color or "rgb",
        scale=numbers.value.scale,
        mean=numbers.value.mean,
        std=numbers.value.std,
        resize=resize or "stretch",
        positive=options.positive or "person",
        threshold=options.threshold or 0.5,
    )
    order = spec.color.upper() + ("" if color else " (assumed)")
    note = f"{order} photographs are brought to {image.height}x{image.width} by `{spec.resize}`"
    return Finding(spec, (*numbers.notes, note), numbers.warnings)


class Numbers(NamedTuple):
    """What is done to a pixel: (pixel * scale - mean) / std, per channel."""

    scale: float
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)


def _numbers(
    options: Settings, image: ImageInput, leading: Leading | None, preprocessor: Preprocessor | None, toml: str
) -> Finding[Numbers]:
    """From the options, else an integer input, else the graph's own arithmetic, else a file, else ImageNet's."""
    if image.dtype == "UINT8":
        ignored = (
            ("`mean=`, `std=` and `scale=` are ignored: the input takes plain bytes",) if options.normalises else ()
        )
        return Finding(Numbers(1.0), ("the input takes bytes, so pixels go in as they are",), ignored)
    if options.normalises:
        return _given(options, leading, toml)
    if leading is not None and leading.mean is not None:
        scale, unit = (1.0, "0..255") if leading.takes_pixels else (1 / 255, "0..1")
        warning = (
            f"the graph already normalises its input ({leading}), so pixels go in as {unit}, without mean and std;"
            " set `mean=`, `std=` and `scale=` if that is wrong"
        )
        return Finding(Numbers(scale), (), (warning,))
    if preprocessor is not None and preprocessor.mean is not None and preprocessor.std is not None:
        numbers = Numbers(preprocessor.scale, preprocessor.mean, preprocessor.std)
        return Finding(numbers, (f"mean and std from {PREPROCESSOR}",))
    warnings = [ASSUMED]
    if leading is not None:
        warnings.append(f"the graph starts with {leading} on its input, which may be a normalisation of its own")
    return Finding(Numbers(1 / 255, IMAGENET_MEAN, IMAGENET_STD), (), tuple(warnings))


def _given(options: Settings, leading: Leading | None, toml: str) -> Finding[Numbers]:
    """The numbers in the options, and what looks wrong with them."""
    plain = Numbers(1.0)
    mean, std, scale = options.mean or plain.mean, options.std or plain.std, options.scale
    warnings = []
    if scale is None:
        scale = 1.0 if max(map(abs, (*mean, *std))) > LARGEST_UNIT else 1 / 255
        if scale == 1.0:
            warnings.append("mean and std are in units of 0..255, so `scale=` is taken as 1")
    elif options.mean is not None and max(map(abs, mean)) > 255 * scale * LARGEST_UNIT:
        warnings.append(f"mean {_short(mean)} is outside of pixel * scale, which is 0..{255 * scale:g}: wrong units?")
    trivial = mean == plain.mean and std == plain.std
    if leading is not None and not trivial:
        warnings.append(
            f"the graph already normalises its input ({leading}), and mean {_short(mean)}, std {_short(std)} are"
            " applied before it: normalising twice is probably wrong"
        )
    elif leading is not None and leading.mean is not None and leading.takes_pixels != (scale == 1.0):
        unit = "0..255" if leading.takes_pixels else "0..1"
        warnings.append(f"the graph starts with {leading}, which looks made for pixels in {unit}; scale is {scale:.6g}")
    note = f"preprocessing from {toml}" if toml else "preprocessing as specified"
    return Finding(Numbers(scale, mean, std), (note,), tuple(warnings))


def _short(values: tuple[float, ...]) -> str:
    same = len(set(values)) == 1
    return f"{values[0]:.4g}" if same else "(" + ", ".join(f"{v:.4g}" for v in values) + ")"
