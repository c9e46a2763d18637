"""Compose pictures from a photo and its mask."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import PhotoError, UsageError, nearest
from ..utils.files import write_bytes
from .encode import image_bytes
from .foreground import person_colors
from .photo import Photo
from .placement import place
from .resize import STRIP_PIXELS, strips

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

BLUR_SHARE = 0.02  # default sigma of the blur as a share of the photo's diagonal, 14 pixels at 512x512
BLUR_PIXELS = 8_000_000  # largest size of the reduced picture that is blurred
# Soft edges contain some of the person, so they weigh little as background: (1 − P)^4. A weight of 1 − P would leak
# five times as much of the person's colour into the blur next to it (∫P(1−P) = 1/6, ∫P(1−P)^4 = 1/30).
BACKGROUND_POWER = 4
SAVE_OPTIONS: dict[str, dict[str, int]] = {
    "PNG": {},
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True, "exact": True},
}
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


# ---- pictures ---------------------------------------------------------------------------------------------------


def mask_picture(probability: np.ndarray) -> np.ndarray:
    """Convert (H, W) P(person) to (H, W) uint8, 255 = person, rounded to nearest."""
    import numpy as np

    _check_range(probability)
    out = np.empty(probability.shape, np.uint8)
    for rows in strips(probability.shape):
        out[rows] = np.round(probability[rows] * np.float32(255))
    return out


def cut_out(photo: Photo, probability: np.ndarray) -> np.ndarray:
    """Cut the person out: (H, W, 4) uint8 with straight (unassociated) alpha = 255·P.

    Colours are the photo's, and the person's own (`person_colors`) in half-transparent pixels. They are 0 where alpha
    is 0, so the removed background cannot be recovered from the file.
    """
    import numpy as np

    _check_fit(photo, probability)
    alpha = mask_picture(probability)
    return np.dstack([person_colors(photo.pixels, probability) * (alpha > 0)[..., None], alpha])


def replace_background(photo: Photo, probability: np.ndarray, background: tuple[int, int, int] | Photo) -> np.ndarray:
    """Put the person on a colour or another picture: P·F + (1 − P)·background, (H, W, 3) uint8.

    F is the photo with the person's own colours at soft edges (`person_colors`).

    Args:
        background: sRGB 0..255, or a picture, which is scaled to cover the photo and cropped to its centre.
    """
    import numpy as np

    _check_fit(photo, probability)
    if isinstance(background, Photo):
        behind = cover(background, photo.size)
    else:
        behind = np.broadcast_to(np.array(background, np.uint8), photo.pixels.shape)
    out = person_colors(photo.pixels, probability)
    for rows in strips(probability.shape):
        out[rows] = _over(out[rows], behind[rows], probability[rows][..., None])
    return out


def blur_background(photo: Photo, probability: np.ndarray, sigma: float | None = None) -> np.ndarray:
    """Blur the background behind the person, (H, W, 3) uint8.

    The blur is a normalised convolution (Knutsson and Westin, CVPR 1993) with the background's weight
    w = (1 − P)^4, so neither the person nor the area outside the photo leaks into it:
        B = G∗(w·photo) / G∗w;   out = P·F + (1 − P)·B,
    with F the photo with the person's own colours at soft edges (`person_colors`).
    It is computed on a picture reduced by sigma/2 and in strips, so its memory does not grow with the photo.

    Args:
        sigma: of the Gaussian G, in pixels, 0 or more; None is BLUR_SHARE of the diagonal; 0 changes nothing.
    """
    import numpy as np
    from PIL import Image

    _check_fit(photo, probability)
    strength = BLUR_SHARE * math.hypot(*photo.size) if sigma is None else sigma
    if not 0 <= strength < math.inf:
        raise UsageError(f"`sigma=` is a number of pixels, 0 or more; found {strength:g}.")
    if strength == 0:
        return photo.pixels.copy()
    factor = max(1, int(strength / 2), math.ceil(math.sqrt(probability.size / BLUR_PIXELS)))
    blurred = _gaussian(_reduced(photo.pixels, probability, factor), _sigma_left(strength, factor))
    planes = [Image.fromarray(np.ascontiguousarray(blurred[..., i])) for i in range(4)]
    out = person_colors(photo.pixels, probability)
    for rows in strips(probability.shape):
        *colors, weight = _enlarged(planes, rows, photo.size[1], factor)
        near = weight > 1e-6
        scale = 1 / np.where(near, weight, 1)
        for i, color in enumerate(colors):
            # Deep inside a person no background is near, and none is needed: use the photo there.
            behind = np.where(near, color * scale, photo.pixels[rows, :, i])
            out[rows, :, i] = _over(out[rows, :, i], behind, probability[rows])
    return out


def cover(picture: Photo, size: tuple[int, int]) -> np.ndarray:
    """Scale a picture to cover (H, W) and crop it to its centre, (H, W, 3) uint8."""
    import numpy as np
    from PIL import Image

    box = place(picture.size, size, "fill").source
    middle = Image.fromarray(picture.pixels[box.top : box.bottom, box.left : box.right])
    return np.asarray(middle.resize((size[1], size[0]), Image.Resampling.BICUBIC))


def parse_color(text: str) -> tuple[int, int, int]:
    """Parse a CSS colour (`white`, `#1e90ff`, `rgb(0, 128, 0)`) to sRGB 0..255.

    Raises UsageError for any other text, which may have been meant as a file.
    """
    from PIL import ImageColor

    try:
        found = ImageColor.getrgb(text.strip())
    except ValueError as error:
        raise UsageError(
            f"{text!r} is neither a colour nor a file that exists.",
            hint="a colour is a name such as `white`, or `#1e90ff`, or `rgb(30, 144, 255)`.",
        ) from error
    return found[0], found[1], found[2]


# ---- files ------------------------------------------------------------------------------------------------------


def encode(picture: np.ndarray, suffix: str) -> bytes:
    """Encode a picture as the contents of a file.

    Args:
        picture: uint8, (H, W) gray, (H, W, 3) sRGB or (H, W, 4) with straight alpha.
        suffix: a key of FORMATS, in any case.
    Raises:
        UsageError: an unknown suffix, or JPEG for a picture with transparency.
        PhotoError: a side too long for the format.
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
    """Write a picture atomically, in the format of the path's suffix. Raises as `encode` and `write_bytes`."""
    write_bytes(path, encode(picture, path.suffix), force=force)


# ---- arithmetic -------------------------------------------------------------------------------------------------


def _over(front: np.ndarray, behind: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Compute P·front + (1 − P)·behind, rounded to uint8; the three shapes must broadcast."""
    import numpy as np

    mixed: np.ndarray = np.round(probability * front + (1 - probability) * behind).clip(0, 255).astype(np.uint8)
    return mixed


def _reduced(pixels: np.ndarray, probability: np.ndarray, factor: int) -> np.ndarray:
    """Average (w·R, w·G, w·B, w) over blocks of factor × factor: (⌈H/f⌉, ⌈W/f⌉, 4) float32.

    Sums are divided by factor² everywhere, so blocks cut by the border weigh less.
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
    """Return the remaining blur for the reduced picture, in its pixels.

    Variances add: averaging blocks of f adds f²/12, linear interpolation back about f²/6.
    """
    if factor == 1:
        return sigma
    return math.sqrt(max(0.0, (sigma / factor) ** 2 - 1 / 12 - 1 / 6))


def _gaussian(planes: np.ndarray, sigma: float) -> np.ndarray:
    """Convolve (h, w, 4) float32 with a Gaussian of `sigma` pixels, zero-padded."""
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
    """Enlarge some rows of the reduced planes to full size, bilinear between block centres: (4, h, width)."""
    import numpy as np
    from PIL import Image

    size = (width, rows.stop - rows.start)
    box = (0.0, rows.start / factor, width / factor, rows.stop / factor)
    return np.stack([np.asarray(plane.resize(size, Image.Resampling.BILINEAR, box=box)) for plane in small])


def _check_fit(photo: Photo, probability: np.ndarray) -> None:
    if tuple(probability.shape) != photo.size:
        raise PhotoError(
            f"The mask of {photo.name or 'the photo'} is {tuple(probability.shape)}, the photo is {photo.size}.",
            hint="resize it to the photo's size with `mask_back`.",
        )
    _check_range(probability)


def _check_range(probability: np.ndarray) -> None:
    """Raise PhotoError unless every value is within 0..1; NaN is not."""
    lowest, highest = float(probability.min()), float(probability.max())
    if not (lowest >= 0 and highest <= 1):
        raise PhotoError(f"A mask holds P(person), 0..1; found values from {lowest:g} to {highest:g}.")
