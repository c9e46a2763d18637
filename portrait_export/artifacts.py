"""The frozen values that the stages hand to one another, and the Runner protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np

READABLE_OPSETS = range(1, 29)  # versions of ONNX's operator set whose semantics the lowerings know
DEFAULT_OPSET = 17  # of exported ONNX models; every tool in use reads it


@dataclass(frozen=True)
class Frame:
    """One picture as a model takes it.

    Attributes:
        image: (H, W, 3) uint8, sRGB, already at the model's input size.
        depth: (H, W) float32 for models with a depth input, else None.
        name: what to call it in reports (usually the file's name).
    """

    image: np.ndarray
    depth: np.ndarray | None = None
    name: str = ""


EMPTY = "empty"  # kind of a photograph with nobody in it
DRAWN = 0.5  # a drawn mask's soft pixels are person from here on


@dataclass(frozen=True)
class LabelledFrame:
    """A frame with the mask that people would draw for it.

    Attributes:
        frame: the picture.
        mask: (H, W) float32 in 0..1, 1 = person, at the frame's size; None where nobody has drawn one.
        split: `calibrate`, `evaluate`, or empty.
        kind: `portrait`, `everyday` or `empty` (nobody in it); an empty string where photographs have no kinds.
        tags: what the picture shows, such as `group` or `dark`.
    """

    frame: Frame
    mask: np.ndarray | None = None
    split: str = ""
    kind: str = ""
    tags: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """The kind to report this photograph under. Without a kind of its own, one with an empty mask is `empty`."""
        if not self.kind and self.mask is not None and not (self.mask >= DRAWN).any():
            return EMPTY
        return self.kind


@dataclass(frozen=True)
class Prediction:
    """What a model says about one frame. Always about the person, whatever class the network calls positive.

    Attributes:
        probability: (H, W) float32, P(person) in 0..1, at the frame's size.
        logits: (h, w) float32 at the network's own resolution; None where only a finished mask is to be had.
    """

    probability: np.ndarray
    logits: np.ndarray | None = None


@runtime_checkable
class Runner(Protocol):
    """Anything that segments frames: PyTorch, ONNX Runtime, our runtime, Core ML."""

    name: str

    def run(self, frames: Sequence[Frame]) -> list[Prediction]:
        """Segment each frame, in order."""
        ...


@dataclass(frozen=True)
class ImageFeature:
    """An input or output that an app sees as a picture.

    Attributes:
        name: the feature's name, which is also the name of the value in the program.
        height, width: in pixels.
        color: `rgb` or `bgr` (three channels), or `grayscale`.
        scale, bias: what Core ML does to an input's pixels first: `pixel * scale + bias`, bias per channel.
        description: one line for the app's author.
        sizes: every (height, width) that it may have, the default first; empty where there is only one.
    """

    name: str
    height: int
    width: int
    color: str
    scale: float = 1.0
    bias: tuple[float, ...] = (0.0, 0.0, 0.0)
    description: str = ""
    sizes: tuple[tuple[int, int], ...] = ()

    @property
    def listed(self) -> bool:
        """Whether it may have several sizes."""
        return bool(self.sizes)


@dataclass(frozen=True)
class ArrayFeature:
    """An input or output that an app sees as a MultiArray.

    Attributes:
        name: the feature's name, which is also the name of the value in the program.
        shape: its dimensions, all known.
        dtype: `fp32`, `fp16` or `int32`.
        description: one line for the app's author.
        shapes: every shape that it may have, the default first; empty where there is only one.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "fp32"
    description: str = ""
    shapes: tuple[tuple[int, ...], ...] = ()

    @property
    def listed(self) -> bool:
        """Whether it may have several shapes."""
        return bool(self.shapes)


Feature = ImageFeature | ArrayFeature


@dataclass(frozen=True)
class Value:
    """One value that a network computes, as its graph describes it.

    Attributes:
        name: the value's name.
        kind: the operator that computes it.
        inputs: names of the values that the operator takes, constants included.
        shape: None where it is not known before it runs.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Lowered:
    """A MIL program in memory and how an app sees its inputs and outputs.

    Attributes:
        program: coremltools' MIL Program, float32, with one function `main`.
        inputs, outputs: in the order of the function's own.
        target: the deployment target whose operators it uses, such as `iOS17`.
    """

    program: Any
    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    target: str


@dataclass(frozen=True)
class CompressionPass:
    """One of coremltools' compression passes and how it is to be run.

    Attributes:
        name: the pass, such as `compression::linear_quantize_weights`.
        options: what its `set_options` takes, by name.
    """

    name: str
    options: tuple[tuple[str, Any], ...] = ()
