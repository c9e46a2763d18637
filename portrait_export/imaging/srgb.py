"""Convert decoded pictures of any mode to opaque 8-bit sRGB."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from ..errors import PhotoError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

WHITE = (255, 255, 255)
HIGH_DEPTH_GRAY = ("I", "I;16", "I;16L", "I;16B", "I;16N")


def to_srgb(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """Convert an 8- or 16-bit picture to opaque RGB in sRGB; also return notes on what was ignored."""
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
    """Convert 16-bit grayscale to L by v >> 8, as Pillow does for 16-bit RGB. Other modes pass unchanged."""
    import numpy as np
    from PIL import Image

    if image.mode == "F":
        raise _no_white("floating-point")
    if image.mode not in HIGH_DEPTH_GRAY:
        return image
    values = np.array(image).astype(np.int64)
    check_16_bit(image, values)
    return Image.fromarray((values >> 8).astype(np.uint8))


def check_16_bit(image: Image.Image, values: np.ndarray) -> None:
    """Refuse real 32-bit integers, which have no defined white. Older Pillow opens 16-bit PNG and PGM as `I`, too."""
    if image.mode == "I" and (image.format == "TIFF" or values.min() < 0 or values.max() > 65535):
        raise _no_white("32-bit integer")


def _no_white(samples: str) -> PhotoError:
    return PhotoError(
        f"the picture's {samples} samples have no defined white, so they cannot become 8-bit sRGB.",
        hint="save it as 8- or 16-bit PNG.",
    )


def _apply_profile(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, tuple[str, ...]]:
    """Convert L, RGB, CMYK or LAB to sRGB by the ICC profile; a missing or unusable profile changes nothing."""
    if not profile and image.mode != "LAB":
        return image.convert("RGB"), ()
    try:
        from PIL import ImageCms

        return _through_profile(image, profile, ImageCms), ()
    except Exception as error:  # no lcms, or a damaged profile: like viewers, show the picture anyway, with a note
        if image.mode == "LAB":
            raise
        return image.convert("RGB"), (f"its colour profile is unusable and was ignored ({error}).",)


def _through_profile(image: Image.Image, profile: bytes | None, cms: Any) -> Image.Image:
    """Convert with littlecms. Raises littlecms' errors for a damaged profile or one of another colour space."""
    srgb = cms.createProfile("sRGB")
    if not profile:
        source = cms.createProfile("LAB")
    else:
        source = cms.ImageCmsProfile(io.BytesIO(profile))
        if cms.getProfileDescription(source).strip().startswith("sRGB"):
            return image.convert("RGB")  # exact; a round trip through the tables is off by one
        if source.profile.xcolor_space.strip() == "RGB" and image.mode == "L":
            image = image.convert("RGB")  # gray pixels saved with a colour profile
    return cms.profileToProfile(image, source, srgb, renderingIntent=cms.Intent.PERCEPTUAL, outputMode="RGB")
