"""Convert pictures to a program's input tensors, and its output tensors to pictures, as Core ML does.

An image input has a fixed size, a list of sizes or a range of sizes. A picture of another size is an error: it is never
resized. Channels are in the order that the package declares. A grayscale image has one channel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..errors import ExecutionError
from ..mil.features import Feature

if TYPE_CHECKING:
    from PIL.Image import Image

# PIL modes of 8-bit sRGB or gray (and `F`), which convert in only one way. CMYK, 16-bit and Lab do not.
ACCEPTED_MODES = ("RGB", "RGBA", "L", "1", "P", "F")


def image_to_tensor(picture: object, feature: Feature, device: str) -> Tensor:
    """Convert a picture to (1, C, H, W) float32 in 0..255.

    Args:
        picture: a PIL image of a size that the feature allows. Alpha is dropped. Gray and colour are converted to each
            other as PIL does (ITU-R 601). Mode `F` is for grayscale_fp16; its values are not scaled.
        feature: an image input.
    Raises:
        ExecutionError: if it is not a PIL image, or has a size or mode that is not accepted.
    """
    from PIL.Image import Image

    if not isinstance(picture, Image):
        raise ExecutionError(
            f"Input {feature.name!r} is an image ({feature.color}, {feature.allowed} high × wide);"
            f" found {type(picture).__name__}.",
            hint="pass a PIL image, such as PIL.Image.fromarray(uint8_array).",
        )
    if not feature.allows((picture.height, picture.width)):
        raise ExecutionError(
            f"Input {feature.name!r} takes images of {feature.allowed} pixels (height × width);"
            f" this one has {picture.height}×{picture.width}.",
            hint="resize it first. Core ML does not accept other sizes either.",
        )
    if picture.mode not in ACCEPTED_MODES:
        raise ExecutionError(
            f"Input {feature.name!r}: PIL mode {picture.mode!r} is not supported.",
            hint=f"convert it first, for example with .convert('RGB'). Supported modes: {', '.join(ACCEPTED_MODES)}.",
        )
    return torch.from_numpy(_pixels(picture, feature.color)).to(device)[None]


def _pixels(picture: Image, color: str) -> np.ndarray:
    """(C, H, W) float32 in 0..255."""
    if color == "grayscale_fp16":
        return np.array(picture.convert("F"), dtype=np.float16).astype(np.float32)[None]
    if color == "grayscale":
        return np.array(picture.convert("L"), dtype=np.float32)[None]
    rgb = np.array(picture.convert("RGB"), dtype=np.float32)
    ordered = rgb if color == "rgb" else rgb[..., ::-1]
    return np.ascontiguousarray(ordered.transpose(2, 0, 1))


def tensor_to_image(value: Tensor, feature: Feature) -> Image:
    """Convert a (1, C, H, W) or (C, H, W) value to the picture that an app receives.

    8-bit images are clamped to 0..255 and rounded to the nearest integer, ties to even. Core ML documents neither.
    Rounding to nearest leaves the result of a program that rounds its own output, as ours do, unchanged.
    NaN becomes 0. Colour images have mode RGBA with alpha 255, as coremltools returns them on a Mac.

    Returns:
        A PIL image of mode L (grayscale), F (grayscale_fp16) or RGBA.
    """
    from PIL import Image

    array = value.detach().cpu().numpy().astype(np.float32)
    channels = 1 if feature.color.startswith("grayscale") else 3
    if array.ndim < 3 or array.shape[-3] != channels or array.size != np.prod(array.shape[-3:]):
        raise ExecutionError(
            f"Output {feature.name!r} is a {feature.color} image, but its value has shape {list(array.shape)}."
        )
    planes = array.reshape(array.shape[-3:])
    if feature.color == "grayscale_fp16":
        return Image.fromarray(planes[0].astype(np.float16).astype(np.float32))
    bytes_ = np.rint(np.clip(np.nan_to_num(planes, nan=0.0), 0, 255)).astype(np.uint8)
    if channels == 1:
        return Image.fromarray(bytes_[0])
    rgb = bytes_ if feature.color == "rgb" else bytes_[::-1]
    return Image.fromarray(np.ascontiguousarray(rgb.transpose(1, 2, 0))).convert("RGBA")
