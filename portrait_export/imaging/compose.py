"""A photo and its P(person) in, a picture out: the mask, a cut-out, a replaced or blurred background."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import PhotoError, UsageError, nearest
from ..utils.files import write_bytes
from .encode import image_bytes
from .photo import Photo
from .placement import place

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

BLUR_SHARE = 0.02  # default blur: its sigma as a share of the photo's diagonal, 14 pixels at 512x512
STRIP_PIXELS = 1 << 20  # pixels worked on at once in float32, so that memory does not grow with the photo
BLUR_PIXELS = 8_000_000  # at most so many pixels does the reduced picture have that is blurred
# Pixels of a soft edge are part person, so they count little as background: weight (1 − P)^4. A weight of 1 − P would
# let five times as much of the person's colour into the blur beside it (∫P(1−P) = 1/6, ∫P(1−P)^4 = 1/30).
BACKGROUND_POWER = 4
SAVE_OPTIONS: dict[str, dict[str, int]] = {
    "PNG": {},
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True, "exact": True},
}
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


# ---- pictures ---------------------------------------------------------------------------------------------------


def mask_picture(probability: np.ndarray) -> np.ndarray:
    """(H, W) P(person) → (H, W) uint8, 255 = person, rounded to nearest."""
    import numpy as np

    _check_range(probability)
    out = np.empty(probability.shape, np.uint8)
    for rows in _strips(probability.shape):
        out[rows] = np.round(probability[rows] * np.float32(255))
    return out


def cut_out(photo: Photo, probability: np.ndarray) -> np.ndarray:
    """The person on nothing: (H, W, 4) uint8, straight (unassociated) alpha = 255·P.

    Colours are the photo's, also where half transparent. Where alpha is 0 they are 0 as well: what was cut away is not
    still to be found in the file.
    """
    import numpy as np

    _check_fit(photo, probability)
    alpha = mask_picture(probability)
    return np.dstack([photo.pixels * (alpha > 0)[..., None], alpha])


def replace_background(photo: Photo, probability: np.ndarray, background: tuple[int, int, int] | Photo) -> np.ndarray:
    """The person on a colour or another picture: P·photo + (1 − P)·background, (H, W, 3) uint8.

    Args:
        background: sRGB 0..255, or a picture, which is scaled to cover the photo and cropped to its middle.
    """
    import numpy as np

    _check_fit(photo, probability)
    if isinstance(background, Photo):
        behind = cover(background, photo.size)
    else:
        behind = np.broadcast_to(np.array(background, np.uint8), photo.pixels.shape)
    out = np.empty_like(photo.pixels)
    for rows in _strips(probability.shape):
        out[rows] = _over(photo.pixels[rows], behind[rows], probability[rows][..., None])
    return out


def blur_background(photo: Photo, probability: np.ndarray, sigma: float | None = None) -> np.ndarray:
    """The person in front of a blurred background, (H, W, 3) uint8.

    The blur is a normalised convolution (Knutsson and Westin, CVPR 1993) with the background's weight
    w = (1 − P)^4, so the person does not shine into it and neither does what lies beyond the photo's border:
        B = G∗(w·photo) / G∗w;   out = P·photo + (1 − P)·B.
    It is computed on a picture reduced by sigma/2, and in strips: its memory does not grow with the photo.

    Args:
        sigma: of the Gaussian G, in pixels; None takes BLUR_SHARE of the diagonal; 0 leaves the photo as it is.
    """
    import numpy as np
    from PIL import Image

    _check_fit(photo, probability)
    strength = BLUR_SHARE * math.hypot(*photo.size) if sigma is None else sigma
    if not 0 <= strength < math.inf:
        raise UsageError(f"A blur's sigma is a number of pixels, 0 or more; found {strength:g}.")
    if strength == 0:
        return photo.pixels.copy()
    factor = max(1, int(strength / 2), math.ceil(math.sqrt(probability.size / BLUR_PIXELS)))
    blurred = _gaussian(_reduced(photo.pixels, probability, factor), _sigma_left(strength, factor))
    planes = [Image.fromarray(np.ascontiguousarray(blurred[..., i])) for i in range(4)]
    out = np.empty_like(photo.pixels)
    for rows in _strips(probability.shape):
        *colors, weight = _enlarged(planes, rows, photo.size[1], factor)
        near = weight > 1e-6
        scale = 1 / np.where(near, weight, 1)
        for i, color in enumerate(colors):
            # Deep inside a person no background is near, and none is needed: there the photo stands in for it.
            behind = np.where(near, color * scale, photo.pixels[rows, :, i])
            out[rows, :, i] = _over(photo.pixels[rows, :, i], behind, probability[rows])
    return out


def cover(picture: Photo, size: tuple[int, int]) -> np.ndarray:
    """A picture scaled to cover (H, W) and cropped to its middle, (H, W, 3) uint8."""
    import numpy as np
    from PIL import Image

    box = place(picture.size, size, "fill").source
    middle = Image.fromarray(picture.pixels[box.top : box.bottom, box.left : box.right])
    return np.asarray(middle.resize((size[1], size[0]), Image.Resampling.BICUBIC))


def parse_color(text: str) -> tuple[int, int, int]:
    """A CSS colour (`white`, `#1e90ff`, `rgb(0, 128, 0)`) as sRGB 0..255. Raises UsageError."""
    from PIL import ImageColor

    try:
        found = ImageColor.getrgb(text.strip())
    except ValueError as error:
        raise UsageError(
            f"{text!r} is no colour.", hint="write a name such as `white`, `#1e90ff`, or `rgb(30, 144, 255)`."
        ) from error
    return found[0], found[1], found[2]


# ---- files ------------------------------------------------------------------------------------------------------


def encode(picture: np.ndarray, suffix: str) -> bytes:
    """A picture as the bytes of a file.

    Args:
        picture: uint8, (H, W) gray, (H, W, 3) sRGB or (H, W, 4) with straight alpha.
        suffix: a key of FORMATS, in any case.
    Raises:
        UsageError: an unknown suffix, or JPEG for a picture with transparency.
        PhotoError: too many pixels a side for the format.
    """
    from PIL import Image

    format_ = FORMATS.get(suffix.lower())
    if format_ is None:
        raise UsageError(
            f"Pictures cannot be written as {suffix!r}.", hint=nearest(suffix, list(FORMATS), what="format")
        )
    if format_ == "JPEG" and picture.ndim == 3 and picture.shape[2] == 4:
        raise UsageError("JPEG has no transparency, which a cut-out needs.", hint="write it as .png or .webp.")
    try:
        return image_bytes(Image.fromarray(picture), format_, **SAVE_OPTIONS[format_])
    except (OSError, ValueError) as error:
        raise PhotoError(
            f"A picture of {picture.shape[1]}x{picture.shape[0]} pixels cannot be written as {format_}: {error}.",
            hint="write it as .png.",
        ) from error


def write_picture(path: Path, picture: np.ndarray, *, force: bool) -> None:
    """Write a picture in the format of the path's suffix, whole or not at all. Errors as `encode` and `write_bytes`."""
    write_bytes(path, encode(picture, path.suffix), force=force)


# ---- arithmetic -------------------------------------------------------------------------------------------------


def _strips(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices of whole rows, of about STRIP_PIXELS each, that cover (H, W)."""
    rows = max(1, STRIP_PIXELS // shape[1])
    for top in range(0, shape[0], rows):
        yield slice(top, min(shape[0], top + rows))


def _over(front: np.ndarray, behind: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """P·front + (1 − P)·behind, rounded to uint8; all three of shapes that broadcast."""
    import numpy as np

    mixed: np.ndarray = np.round(probability * front + (1 - probability) * behind).clip(0, 255).astype(np.uint8)
    return mixed


def _reduced(pixels: np.ndarray, probability: np.ndarray, factor: int) -> np.ndarray:
    """Sums of (w·R, w·G, w·B, w) over blocks of factor², divided by factor²: (⌈H/f⌉, ⌈W/f⌉, 4) float32.

    Blocks cut short by the border weigh less, as they should.
    """
    import numpy as np

    H, W = probability.shape
    out = np.empty((-(-H // factor), -(-W // factor), 4), np.float32)
    columns = np.arange(0, W, factor)
    step = max(1, STRIP_PIXELS // (W * factor))  # block rows at once
    for first in range(0, out.shape[0], step):
        rows = slice(first * factor, min(H, (first + step) * factor))
        weight = ((1 - probability[rows]) ** BACKGROUND_POWER)[..., None].astype(np.float32)
        weighted = np.concatenate([weight * pixels[rows], weight], axis=-1)
        narrow = np.add.reduceat(weighted, columns, axis=1)
        starts = np.arange(0, weighted.shape[0], factor)
        out[first : first + len(starts)] = np.add.reduceat(narrow, starts, axis=0)
    out /= factor * factor
    return out


def _sigma_left(sigma: float, factor: int) -> float:
    """The blur still to do on the reduced picture, in its pixels.

    Variances add: averaging blocks of f brings f²/12, linear interpolation back about f²/6.
    """
    if factor == 1:
        return sigma
    return math.sqrt(max(0.0, (sigma / factor) ** 2 - 1 / 12 - 1 / 6))


def _gaussian(planes: np.ndarray, sigma: float) -> np.ndarray:
    """(h, w, 4) float32 convolved with a Gaussian of `sigma` pixels, zeros beyond the border."""
    import numpy as np

    reach = math.ceil(3 * sigma)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(sigma, 1e-9)) ** 2)
    taps = (taps / taps.sum()).astype(np.float32)
    for axis in (0, 1):
        source, planes = planes, np.zeros_like(planes)
        length = source.shape[axis]
        for offset, tap in zip(range(-reach, reach + 1), taps, strict=True):
            if abs(offset) < length:
                to, start = [slice(None)] * 3, [slice(None)] * 3
                to[axis] = slice(max(0, -offset), length - max(0, offset))
                start[axis] = slice(max(0, offset), length - max(0, -offset))
                planes[tuple(to)] += tap * source[tuple(start)]
    return planes


def _enlarged(small: Sequence[Image.Image], rows: slice, width: int, factor: int) -> np.ndarray:
    """Some rows of the reduced planes brought back to full size, bilinear between block centres: (4, h, width)."""
    import numpy as np
    from PIL import Image

    size = (width, rows.stop - rows.start)
    box = (0.0, rows.start / factor, width / factor, rows.stop / factor)
    return np.stack([np.asarray(plane.resize(size, Image.Resampling.BILINEAR, box=box)) for plane in small])


def _check_fit(photo: Photo, probability: np.ndarray) -> None:
    if tuple(probability.shape) != photo.size:
        raise PhotoError(
            f"The mask of {photo.name or 'the photo'} is {tuple(probability.shape)}, the photo is {photo.size}.",
            hint="bring it to the photo's size with `mask_back`.",
        )
    _check_range(probability)


def _check_range(probability: np.ndarray) -> None:
    """Every value within 0..1; NaN is not."""
    lowest, highest = float(probability.min()), float(probability.max())
    if not (lowest >= 0 and highest <= 1):
        raise PhotoError(f"A mask holds P(person), 0..1; found values from {lowest:g} to {highest:g}.")
