"""Encode pictures as file contents; the same pixels give the same bytes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image


def png_bytes(image: Image.Image) -> bytes:
    """Encode a picture as PNG in its own mode: 8-bit gray, RGB, RGBA, or 16-bit gray."""
    return image_bytes(image, "PNG")


def image_bytes(image: Image.Image, format_: str, **options: int) -> bytes:
    """Encode a picture in one of Pillow's formats.

    Raises:
        OSError, ValueError: the format cannot store this picture.
    """
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()
