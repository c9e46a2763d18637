"""Encode pictures as the bytes of a file; the same pixels give the same bytes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image


def png_bytes(image: Image.Image) -> bytes:
    """A picture as PNG, in the picture's own mode: 8-bit gray, RGB, RGBA, or 16-bit gray."""
    return image_bytes(image, "PNG")


def image_bytes(image: Image.Image, format_: str, **options: int) -> bytes:
    """A picture in one of Pillow's formats.

    Raises:
        OSError, ValueError: the format does not hold such a picture.
    """
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()
