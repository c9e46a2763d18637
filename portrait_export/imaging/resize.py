"""Resize pictures and float maps with Pillow's antialiased bilinear filter."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def resize_bilinear(
    values: np.ndarray, size: tuple[int, int], box: tuple[float, float, float, float] | None = None
) -> np.ndarray:
    """Resize a picture or map, or a box of it, to (H, W).

    Args:
        values: (h, w, 3) uint8, or (h, w) float32.
        size: (H, W) in pixels.
        box: left, top, right, bottom in pixels of `values`; None uses all of it.
    Returns:
        The same type at the new size; `values` itself if nothing changes. Rounding may take float values slightly out
        of the range of `values`.
    """
    import numpy as np
    from PIL import Image

    if box is None and values.shape[:2] == tuple(size):
        return values
    image = Image.fromarray(values)
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR, box=box))
