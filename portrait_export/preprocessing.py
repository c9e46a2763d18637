"""Define how a photo becomes a model's input and how the model's output becomes a mask."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from .errors import UsageError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from .artifacts import Frame

METADATA_PREFIX = "portrait_export."  # of our entries in the metadata of packages and ONNX models
SPEC_KEY = METADATA_PREFIX + "spec"
CARRIED_KEY = METADATA_PREFIX + "carried"  # the values that a recurrent network carries from frame to frame
LOGITS_KEY = METADATA_PREFIX + "logits"  # the package's value that holds the logits
IMAGENET_MEAN = (0.485, 0.456, 0.406)  # per RGB channel, of pixels scaled to 0..1
IMAGENET_STD = (0.229, 0.224, 0.225)
COLORS = ("rgb", "bgr")
GRAY = "gray"  # one channel, the luma of the pixels
RESIZES = ("stretch", "fit", "fill", "crop")
OUTPUTS = ("mask", "multiarray", "logits")
POSITIVES = ("person", "background")
LARGEST_SIDE = 16384  # of an input, in pixels
LARGEST_NUMBER = 1e30  # in magnitude; its reciprocal is the smallest divisor. float32 holds what they make of pixels
_SHOWN = 60  # characters of a value that an error shows
# What a picture that a network takes can show, and how an app's developer is told.
SHOWS = {
    "photo": "A photograph",
    "background": "The scene of the photograph without the person",
    "trimap": "A trimap of the photograph (255 person, 0 background, 128 unknown)",
    "mask": "A rough or earlier mask of the person (255 person, 0 background)",
}


@dataclass(frozen=True)
class Picture:
    """A picture that a network takes, and how its pixels become the input: `(pixel * scale - mean) / std`.

    Attributes:
        name: of the package's input.
        shows: what it shows, one of SHOWS.
        color: channel order, `rgb` or `bgr`; `gray` for one channel.
        scale: multiplies the 0..255 pixel.
        mean, std: per channel, in the units of `pixel * scale`.
    """

    name: str
    shows: str
    color: str
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise UsageError(f"Picture.name must be the name of an input; found {_shown(self.name)}.")
        _check_choice(self, "color", (*COLORS, GRAY))
        _check_choice(self, "shows", tuple(SHOWS))
        _check_numbers(self)

    @property
    def channels(self) -> int:
        """1 or 3."""
        return 1 if self.color == GRAY else 3

    def normalise(self, pixels: np.ndarray) -> np.ndarray:
        """Convert (H, W, 3) or (H, W) uint8 to the network's input, (1, C, H, W) float32.

        Colour becomes gray by its luma; gray pixels have three equal channels where the network takes colour.
        """
        import numpy as np

        values = pixels
        if self.color == GRAY:
            values = (luma(pixels) if pixels.ndim == 3 else pixels)[..., None]
        elif pixels.ndim == 2:
            values = np.repeat(pixels[..., None], 3, axis=2)
        elif self.color == "bgr":
            values = pixels[..., ::-1]
        scaled = values.astype(np.float32) * np.float32(self.scale)
        normal = (scaled - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return np.ascontiguousarray(normal.transpose(2, 0, 1)[None])


def luma(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 → (H, W) uint8: 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), rounded."""
    import numpy as np

    weights = np.array([19595, 38470, 7471])  # in units of 2⁻¹⁶; they sum to 1
    return ((pixels.astype(np.int64) @ weights + 2**15) >> 16).astype(np.uint8)


def _check_choice(owner: Picture | PortraitSpec, what: str, valid: tuple[str, ...]) -> None:
    value = getattr(owner, what)
    if value not in valid:
        hint = nearest(str(value)[:_SHOWN], valid, what=what)
        raise UsageError(f"{type(owner).__name__}.{what} cannot be {_shown(value)}.", hint=hint)


def _check_numbers(owner: Picture | PortraitSpec) -> None:
    """Raise UsageError unless `scale`, `mean` and `std` turn pixels into finite numbers."""
    if not _is_number(owner.scale) or owner.scale < 1 / LARGEST_NUMBER:
        raise UsageError(f"scale must be a finite number above 0; found {_shown(owner.scale)}.")
    lists = [value if isinstance(value, tuple | list) else () for value in (owner.mean, owner.std)]
    whole = all(len(each) == owner.channels and all(map(_is_number, each)) for each in lists)
    if not whole or min(owner.std) < 1 / LARGEST_NUMBER:
        count = "three values" if owner.channels == 3 else "one value"
        raise UsageError(
            f"mean and std need {count} each, std > 0; found mean {_shown(owner.mean)}, std {_shown(owner.std)}."
        )


def _is_number(value: Any) -> bool:
    """Whether a value is a number that is finite in float32."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    return number and bool(-LARGEST_NUMBER < value < LARGEST_NUMBER)


def _is_side(value: Any) -> bool:
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    return whole and bool(1 <= value <= LARGEST_SIDE)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


@dataclass(frozen=True)
class PortraitSpec:
    """The preprocessing and postprocessing of one network.

    The network's input is `(pixel * scale - mean) / std`, per channel, in the channel order of `color`.

    Attributes:
        height, width: the network's input size in pixels.
        color: channel order of the training data, `rgb` or `bgr`; `gray` for a network that takes the luma alone.
        scale: multiplies the 0..255 pixel.
        mean, std: per channel, in the units of `pixel * scale`.
        resize: how a photo is fitted to the input size: `stretch` ignores its aspect ratio; `fit` letterboxes;
            `fill` covers the input and crops to the centre; `crop` crops to the centre without enlarging.
        inputs: `("image",)` or `("image", "depth")`; or `image` and the names of `pictures`.
        output: `mask` (8-bit grayscale image, 255 = person), `multiarray` (P(person) as float), or `logits`.
        positive: the class of the network's logits, `person` or `background`. Masks are always of the person.
        threshold: pixels with at least this P(person) are person.
        pictures: what the network takes besides the photograph, in the order of `inputs`.
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
    pictures: tuple[Picture, ...] = ()

    def __post_init__(self) -> None:
        for name, valid in (
            ("color", (*COLORS, GRAY)),
            ("resize", RESIZES),
            ("output", OUTPUTS),
            ("positive", POSITIVES),
        ):
            _check_choice(self, name, valid)
        if not (_is_side(self.height) and _is_side(self.width)):
            size = f"{_shown(self.height)}x{_shown(self.width)}"
            raise UsageError(f"The input size {size} is not within 1..{LARGEST_SIDE} pixels a side.")
        _check_numbers(self)
        if not (_is_number(self.threshold) and 0 < self.threshold < 1):
            raise UsageError(f"threshold must be a number between 0 and 1; found {_shown(self.threshold)}.")
        self._check_inputs()

    def _check_inputs(self) -> None:
        """Raise UsageError unless the inputs are the image, and perhaps `depth` and the further pictures."""
        names = [picture.name for picture in self.pictures]
        inputs = self.inputs
        listed = isinstance(inputs, tuple | list) and bool(inputs) and all(isinstance(name, str) for name in inputs)
        once = listed and len(set(inputs)) == len(inputs) and len(set(names)) == len(names)
        if once and inputs[0] == "image" and set(inputs) <= {"image", "depth", *names}:
            return
        raise UsageError(
            f"inputs must be `image`, and perhaps `depth` or the names of `pictures` ({', '.join(names) or 'none'}),"
            f" each once; found {_shown(inputs)}."
        )

    @property
    def channels(self) -> int:
        """Of the photograph, as the network takes it: 1 or 3."""
        return 1 if self.color == GRAY else 3

    @property
    def all_pictures(self) -> tuple[Picture, ...]:
        """The photograph, and what the network takes besides it."""
        return (Picture("image", "photo", self.color, self.scale, self.mean, self.std), *self.pictures)

    def with_size(self, height: int, width: int) -> PortraitSpec:
        """Return the same preprocessing at another input size in pixels."""
        return replace(self, height=height, width=width)

    def to_json(self) -> str:
        """Return one line of JSON with sorted keys, as stored in exported packages and ONNX files."""
        return json.dumps(self.to_dict(), sort_keys=True)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values; without `pictures` where there are none."""
        return {key: value for key, value in asdict(self).items() if value or key != "pictures"}

    @classmethod
    def from_json(cls, text: str, *, source: str = "") -> PortraitSpec:
        """Read the output of `to_json`. Raises UsageError for anything else.

        Args:
            source: the file that holds the text, for the error.
        """
        wrong = f"{source} states no usable PortraitSpec" if source else "This is not a PortraitSpec"
        try:
            data: dict[str, Any] = json.loads(text)
            known = {field.name for field in fields(cls)}
            if not isinstance(data, dict):
                raise ValueError(f"a JSON object is needed, found {text[:40]}")
            missing = known - set(data) - {"pictures"}
            if missing or set(data) - known:
                raise ValueError(f"unknown fields {sorted(set(data) - known)}, missing {sorted(missing)}")
            pictures = tuple(Picture(**_tuples(dict(each))) for each in data.pop("pictures", ()))
            return cls(**_tuples(data), pictures=pictures)
        except (ValueError, TypeError) as error:
            raise UsageError(f"{wrong}: {error}.") from error
        except RecursionError as error:
            raise UsageError(f"{wrong}: it is nested too deeply.") from error
        except UsageError as error:
            raise UsageError(f"{wrong}: {error.message}", hint=error.hint) from error

    def normalise(self, frame: Frame) -> np.ndarray:
        """Convert a frame to the network's `image` input.

        Args:
            frame: with an (H, W, 3) uint8 image at this spec's size.
        Returns:
            (1, 3, H, W) float32; (1, 1, H, W) for `gray`.
        """
        import numpy as np

        if frame.image.shape != (self.height, self.width, 3) or frame.image.dtype != np.uint8:
            raise UsageError(
                f"Frame {frame.name!r} is {frame.image.dtype} {frame.image.shape};"
                f" the model takes uint8 {(self.height, self.width, 3)}."
            )
        return self.all_pictures[0].normalise(frame.image)


def _tuples(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
