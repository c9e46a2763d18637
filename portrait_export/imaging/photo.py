"""Read picture files as a viewer shows them: photos in sRGB, depth maps, masks."""

from __future__ import annotations

import contextlib
import importlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import PhotoError
from ..utils.extras import install
from ..utils.lfs import refuse_pointer
from ..utils.quiet import quiet
from .srgb import HIGH_DEPTH_GRAY, check_16_bit, to_srgb

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image


# Decoders that need no other program; Pillow's EPS reader, for one, starts Ghostscript.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "TIFF", "GIF", "BMP", "PPM", "JPEG2000", "HEIF")
MAX_PIXELS = 100_000_000  # twice a 48-megapixel phone photo: about 0.3 GB as RGB
PILLOW_MAX_PIXELS = 178_956_970  # Pillow itself refuses larger pictures
TOO_LARGE = "scale it down first; the model scales it to its own small size anyway."
EXIF_ORIENTATION = 0x0112
HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
ANIMATED_FORMATS = ("GIF", "WEBP", "PNG", "AVIF")  # further pictures of an MPO are views or maps of the first


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture as a viewer shows it: upright, opaque, sRGB.

    Attributes:
        pixels: (H, W, 3) uint8, sRGB.
        name: its name in reports.
        notes: what was ignored while reading it, one sentence each (a damaged colour profile, later frames).
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


def open_photo(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read a picture file as a viewer shows it.

    EXIF orientation is applied, an embedded ICC profile is converted to sRGB (perceptual intent), transparency is
    composited on white, 16 bits per channel are reduced to 8 by dropping the low byte, and the first frame of an
    animation is used.

    Args:
        max_pixels: refuse larger pictures by their header, before decoding them.
    Raises:
        PhotoError: not a regular file, empty, not a picture of a format in FORMATS, damaged, truncated, larger than
            `max_pixels`, or with samples that have no defined white (floats, 32-bit integers).
    """
    with _opened(path, max_pixels) as image:
        return photo_of(image, os.path.basename(os.fspath(path)))


def photo_of(image: Image.Image, name: str = "") -> Photo:
    """Convert a Pillow image, as `open_photo` does.

    Raises:
        PhotoError: its file is damaged, or its samples have no defined white.
    """
    try:
        image.load()
    except OSError as error:
        raise PhotoError(f"{name or 'The image'} cannot be decoded: {error}.") from error
    orientation = _orientation(image)
    pixels, notes = to_srgb(image)
    if orientation is not None:
        pixels = pixels.transpose(orientation)
    return Photo(_array(pixels), name, (*notes, *_more_frames(image)))


def open_depth(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a depth map: a grayscale PNG or TIFF with 16 bits (divided by 65535) or 8 bits (divided by 255).

    Only the scale changes: MiDaS' larger = nearer stays so.

    Returns:
        (H, W) float32 in 0..1.
    Raises:
        PhotoError: as for `open_photo`, and for colour pictures.
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
        check_16_bit(image, values * 65535)
        return values


def open_mask(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a mask: the luminance of any picture as P(person).

    Returns:
        (H, W) float32 in 0..1, 1 = white = person.
    """
    import numpy as np
    from PIL import Image

    gray = Image.fromarray(open_photo(path, max_pixels=max_pixels).pixels).convert("L")
    return np.asarray(gray, dtype=np.float32) / np.float32(255)


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str], max_pixels: int) -> Iterator[Image.Image]:
    """Yield the decoded picture; every failure to read it becomes one PhotoError."""
    from PIL import Image

    name = os.fspath(path)
    _check_file(name)
    Image.init()
    _add_heif()
    known = [name for name in FORMATS if name in Image.OPEN]
    limit = min(max_pixels, PILLOW_MAX_PIXELS)
    try:
        # Pillow warns of large pictures and odd metadata; the limit is checked here and metadata is not used.
        with open(name, "rb") as file, quiet(), Image.open(file, formats=known) as image:
            _check_pixels(image.size, limit)
            image.load()
            yield image
    except PhotoError as error:
        raise PhotoError(f"{name}: {error.message}", context=error.context, hint=error.hint) from error
    except Image.DecompressionBombError as error:
        raise PhotoError(f"{name}: the picture is too large: more than {limit:,} pixels.", hint=TOO_LARGE) from error
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


def _add_heif() -> None:
    """Let Pillow open HEIC if the extra `heic` is installed. Its decoder returns pictures upright."""
    from PIL import Image

    if "HEIF" not in Image.OPEN:
        with contextlib.suppress(ImportError):
            importlib.import_module("pillow_heif").register_heif_opener()


def _check_file(name: str) -> None:
    """Refuse anything but a regular, non-empty, readable file: opening a FIFO or device could block for ever."""
    try:
        status = os.stat(name)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PhotoError(f"Cannot read the picture {name}: {reason}.") from error
    if stat.S_ISDIR(status.st_mode):
        raise PhotoError(f"{name} is a folder, not a picture.", hint="pass the pictures in it one by one.")
    if not stat.S_ISREG(status.st_mode):
        raise PhotoError(f"{name} is not a regular file (a pipe, socket or device) and cannot be read as a picture.")
    if status.st_size == 0:
        raise PhotoError(f"{name} is empty (0 bytes).")
    if not os.access(name, os.R_OK):
        raise PhotoError(f"Cannot read the picture {name}: Permission denied.")
    refuse_pointer(name, PhotoError)


def _check_pixels(size: tuple[int, int], limit: int) -> None:
    width, height = size
    if width * height > limit:
        raise PhotoError(
            f"the picture is too large: {width}x{height} = {width * height:,} pixels, more than {limit:,}.",
            hint=TOO_LARGE,
        )
    if width < 1 or height < 1:
        raise PhotoError(f"the picture has no pixels: {width}x{height}.")


def _not_a_picture(name: str) -> PhotoError:
    """Return the error for a file that is not a picture, and what it is if its first bytes show it."""
    with open(name, "rb") as file:
        head = file.read(64)
    if head[4:8] == b"ftyp" and head[8:12] in HEIC_BRANDS:
        return PhotoError(
            f"{name} is a HEIC/HEIF picture, which is not supported without the extra `heic`.",
            hint=f"{install('heic')}; or convert the picture to JPEG, on a Mac with"
            " `sips -s format jpeg IN.heic --out OUT.jpg`.",
        )
    return PhotoError(
        f"{name} is not a picture that can be read: it starts with {head[:8]!r}.",
        hint=f"the formats are: {', '.join(FORMATS)}.",
    )


def _orientation(image: Image.Image) -> Image.Transpose | None:
    """Return the transposition that makes a picture upright, from EXIF tag 274 (TIFF 6.0, "Orientation").

    Call it after decoding: Pillow itself rotates TIFFs then and removes the tag.
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
    except Exception:  # an unreadable tag counts as absent; the pixels are still good
        return None
    return table.get(value) if isinstance(value, int) else None


def _more_frames(image: Image.Image) -> tuple[str, ...]:
    """Return the note for several frames or pages. Call it last: Pillow leaves the first one to look for a second."""
    with contextlib.suppress(Exception):  # damage after the first frame does not matter
        if image.format in ANIMATED_FORMATS and getattr(image, "is_animated", False):
            return ("it is an animation: its first frame is used.",)
        if image.format == "TIFF" and getattr(image, "n_frames", 1) > 1:
            return (f"it has {image.n_frames} pages: the first one is used.",)  # type: ignore[attr-defined]
    return ()


def _array(image: Image.Image) -> np.ndarray:
    import numpy as np

    return np.array(image, dtype=np.uint8)
