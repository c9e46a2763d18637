"""A graph and what the user says in; the preprocessing (a PortraitSpec) out, and every reason to doubt it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...preprocessing import IMAGENET_MEAN, IMAGENET_STD, PortraitSpec
from .interface import ImageInput
from .options import ForeignOptions

if TYPE_CHECKING:
    import numpy as np

    from ..onnx.graph import Graph

_THROUGH = ("Cast", "Transpose", "Identity", "Squeeze", "Unsqueeze", "Reshape")
_ARITHMETIC = ("Sub", "Add", "Mul", "Div")
ASSUMED = (
    "no preprocessing was said, so ImageNet's is assumed: RGB, pixel/255, mean 0.485,0.456,0.406,"
    " std 0.229,0.224,0.225; a wrong guess gives wrong masks on the phone. Say --mean, --std and --scale,"
    " or write a TOML file"
)
_LARGEST_UNIT = 1.5  # means and deviations of pixels in 0..1 are below it, those of pixels in 0..255 above
_MAX_JSON_BYTES = 1 << 20


@dataclass(frozen=True)
class Leading:
    """The arithmetic on pixels that a graph starts with: y = (x - mean) / std, per channel.

    Attributes:
        nodes: how to call it, such as `Sub, Div`.
        mean, std: what it amounts to; None for a batch norm, whose numbers are learned ones.
    """

    nodes: str
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @property
    def takes_pixels(self) -> bool:
        """Whether it expects 0..255 rather than 0..1."""
        assert self.mean is not None
        assert self.std is not None
        return max(map(abs, (*self.mean, *self.std))) > _LARGEST_UNIT

    def __str__(self) -> str:
        if self.mean is None or self.std is None:
            return self.nodes
        return f"{self.nodes}: (x - {_short(self.mean)}) / {_short(self.std)}"


def leading_arithmetic(graph: Graph, name: str) -> Leading | None:
    """What a graph does to its image input before the first real operator; None where it does nothing.

    Each operator is y = a·x + b; a chain of them is one, and (x - mean) / std is that with a = 1/std, b = -mean/std.
    """
    import numpy as np

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


def _per_channel(graph: Graph, node: Any) -> np.ndarray | None:
    import numpy as np

    for name in node.inputs:
        array = graph.constant(name)
        if array is not None and array.size in (1, 3):
            return np.broadcast_to(array.reshape(-1).astype(np.float64), (3,))
    return None


def _composed(op: str, gain: Any, offset: Any, constant: Any, *, reverse: bool) -> tuple[Any, Any]:
    if op == "Mul":
        return gain * constant, offset * constant
    if op == "Div":
        return gain / constant, offset / constant
    if op == "Add":
        return gain, offset + constant
    return (-gain, constant - offset) if reverse else (gain, offset - constant)


def decide(
    options: ForeignOptions, image: ImageInput, leading: Leading | None, *, toml: str
) -> tuple[PortraitSpec, list[str], list[str]]:
    """The spec; where its numbers come from (notes); and what may be wrong with it (warnings)."""
    scale, mean, std, notes, warnings = _numbers(options, image, leading, toml)
    spec = PortraitSpec(
        height=image.height,
        width=image.width,
        color=options.color or "rgb",
        scale=scale,
        mean=mean,
        std=std,
        resize=options.resize or "stretch",
        positive=options.positive or "person",
        threshold=options.threshold or 0.5,
    )
    order = spec.color.upper() + ("" if options.color else " (assumed)")
    notes.append(f"{order} photographs are brought to {image.height}x{image.width} by `{spec.resize}`")
    return spec, notes, warnings


Numbers = tuple[float, tuple[float, ...], tuple[float, ...], list[str], list[str]]
_ZERO, _ONE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


def _numbers(options: ForeignOptions, image: ImageInput, leading: Leading | None, toml: str) -> Numbers:
    """Scale, mean and std: said, else of an integer input, else told by the graph or its files, else ImageNet's."""
    if image.dtype == "UINT8":
        warnings = ["--mean, --std and --scale are ignored: the input takes plain bytes"] if options.normalises else []
        return 1.0, _ZERO, _ONE, ["the input takes bytes, so pixels go in as they are"], warnings
    if options.normalises:
        return _said(options, leading, toml)
    if leading is not None and leading.mean is not None:
        scale, unit = (1.0, "0..255") if leading.takes_pixels else (1 / 255, "0..1")
        warning = (
            f"the graph already normalises its input ({leading}), so pixels go in as {unit}, without mean and std;"
            " say --mean, --std and --scale if that is wrong"
        )
        return scale, _ZERO, _ONE, [], [warning]
    beside = _preprocessor_config(options.file.parent)
    if beside is not None:
        scale, mean, std = beside
        return scale, mean, std, ["mean and std from preprocessor_config.json"], []
    warnings = [ASSUMED]
    if leading is not None:
        warnings.append(f"the graph starts with {leading} on its input, which may be a normalisation of its own")
    return 1 / 255, IMAGENET_MEAN, IMAGENET_STD, [], warnings


def _said(options: ForeignOptions, leading: Leading | None, toml: str) -> Numbers:
    mean, std, scale = options.mean or _ZERO, options.std or _ONE, options.scale
    warnings = []
    if scale is None:
        scale = 1.0 if max(map(abs, (*mean, *std))) > _LARGEST_UNIT else 1 / 255
        if scale == 1.0:
            warnings.append("mean and std are in units of 0..255, so --scale is taken as 1")
    elif options.mean is not None and max(map(abs, mean)) > 255 * scale * _LARGEST_UNIT:
        warnings.append(f"mean {_short(mean)} lies outside of pixel * scale, which is 0..{255 * scale:g}: wrong units?")
    trivial = mean == _ZERO and std == _ONE
    if leading is not None and not trivial:
        warnings.append(
            f"the graph already normalises its input ({leading}), and mean {_short(mean)}, std {_short(std)} come on"
            " top of it: twice is probably wrong"
        )
    elif leading is not None and leading.mean is not None and leading.takes_pixels != (scale == 1.0):
        unit = "0..255" if leading.takes_pixels else "0..1"
        warnings.append(f"the graph starts with {leading}, which looks made for pixels in {unit}; scale is {scale:.6g}")
    return scale, mean, std, [f"preprocessing from {toml}" if toml else "preprocessing as said"], warnings


def _preprocessor_config(folder: Path) -> tuple[float, tuple[float, ...], tuple[float, ...]] | None:
    """Scale, mean and std of a Hugging Face preprocessor_config.json beside the network; None without a usable one."""
    data = read_json(folder / "preprocessor_config.json")
    mean, std = _three(data.get("image_mean")), _three(data.get("image_std"))
    scale = data.get("rescale_factor", 1 / 255)
    if mean is None or std is None or min(std) <= 0 or not isinstance(scale, (int, float)):
        return None
    return (float(scale), _ZERO, _ONE) if data.get("do_normalize") is False else (float(scale), mean, std)


def _three(values: Any) -> tuple[float, ...] | None:
    if isinstance(values, list) and len(values) == 3 and all(isinstance(value, (int, float)) for value in values):
        return tuple(map(float, values))
    return None


def read_json(file: Path) -> Mapping[str, Any]:
    """A small JSON object beside a network; empty where there is none that can be read: it only refines a guess."""
    try:
        if file.stat().st_size > _MAX_JSON_BYTES:
            return {}
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _short(values: tuple[float, ...]) -> str:
    same = len(set(values)) == 1
    return f"{values[0]:.4g}" if same else "(" + ", ".join(f"{v:.4g}" for v in values) + ")"
