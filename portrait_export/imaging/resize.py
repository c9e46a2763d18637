"""Resize pictures and float maps with Pillow's antialiased bilinear filter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

STRIP_PIXELS = 1 << 20  # pixels processed at once in float32, so that memory does not grow with the photo


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


def strips(shape: tuple[int, ...]) -> Iterator[slice]:
    """Yield slices of whole rows, about STRIP_PIXELS each, that cover (H, W)."""
    rows = max(1, STRIP_PIXELS // shape[1])
    for top in range(0, shape[0], rows):
        yield slice(top, min(shape[0], top + rows))


def resize_rows(values: np.ndarray, rows: slice, size: tuple[int, ...]) -> np.ndarray:
    """Return some rows of a (h, w) float32 map resized to (H, W), as `resize_bilinear` makes them."""
    (h, w), (H, W) = values.shape, size
    if (h, w) == (H, W):
        return values[rows]
    return resize_bilinear(values, (rows.stop - rows.start, W), (0.0, rows.start * h / H, float(w), rows.stop * h / H))
