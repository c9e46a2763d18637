"""Read the inputs and outputs of a saved program, as an app sees them, from protobuf."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .types import MAX_DIMENSION

ARRAY_DTYPES = {65552: "fp16", 65568: "fp32", 65600: "fp64", 131080: "int8", 131104: "int32"}
COLOR_SPACES = {10: "grayscale", 20: "rgb", 30: "bgr", 40: "grayscale_fp16"}


@dataclass(frozen=True)
class Feature:
    """An input or output as an app sees it.

    Attributes:
        kind: `image`, `array`, `state`, `dictionary`, `sequence`, `string`, `int64` or `double`.
        shape: of an array; (height, width) of an image. The default one if it is flexible.
        dtype: of an array or state: fp16, fp32, fp64, int8 or int32. Empty for other kinds.
        color: of an image: `rgb`, `bgr`, `grayscale` or `grayscale_fp16`. Empty for other kinds.
        enumerated: the allowed shapes, if they are listed.
        ranges: (smallest, largest or None) per dimension, if the shape may vary.
        optional: whether it may be omitted.
        default: the value of every element if it is omitted.
    """

    name: str
    kind: str
    shape: tuple[int, ...] = ()
    dtype: str = ""
    color: str = ""
    enumerated: tuple[tuple[int, ...], ...] = ()
    ranges: tuple[tuple[int, int | None], ...] = ()
    optional: bool = False
    default: float | int | None = None
    description: str = ""

    def allows(self, shape: tuple[int, ...]) -> bool:
        """Whether a value of this shape is allowed."""
        if self.enumerated:
            return shape in self.enumerated
        if self.ranges:
            return len(shape) == len(self.ranges) and all(
                lo <= size and (hi is None or size <= hi) for size, (lo, hi) in zip(shape, self.ranges, strict=True)
            )
        return shape == self.shape or not self.shape

    @property
    def allowed(self) -> str:
        """The allowed shapes, as text."""
        if self.enumerated:
            return " or ".join("×".join(map(str, shape)) for shape in self.enumerated)
        if self.ranges:
            return " × ".join(str(lo) if lo == hi else f"{lo}..{hi or ''}" for lo, hi in self.ranges)
        return "×".join(map(str, self.shape)) or "any shape"


def read_feature(message: Any) -> Feature:
    """Read one input, output or state. Raises ValueError for an unknown color space, data type or size."""
    kind = message.type.WhichOneof("Type")
    reader = {"imageType": _image, "multiArrayType": _array, "stateType": _state}.get(kind)
    values = reader(getattr(message.type, kind)) if reader else {"kind": (kind or "unknown").removesuffix("Type")}
    optional = message.type.isOptional
    feature = Feature(name=message.name, description=message.shortDescription, optional=optional, **values)
    _check_sides(feature)
    return feature


def _check_sides(feature: Feature) -> None:
    """Raise ValueError for sides that no value can have. An image has at least one pixel."""
    lowest = 1 if feature.kind == "image" else 0
    for shape in (feature.shape, *feature.enumerated, tuple(low for low, _ in feature.ranges)):
        if not all(lowest <= side <= MAX_DIMENSION for side in shape):
            sides = "×".join(map(str, shape))
            raise ValueError(f"{feature.kind} {feature.name!r} has sides {sides}, not within {lowest}..{MAX_DIMENSION}")


def _image(message: Any) -> dict[str, Any]:
    if message.colorSpace not in COLOR_SPACES:
        raise ValueError(f"an image has the unknown color space {message.colorSpace}")
    flexible: dict[str, Any] = {}
    if message.WhichOneof("SizeFlexibility") == "enumeratedSizes":
        flexible["enumerated"] = tuple((int(s.height), int(s.width)) for s in message.enumeratedSizes.sizes)
    elif message.WhichOneof("SizeFlexibility") == "imageSizeRange":
        sides = message.imageSizeRange
        flexible["ranges"] = (_range(sides.heightRange), _range(sides.widthRange))
    shape = (int(message.height), int(message.width))
    return {"kind": "image", "shape": shape, "color": COLOR_SPACES[message.colorSpace], **flexible}


def _array(message: Any) -> dict[str, Any]:
    if message.dataType not in ARRAY_DTYPES:
        raise ValueError(f"an array has the unknown data type {message.dataType}")
    values: dict[str, Any] = {"kind": "array", "shape": tuple(message.shape), "dtype": ARRAY_DTYPES[message.dataType]}
    if message.WhichOneof("ShapeFlexibility") == "enumeratedShapes":
        values["enumerated"] = tuple(tuple(shape.shape) for shape in message.enumeratedShapes.shapes)
    elif message.WhichOneof("ShapeFlexibility") == "shapeRange":
        values["ranges"] = tuple(_range(side) for side in message.shapeRange.sizeRanges)
    default = message.WhichOneof("defaultOptionalValue")
    if default:
        values["default"] = getattr(message, default)
    return values


def _state(message: Any) -> dict[str, Any]:
    return {**_array(message.arrayType), "kind": "state"}


def _range(message: Any) -> tuple[int, int | None]:
    return int(message.lowerBound), None if message.upperBound < 0 else int(message.upperBound)
