"""A picture file in, sRGB pixels out; pixels to a model's frame, and its mask back to the picture's resolution."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .artifacts import Frame
from .errors import PhotoError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from .preprocessing import PortraitSpec

# Decoders that work in this process on their own: Pillow's EPS reader would start Ghostscript, for one.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "TIFF", "GIF", "BMP", "PPM", "JPEG2000")
MAX_PIXELS = 100_000_000  # twice a 48-megapixel phone photo: about 0.3 GB as RGB
PILLOW_MAX_PIXELS = 178_956_970  # above this Pillow itself refuses, whatever we ask for
WHITE = (255, 255, 255)
PADDING = 0  # black, for pixels and for depth, where a photo does not cover the frame
EXIF_ORIENTATION = 0x0112
HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
ANIMATED_FORMATS = ("GIF", "WEBP", "PNG", "AVIF")  # further pictures in MPO and TIFF are not a film's frames
HIGH_DEPTH_GRAY = ("I", "I;16", "I;16L", "I;16B", "I;16N")


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture as people see it: upright, opaque, sRGB.

    Attributes:
        pixels: (H, W, 3) uint8, sRGB.
        name: what to call it in reports.
        notes: what was left aside while reading it, one sentence each (a damaged colour profile, later frames).
    """

    pixels: np.ndarray
    name: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape, dtype = tuple(self.pixels.shape), str(self.pixels.dtype)
        if len(shape) != 3 or shape[2] != 3 or dtype != "uint8" or 0 in shape:
            raise PhotoError(f"Photo {self.name!r} is {dtype} {shape}; it must be uint8 (H, W, 3), H and W at least 1.")

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return int(self.pixels.shape[0]), int(self.pixels.shape[1])


@dataclass(frozen=True)
class Box:
    """A rectangle of whole pixels; `bottom` and `right` are just outside it."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.bottom - self.top, self.right - self.left


@dataclass(frozen=True)
class Placement:
    """Which part of a photo lies where in a frame. Neither box is ever empty.

    Attributes:
        photo: (H, W) of the photo.
        frame: (H, W) of the frame.
        source: the part of the photo that the model sees, in photo pixels.
        target: where that part lies in the frame, in frame pixels; the rest of the frame is padding.
    """

    photo: tuple[int, int]
    frame: tuple[int, int]
    source: Box
    target: Box


# ---- files ------------------------------------------------------------------------------------------------------


def open_photo(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read a picture file the way people see it.

    EXIF orientation is applied; an embedded ICC profile is converted to sRGB (perceptual intent); transparency is laid
    on white; 16 bits a channel become 8 by dropping the low byte; of an animation the first frame counts.

    Args:
        max_pixels: refuse larger pictures from their header, before decoding them.
    Raises:
        PhotoError: not a regular file, empty, not a picture of a format in FORMATS, damaged, truncated, larger than
            `max_pixels`, or of samples without a defined white (floats, 32-bit integers).
    """
    with _opened(path, max_pixels) as image:
        orientation = _orientation(image)
        pixels, notes = _to_srgb(image)
        if orientation is not None:
            pixels = pixels.transpose(orientation)
        return Photo(_array(pixels), os.path.basename(os.fspath(path)), (*notes, *_animation(image)))


def open_depth(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a depth map: a grayscale PNG or TIFF of 16 bits (divided by 65535) or 8 bits (divided by 255).

    Values keep the file's meaning (MiDaS writes larger = nearer); only the scale changes.

    Returns:
        (H, W) float32 in 0..1.
    Raises:
        PhotoError: as `open_photo`, and for pictures with colour.
    """
    import numpy as np

    with _opened(path, max_pixels) as image:
        orientation = _orientation(image)
        if image.mode not in ("L", *HIGH_DEPTH_GRAY):
            raise PhotoError(
                f"a depth map is 8- or 16-bit grayscale, these pixels are {image.mode!r}.",
                hint="save depth as a 16-bit grayscale PNG, 0..65535.",
            )
        full_scale = 255 if image.mode == "L" else 65535
        upright = image if orientation is None else image.transpose(orientation)
        values = np.array(upright, dtype=np.float32) / np.float32(full_scale)
        _check_16_bit(image, values * 65535)
        return values


def open_mask(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a mask file: any picture, its luminance as P(person).

    Returns:
        (H, W) float32 in 0..1, 1 = white = person.
    """
    import numpy as np
    from PIL import Image

    gray = Image.fromarray(open_photo(path, max_pixels=max_pixels).pixels).convert("L")
    return np.asarray(gray, dtype=np.float32) / np.float32(255)


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str], max_pixels: int) -> Iterator[Image.Image]:
    """The decoded picture file; every way in which reading it can fail becomes one PhotoError."""
    from PIL import Image

    name = os.fspath(path)
    _check_file(name)
    Image.init()
    known = [name for name in FORMATS if name in Image.OPEN]
    limit = min(max_pixels, PILLOW_MAX_PIXELS)
    try:
        with open(name, "rb") as file, warnings.catch_warnings():
            # Pillow warns of large pictures and of odd metadata; the limit is checked here, metadata is not used.
            warnings.simplefilter("ignore")
            with Image.open(file, formats=known) as image:
                _check_pixels(image.size, limit)
                image.load()
                yield image
    except PhotoError as error:
        raise PhotoError(f"{name}: {error.message}", context=error.context, hint=error.hint) from error
    except Image.DecompressionBombError as error:
        raise PhotoError(
            f"{name}: the picture is too large: more than {limit:,} pixels.", context=(str(error),)
        ) from error
    except MemoryError as error:
        raise PhotoError(f"{name} does not fit into memory.", hint="scale it down first.") from error
    except Image.UnidentifiedImageError as error:
        raise _not_a_picture(name) from error
    except Exception as error:  # on damaged files Pillow's decoders raise anything, from SyntaxError to struct.error
        raise PhotoError(
            f"{name} is damaged or truncated and cannot be decoded.",
            context=(f"{type(error).__name__}: {error}",),
            hint="open it in a viewer and save it again as JPEG or PNG.",
        ) from error


def _check_file(name: str) -> None:
    """Only regular, non-empty, readable files: opening a FIFO or a device would wait or never end."""
    try:
        status = os.stat(name)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PhotoError(f"Cannot read the picture {name}: {reason}.") from error
    if stat.S_ISDIR(status.st_mode):
        raise PhotoError(f"{name} is a folder, not a picture.", hint="name the pictures in it one by one.")
    if not stat.S_ISREG(status.st_mode):
        raise PhotoError(f"{name} is not a regular file (a pipe, socket or device) and is not read as a picture.")
    if status.st_size == 0:
        raise PhotoError(f"{name} is empty (0 bytes).")
    if not os.access(name, os.R_OK):
        raise PhotoError(f"Cannot read the picture {name}: Permission denied.")


def _check_pixels(size: tuple[int, int], limit: int) -> None:
    width, height = size
    if width * height > limit:
        raise PhotoError(
            f"the picture is too large: {width}x{height} = {width * height:,} pixels, and at most {limit:,} are read.",
            hint="scale it down first; a model sees it at its own small size anyway.",
        )
    if width < 1 or height < 1:
        raise PhotoError(f"the picture has no pixels: {width}x{height}.")


def _not_a_picture(name: str) -> PhotoError:
    """Say what a file is instead, where its first bytes tell."""
    with open(name, "rb") as file:
        head = file.read(64)
    if head[4:8] == b"ftyp" and head[8:12] in HEIC_BRANDS:
        return PhotoError(
            f"{name} is a HEIC/HEIF picture, which is not supported.",
            hint="convert it to JPEG: on a Mac, `sips -s format jpeg IN.heic --out OUT.jpg`.",
        )
    if head.startswith(b"version https://git-lfs"):
        return PhotoError(f"{name} is a Git LFS pointer, not the picture itself.", hint="run `git lfs pull`.")
    return PhotoError(
        f"{name} is not a picture that can be read: it starts with {head[:8]!r}.",
        hint=f"the formats are: {', '.join(FORMATS)}.",
    )


# ---- colour -----------------------------------------------------------------------------------------------------


def _orientation(image: Image.Image) -> Image.Transpose | None:
    """The transposition that brings a picture upright, from EXIF tag 274 (TIFF 6.0, "Orientation").

    Called after decoding: Pillow turns TIFFs itself then, and takes the tag away.
    """
    from PIL import Image

    turn = Image.Transpose
    table = {
        2: turn.FLIP_LEFT_RIGHT,
        3: turn.ROTATE_180,
        4: turn.FLIP_TOP_BOTTOM,
        5: turn.TRANSPOSE,
        6: turn.ROTATE_270,
        7: turn.TRANSVERSE,
        8: turn.ROTATE_90,
    }
    try:
        value = image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:  # metadata of any damage: an unreadable tag is an absent tag, the pixels are still good
        return None
    return table.get(value) if isinstance(value, int) else None


def _animation(image: Image.Image) -> tuple[str, ...]:
    """The note on an animation. Called last: to look for a second frame, Pillow leaves the first."""
    with contextlib.suppress(Exception):  # damage behind the first frame is no matter of ours
        if image.format in ANIMATED_FORMATS and getattr(image, "is_animated", False):
            return ("it is an animation: its first frame is used.",)
    return ()


def _to_srgb(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """Any 8- or 16-bit picture as an opaque RGB one in sRGB, and notes on what could not be honoured."""
    from PIL import Image

    profile = image.info.get("icc_profile")
    plain = _to_8_bit(image)
    alpha = None
    if plain.mode in ("LA", "La"):
        with_alpha = plain.convert("LA")
        alpha, plain = with_alpha.getchannel("A"), with_alpha.getchannel("L")
    elif plain.mode in ("RGBa", "PA", "RGBA") or plain.has_transparency_data:
        with_alpha = plain.convert("RGBA")
        alpha, plain = with_alpha.getchannel("A"), with_alpha.convert("RGB")
    elif plain.mode not in ("L", "RGB", "CMYK", "LAB"):
        plain = plain.convert("RGB")  # 1, P, YCbCr, HSV, RGBX
    opaque, notes = _apply_profile(plain, profile)
    if alpha is not None:
        opaque = Image.composite(opaque, Image.new("RGB", opaque.size, WHITE), alpha)
    return opaque, notes


def _to_8_bit(image: Image.Image) -> Image.Image:
    """16-bit grayscale → L by v >> 8, which is what Pillow does to 16-bit RGB: gray and colour agree. Others pass."""
    import numpy as np
    from PIL import Image

    if image.mode == "F":
        raise _no_white("floating-point")
    if image.mode not in HIGH_DEPTH_GRAY:
        return image
    values = np.array(image).astype(np.int64)
    _check_16_bit(image, values)
    return Image.fromarray((values >> 8).astype(np.uint8))


def _check_16_bit(image: Image.Image, values: np.ndarray) -> None:
    """Older Pillow opens 16-bit PNG and PGM as 32-bit `I`; a TIFF of real 32-bit integers has no defined white."""
    if image.mode == "I" and (image.format == "TIFF" or values.min() < 0 or values.max() > 65535):
        raise _no_white("32-bit integer")


def _no_white(samples: str) -> PhotoError:
    return PhotoError(
        f"the picture's {samples} samples have no defined white, so they cannot become 8-bit sRGB.",
        hint="save it as 8- or 16-bit PNG.",
    )


def _apply_profile(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, tuple[str, ...]]:
    """An L, RGB, CMYK or LAB picture through its ICC profile to sRGB; without one, or with a useless one, as it is."""
    if not profile and image.mode != "LAB":
        return image.convert("RGB"), ()
    try:
        from PIL import ImageCms

        return _through_profile(image, profile, ImageCms), ()
    except Exception as error:  # no lcms, or a damaged profile: viewers show the picture, so do we, and say so
        if image.mode == "LAB":
            raise
        return image.convert("RGB"), (f"its colour profile is unusable and was ignored ({error}).",)


def _through_profile(image: Image.Image, profile: bytes | None, cms: Any) -> Image.Image:
    """Convert by littlecms. Raises what littlecms raises when the profile is damaged or of another colour space."""
    srgb = cms.createProfile("sRGB")
    if not profile:
        source = cms.createProfile("LAB")
    else:
        source = cms.ImageCmsProfile(io.BytesIO(profile))
        if cms.getProfileDescription(source).strip().startswith("sRGB"):
            return image.convert("RGB")  # exact, where a round trip through the tables would be off by one
        if source.profile.xcolor_space.strip() == "RGB" and image.mode == "L":
            image = image.convert("RGB")  # gray pixels saved beside a colour profile
    return cms.profileToProfile(image, source, srgb, renderingIntent=cms.Intent.PERCEPTUAL, outputMode="RGB")


def _array(image: Image.Image) -> np.ndarray:
    import numpy as np

    return np.array(image, dtype=np.uint8)


# ---- geometry ---------------------------------------------------------------------------------------------------


def place(photo: tuple[int, int], frame: tuple[int, int], resize: str) -> Placement:
    """Where a photo of one size lies in a frame of another.

    With r = frame/photo per axis, the scale is
        stretch  (r_H, r_W): the whole photo, its aspect ratio ignored;
        fit      min(r_H, r_W): the whole photo, centred on black padding;
        fill     max(r_H, r_W): the frame covered, the middle of the photo seen;
        crop     min(1, max(r_H, r_W)): as fill, but a photo smaller than the frame is padded, never enlarged.
    Sides are rounded to whole pixels, at least 1, so an extreme aspect ratio is kept as nearly as pixels allow.

    Args:
        photo, frame: (H, W) in pixels.
        resize: one of `preprocessing.RESIZES`.
    """
    ratios = frame[0] / photo[0], frame[1] / photo[1]
    scales = {
        "stretch": ratios,
        "fit": (min(ratios),) * 2,
        "fill": (max(ratios),) * 2,
        "crop": (min(1.0, max(ratios)),) * 2,
    }
    scale = scales[resize]
    seen = tuple(min(p, max(1, round(f / s))) for p, f, s in zip(photo, frame, scale, strict=True))
    covered = tuple(min(f, max(1, round(p * s))) for p, f, s in zip(photo, frame, scale, strict=True))
    return Placement(photo, frame, _middle(photo, seen), _middle(frame, covered))


def _middle(outer: tuple[int, ...], inner: tuple[int, ...]) -> Box:
    top, left = ((whole - part) // 2 for whole, part in zip(outer, inner, strict=True))
    return Box(top, left, top + inner[0], left + inner[1])


def to_frame(photo: Photo, spec: PortraitSpec, depth: np.ndarray | None = None) -> tuple[Frame, Placement]:
    """Bring a photo to a model's input size, antialiased bilinear, by the spec's resize policy.

    Args:
        depth: (h, w) float32 of the same view at any resolution; exactly when the spec has a `depth` input.
    Returns:
        The frame at the spec's size, and the placement that `mask_back` needs. A photo that already has the spec's
        size comes through unchanged.
    """
    import numpy as np
    from PIL import Image

    if (depth is not None) != ("depth" in spec.inputs):
        wants = "takes" if "depth" in spec.inputs else "does not take"
        found = "none was given" if depth is None else "one was given"
        raise UsageError(f"The model {wants} a depth map; for {photo.name or 'the photo'} {found}.")
    placement = place(photo.size, (spec.height, spec.width), spec.resize)
    source, target = placement.source, placement.target
    seen = Image.fromarray(photo.pixels[source.top : source.bottom, source.left : source.right])
    image = np.full((spec.height, spec.width, 3), PADDING, np.uint8)
    image[target.top : target.bottom, target.left : target.right] = _resized(seen, target.size)
    placed = None if depth is None else place_map(depth, placement, photo.name)
    return Frame(image, placed, photo.name), placement


def place_map(values: np.ndarray, placement: Placement, name: str = "", *, what: str = "depth map") -> np.ndarray:
    """A photo's depth map or mask through the photo's placement: the same part of the view, at whatever resolution.

    Args:
        values: (h, w) float32, covering what the photo covers.
        name: what to call the photo in errors.
    Returns:
        (H, W) float32 at the frame's size, PADDING where the photo does not cover it.
    """
    import numpy as np
    from PIL import Image

    if values.ndim != 2 or 0 in values.shape or not np.isfinite(values).all():
        raise PhotoError(f"The {what} of {name or 'the photo'} must be finite values (H, W); found {values.shape}.")
    per_row, per_column = values.shape[0] / placement.photo[0], values.shape[1] / placement.photo[1]
    source, target = placement.source, placement.target
    box = (source.left * per_column, source.top * per_row, source.right * per_column, source.bottom * per_row)
    seen = Image.fromarray(np.ascontiguousarray(values, np.float32))
    out = np.full(placement.frame, PADDING, np.float32)
    out[target.top : target.bottom, target.left : target.right] = _resized(seen, target.size, box)
    return out


def mask_back(mask: np.ndarray, placement: Placement) -> np.ndarray:
    """A mask at the frame's size, back at the photo's resolution (bilinear).

    What the model did not see (outside `placement.source`) is 0: not looked at, so not claimed to be a person.

    Args:
        mask: (H, W) float32 in 0..1 at the frame's size.
    Returns:
        (H, W) float32 in 0..1 at the photo's size.
    """
    import numpy as np
    from PIL import Image

    if tuple(mask.shape) != placement.frame:
        raise PhotoError(f"The mask is {tuple(mask.shape)}, the photo was placed into a frame of {placement.frame}.")
    source, target = placement.source, placement.target
    seen = np.ascontiguousarray(mask[target.top : target.bottom, target.left : target.right], np.float32)
    out = np.zeros(placement.photo, np.float32)
    back = _resized(Image.fromarray(seen), source.size)
    # Interpolation weights sum to 1 only up to rounding, so a mask of ones could come back as 1.0000001.
    out[source.top : source.bottom, source.left : source.right] = np.clip(back, 0, 1)
    return out


def _resized(
    image: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float] | None = None
) -> np.ndarray:
    """`image` (or a box of it, in its pixels) at `size` = (H, W)."""
    import numpy as np
    from PIL import Image

    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR, box=box))
