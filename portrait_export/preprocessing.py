"""Define how a photo becomes a model's input and how the model's output becomes a mask."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from .errors import UsageError, nearest

if TYPE_CHECKING:
    import numpy as np

    from .artifacts import Frame

METADATA_PREFIX = "portrait_export."  # of our entries in the metadata of packages and ONNX models
SPEC_KEY = METADATA_PREFIX + "spec"
CARRIED_KEY = METADATA_PREFIX + "carried"  # the values that a recurrent network carries from frame to frame
LOGITS_KEY = METADATA_PREFIX + "logits"  # the package's value that holds the logits
IMAGENET_MEAN = (0.485, 0.456, 0.406)  # per RGB channel, of pixels scaled to 0..1
IMAGENET_STD = (0.229, 0.224, 0.225)
COLORS = ("rgb", "bgr")
RESIZES = ("stretch", "fit", "fill", "crop")
OUTPUTS = ("mask", "multiarray", "logits")
POSITIVES = ("person", "background")


@dataclass(frozen=True)
class PortraitSpec:
    """The preprocessing and postprocessing of one network.

    The network's input is `(pixel * scale - mean) / std`, per channel, in the channel order of `color`.

    Attributes:
        height, width: the network's input size in pixels.
        color: channel order of the training data, `rgb` or `bgr`.
        scale: multiplies the 0..255 pixel.
        mean, std: per channel, in the units of `pixel * scale`.
        resize: how a photo is fitted to the input size: `stretch` ignores its aspect ratio; `fit` letterboxes;
            `fill` covers the input and crops to the centre; `crop` crops to the centre without enlarging.
        inputs: `("image",)` or `("image", "depth")`.
        output: `mask` (8-bit grayscale image, 255 = person), `multiarray` (P(person) as float), or `logits`.
        positive: the class of the network's logits, `person` or `background`. Masks are always of the person.
        threshold: pixels with at least this P(person) are person.
    """

    height: int = 512
    width: int = 512
    color: str = "rgb"
    scale: float = 1 / 255
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    resize: str = "stretch"
    inputs: tuple[str, ...] = ("image",)
    output: str = "mask"
    positive: str = "person"
    threshold: float = 0.5

    def __post_init__(self) -> None:
        for name, valid in (("color", COLORS), ("resize", RESIZES), ("output", OUTPUTS), ("positive", POSITIVES)):
            value = getattr(self, name)
            if value not in valid:
                hint = nearest(str(value), valid, what=name)
                raise UsageError(f"PortraitSpec.{name} cannot be {value!r}.", hint=hint)
        if not (1 <= self.height <= 16384 and 1 <= self.width <= 16384):
            raise UsageError(f"The input size {self.height}x{self.width} is not within 1..16384 pixels a side.")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise UsageError(f"mean and std need three values each, std > 0; found mean {self.mean}, std {self.std}.")

    def with_size(self, height: int, width: int) -> PortraitSpec:
        """Return the same preprocessing at another input size in pixels."""
        return replace(self, height=height, width=width)

    def to_json(self) -> str:
        """Return one line of JSON with sorted keys, as stored in exported packages and ONNX files."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> PortraitSpec:
        """Read the output of `to_json`. Raises UsageError for anything else."""
        try:
            data: dict[str, Any] = json.loads(text)
            known = {field.name for field in fields(cls)}
            if not isinstance(data, dict):
                raise ValueError(f"a JSON object is needed, found {text[:40]}")
            if set(data) != known:
                raise ValueError(f"unknown fields {sorted(set(data) - known)}, missing {sorted(known - set(data))}")
            values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
            return cls(**values)
        except (ValueError, TypeError) as error:
            raise UsageError(f"This is not a PortraitSpec: {error}.") from error

    def normalise(self, frame: Frame) -> np.ndarray:
        """Convert a frame to the network's `image` input.

        Args:
            frame: with an (H, W, 3) uint8 image at this spec's size.
        Returns:
            (1, 3, H, W) float32.
        """
        import numpy as np

        if frame.image.shape != (self.height, self.width, 3) or frame.image.dtype != np.uint8:
            raise UsageError(
                f"Frame {frame.name!r} is {frame.image.dtype} {frame.image.shape};"
                f" the model takes uint8 {(self.height, self.width, 3)}."
            )
        channels = frame.image if self.color == "rgb" else frame.image[..., ::-1]
        scaled = channels.astype(np.float32) * np.float32(self.scale)
        normal = (scaled - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return np.ascontiguousarray(normal.transpose(2, 0, 1)[None])
