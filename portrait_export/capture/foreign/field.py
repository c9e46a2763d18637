"""Define Field: how an array holds classes over the pixels of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..onnx.graph import Shape


@dataclass(frozen=True)
class Field:
    """How an array holds classes over pixels.

    Attributes:
        shape: the array's.
        axis: of the classes; None where there is one class and no axis for it.
    """

    shape: Shape
    axis: int | None

    @property
    def classes(self) -> int:
        """K."""
        return 1 if self.axis is None else self.shape[self.axis]

    @property
    def pixels(self) -> tuple[int, int]:
        """(h, w)."""
        rest = [size for index, size in enumerate(self.shape) if index != self.axis]
        return rest[-2], rest[-1]

    def planes(self, array: np.ndarray) -> np.ndarray:
        """An array of this shape as (K, h, w)."""
        moved = array if self.axis is None else np.moveaxis(array, self.axis, 0)
        return moved.reshape(self.classes, *self.pixels)


def field_of(shape: Shape, size: tuple[int, int]) -> Field | None:
    """How an array of this shape can be a map of a picture of `size`; None where it cannot. Channels first is tried
    first: pixels must have the picture's aspect ratio, up to the rounding of one pixel."""
    axes: Sequence[int | None] = {4: (1, 3), 3: (None, 0, 2), 2: (None,)}.get(len(shape), ())
    for axis in axes:
        found = Field(tuple(shape), axis)
        leading = [length for index, length in enumerate(shape) if index != axis][:-2]
        height, width = found.pixels
        square = abs(height * size[1] - width * size[0]) <= max(size)
        if all(length == 1 for length in leading) and min(height, width) > 1 and found.classes and square:
            return found
    return None
