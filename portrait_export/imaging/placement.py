"""Fit photos to a model's input size, and map masks back to the photo's resolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..artifacts import Frame
from ..errors import PhotoError, UsageError
from .resize import resize_bilinear

if TYPE_CHECKING:
    import numpy as np

    from ..preprocessing import PortraitSpec
    from .photo import Photo

PADDING = 0  # black pixels and zero depth where a photo does not cover the frame


@dataclass(frozen=True)
class Box:
    """A rectangle of whole pixels; `bottom` and `right` are exclusive."""

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
    """Which part of a photo fills which part of a frame. Neither box is ever empty.

    Attributes:
        photo: (H, W) of the photo.
        frame: (H, W) of the frame.
        source: the part of the photo that the model sees, in photo pixels.
        target: the position of that part in the frame, in frame pixels; the rest of the frame is padding.
    """

    photo: tuple[int, int]
    frame: tuple[int, int]
    source: Box
    target: Box


def place(photo: tuple[int, int], frame: tuple[int, int], resize: str) -> Placement:
    """Compute the placement of a photo in a frame.

    With r = frame/photo per axis, the scale is
        stretch  (r_H, r_W): the whole photo, ignoring its aspect ratio;
        fit      min(r_H, r_W): the whole photo, centred on black padding;
        fill     max(r_H, r_W): the centre of the photo, covering the frame;
        crop     min(1, max(r_H, r_W)): as fill, but a photo smaller than the frame is padded, never enlarged.
    Sides are rounded to whole pixels, at least 1, so extreme aspect ratios are kept as closely as pixels allow.

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
    """Resize a photo to a model's input size, antialiased bilinear, by the spec's `resize` policy.

    Args:
        depth: (h, w) float32, the same view at any resolution; required if and only if the spec has a `depth` input.
    Returns:
        The frame at the spec's size, and the placement for `mask_back`. A photo of the spec's size is unchanged.
    """
    import numpy as np

    if (depth is not None) != ("depth" in spec.inputs):
        expected = "takes" if "depth" in spec.inputs else "does not take"
        found = "none was given" if depth is None else "one was given"
        raise UsageError(f"The model {expected} a depth map; for {photo.name or 'the photo'} {found}.")
    placement = place(photo.size, (spec.height, spec.width), spec.resize)
    source, target = placement.source, placement.target
    seen = photo.pixels[source.top : source.bottom, source.left : source.right]
    image = np.full((spec.height, spec.width, 3), PADDING, np.uint8)
    image[target.top : target.bottom, target.left : target.right] = resize_bilinear(seen, target.size)
    placed = None if depth is None else place_map(depth, placement, photo.name)
    return Frame(image, placed, photo.name), placement


def place_map(values: np.ndarray, placement: Placement, name: str = "", *, what: str = "depth map") -> np.ndarray:
    """Fit a photo's depth map or mask to the frame, at whatever resolution it has.

    Args:
        values: (h, w) float32 of the whole photo.
        name: the photo's name in errors.
        what: the kind of map in errors.
    Returns:
        (H, W) float32 at the frame's size, PADDING where the photo does not cover it.
    """
    import numpy as np

    if values.ndim != 2 or 0 in values.shape or not np.isfinite(values).all():
        raise PhotoError(f"The {what} of {name or 'the photo'} must be finite values (H, W); found {values.shape}.")
    per_row, per_column = values.shape[0] / placement.photo[0], values.shape[1] / placement.photo[1]
    source, target = placement.source, placement.target
    box = (source.left * per_column, source.top * per_row, source.right * per_column, source.bottom * per_row)
    seen = np.ascontiguousarray(values, np.float32)
    out = np.full(placement.frame, PADDING, np.float32)
    out[target.top : target.bottom, target.left : target.right] = resize_bilinear(seen, target.size, box)
    return out


def mask_back(mask: np.ndarray, placement: Placement) -> np.ndarray:
    """Resize a mask from the frame back to the photo's resolution (bilinear).

    Parts of the photo that the model did not see (outside `placement.source`) are 0.

    Args:
        mask: (H, W) float32 in 0..1 at the frame's size.
    Returns:
        (H, W) float32 in 0..1 at the photo's size.
    """
    import numpy as np

    if tuple(mask.shape) != placement.frame:
        raise PhotoError(f"The mask is {tuple(mask.shape)}, the photo was placed into a frame of {placement.frame}.")
    source, target = placement.source, placement.target
    seen = np.ascontiguousarray(mask[target.top : target.bottom, target.left : target.right], np.float32)
    out = np.zeros(placement.photo, np.float32)
    back = resize_bilinear(seen, source.size)
    # Interpolation weights sum to 1 only up to rounding, so a mask of ones could come back as 1.0000001.
    out[source.top : source.bottom, source.left : source.right] = np.clip(back, 0, 1)
    return out


def refined_back(mask: np.ndarray, placement: Placement, pixels: np.ndarray) -> np.ndarray:
    """A mask at the photo's resolution as from `mask_back`, sharpened along the photo's edges (`add_detail`).

    Args:
        mask: (H, W) float32 in 0..1 at the frame's size.
        pixels: (H, W, 3) uint8, the photo.
    """
    from .guided import add_detail

    out = mask_back(mask, placement)
    seen = placement.source
    rows, columns = slice(seen.top, seen.bottom), slice(seen.left, seen.right)
    out[rows, columns] = add_detail(out[rows, columns], pixels[rows, columns])
    return out
