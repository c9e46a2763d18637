"""The frozen values that the stages exchange, and the Runner protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np

READABLE_OPSETS = range(1, 29)  # versions of ONNX's operator set whose semantics the lowerings know
ARITHMETICS = ("as_typed", "fp16", "fp32")  # modes of our runtime
PRECISIONS = ("fp16", "fp32")  # arithmetic that a package declares
AUTO = "auto"  # fp16, with the operations in float32 that the gates need
ROUNDINGS = ("nearest", "gptq")  # of weights: each to the nearest stored value, or with errors compensated
ACTIVATIONS = ("minmax", "percentile", "mse")  # how ranges of 8-bit activations are chosen
RUNTIMES = ("portrait", "coreml")  # what runs a package: our runtime, or Core ML itself
BASELINE_TOLERANCE = 1e-3  # of a mean mask IoU against an earlier one: two versions of torch moved it by at most 2e-5
DEFAULT_OPSET = 17  # of exported ONNX models; every tool in use reads it


@dataclass(frozen=True)
class Frame:
    """One picture, prepared for a model.

    Attributes:
        image: (H, W, 3) uint8, sRGB, at the model's input size.
        depth: (H, W) float32 for models with a depth input, else None.
        name: its name in reports, usually the file's.
        continues: it follows the frame before it in a sequence, so a recurrent network keeps its carried values; else
            they start at zero.
        carried: carried values to run it with instead, by name.
        pictures: further pictures that the model takes, by the name of its input: (H, W, 3) or (H, W) uint8.
    """

    image: np.ndarray
    depth: np.ndarray | None = None
    name: str = ""
    continues: bool = False
    carried: Mapping[str, np.ndarray] | None = None
    pictures: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Carried:
    """A value that a recurrent network returns with one frame and takes with the next. It is zero before the first.

    Attributes:
        name: its input in the network as it came.
        input, output: names in the graph that has it.
        shape: at the network's input size.
    """

    name: str
    input: str
    output: str
    shape: tuple[int, ...]


EMPTY = "empty"  # kind of a photograph with nobody in it
DRAWN = 0.5  # a drawn mask's soft pixels are person from here on


@dataclass(frozen=True)
class LabelledFrame:
    """A frame with its ground-truth mask.

    Attributes:
        frame: the picture.
        mask: (H, W) float32 in 0..1, 1 = person, at the frame's size; None if there is none.
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
    """A model's output for one frame, always for the person class, whichever class the network calls positive.

    Attributes:
        probability: (H, W) float32, P(person) in 0..1, at the frame's size.
        logits: (h, w) float32 at the network's own resolution; None if only the final mask is available.
        raw: (h, w) float32, the values of a network of the user's own that the mask was read from; else None.
        carried: of a recurrent network, what it takes with the next frame, by the name of `Carried`.
    """

    probability: np.ndarray
    logits: np.ndarray | None = None
    raw: np.ndarray | None = None
    carried: Mapping[str, np.ndarray] = field(default_factory=dict)


@runtime_checkable
class Runner(Protocol):
    """Anything that segments frames: PyTorch, ONNX Runtime, our runtime, Core ML."""

    name: str

    def run(self, frames: Sequence[Frame]) -> list[Prediction]:
        """Segment each frame, in order."""
        ...


@dataclass(frozen=True)
class ImageFeature:
    """An image input or output of a package.

    Attributes:
        name: the feature's name, which is also the name of the value in the program.
        height, width: in pixels.
        color: `rgb` or `bgr` (three channels), or `grayscale`.
        scale, bias: Core ML first computes `pixel * scale + bias` of an input, bias per channel.
        description: one line for the app developer.
        sizes: every allowed (height, width), the default first; empty if there is only one.
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
        """Whether several sizes are allowed."""
        return bool(self.sizes)


@dataclass(frozen=True)
class ArrayFeature:
    """A MultiArray input or output of a package.

    Attributes:
        name: the feature's name, which is also the name of the value in the program.
        shape: its dimensions, all known.
        dtype: `fp32`, `fp16` or `int32`; from iOS26 on also `int8`.
        description: one line for the app developer.
        shapes: every allowed shape, the default first; empty if there is only one.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "fp32"
    description: str = ""
    shapes: tuple[tuple[int, ...], ...] = ()

    @property
    def listed(self) -> bool:
        """Whether several shapes are allowed."""
        return bool(self.shapes)


Feature = ImageFeature | ArrayFeature


@dataclass(frozen=True)
class Value:
    """One value in a network's graph.

    Attributes:
        name: the value's name.
        kind: the operator that computes it.
        inputs: names of the operator's inputs, constants included.
        shape: None if it is only known at run time.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Lowered:
    """A MIL program in memory, with its inputs and outputs as an app sees them.

    Attributes:
        program: coremltools' MIL Program, float32, with one function `main`.
        inputs, outputs: in the order of the function's inputs and outputs.
        target: the deployment target of its operators, such as `iOS17`.
        states: what it keeps from one run to the next.
    """

    program: Any
    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    target: str
    states: tuple[ArrayFeature, ...] = ()
