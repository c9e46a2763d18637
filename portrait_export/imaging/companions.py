"""Make the pictures that a network takes besides the photograph: background, trimap, mask.

On photographs with a drawn mask they are made from it, as the networks' training data are:
    background   the photograph where nobody is; elsewhere its surroundings, blurred into the hole (push-pull)
    trimap       the mask without and beyond a band along its edge, TRIMAP_BAND of the longer side wide on each side
                 (Deep Image Matting, arXiv:1703.03872, section 3.1: the matte eroded and dilated)
    mask         the mask itself
Without a mask a stand-in takes its place, which both sides of a comparison get: the blurred photograph, a trimap that
is unknown everywhere, a mask of nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..artifacts import Frame
from ..errors import PhotoError
from ..preprocessing import Picture, PortraitSpec
from .resize import resize_bilinear

if TYPE_CHECKING:
    from .placement import Placement

TRIMAP_BAND = 1 / 50  # 10 pixels at 512
PERSON, BACKGROUND = 0.95, 0.05  # of a mask: what is between is an edge
HOLE_BAND = 1 / 100  # how far around the mask the photograph is painted out too: hair and soft edges
UNKNOWN = 128  # of a trimap
STAND_IN_SIDE = 8  # pixels to which a photograph is reduced for a background without a mask
HOW = {  # what the pictures of `with_pictures` are, with a mask and without
    "photo": ("the photograph itself", "the photograph itself"),
    "background": ("the photograph with the person painted out by the drawn mask", "the photograph, blurred"),
    "trimap": (f"the drawn mask, unknown within {100 * TRIMAP_BAND:g} % of the longer side of its edge", "all unknown"),
    "mask": ("the drawn mask", "nobody"),
}


def with_pictures(
    frame: Frame, mask: np.ndarray | None, spec: PortraitSpec, own: Mapping[str, np.ndarray] | None = None
) -> Frame:
    """A frame with the pictures that a network takes besides it.

    Args:
        mask: (H, W) float32 in 0..1 of the frame; None makes stand-ins.
        own: pictures of the user's, by name, at the frame's size; they are not made.
    """
    own = own or {}
    made = {
        picture.name: own[picture.name] if picture.name in own else _made(picture.shows, frame.image, mask)
        for picture in spec.pictures
    }
    return replace(frame, pictures=made) if made else frame


def _made(shows: str, image: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    if shows == "photo":
        return image
    if shows == "background":
        return blurred(image) if mask is None else painted_out(image, mask)
    if mask is None:
        return np.full(image.shape[:2], UNKNOWN if shows == "trimap" else 0, np.uint8)
    return trimap_of(mask) if shows == "trimap" else np.rint(np.clip(mask, 0, 1) * 255).astype(np.uint8)


def blurred(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 without detail."""
    return resize_bilinear(resize_bilinear(image, (STAND_IN_SIDE, STAND_IN_SIDE)), image.shape[:2])


def trimap_of(mask: np.ndarray) -> np.ndarray:
    """(H, W) float32 in 0..1 → uint8: 255 person, 0 background, UNKNOWN along the edge."""
    band = _pixels(TRIMAP_BAND, mask)
    person = ~_dilated(mask < PERSON, band)
    background = ~_dilated(mask > BACKGROUND, band)
    return np.where(person, 255, np.where(background, 0, UNKNOWN)).astype(np.uint8)


def painted_out(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The photograph (H, W, 3) uint8 with its person (mask (H, W) in 0..1) replaced by the surroundings.

    Push-pull (Gortler et al., The Lumigraph, 1996, section 3.4): known pixels are averaged over ever coarser grids, and
    holes take the value of the coarser grid.
    """
    hole = _dilated(mask > BACKGROUND, _pixels(HOLE_BAND, mask))
    if not hole.any():
        return image
    known = (~hole).astype(np.float32)
    filled = np.stack([_filled(image[..., k] * known, known) for k in range(3)], axis=-1)
    return np.where(hole[..., None], np.rint(np.clip(filled, 0, 255)), image).astype(np.uint8)


def _filled(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """values / weights (H, W float32) where weights are 1; where they are less, the rest comes from a coarser grid."""
    size = values.shape
    known = np.divide(values, weights, out=np.zeros_like(values), where=weights > 0)
    if max(size) == 1 or weights.min() >= 1:
        return known
    half = tuple((side + 1) // 2 for side in size)
    coarse = _filled(*(np.ascontiguousarray(resize_bilinear(each, half)) for each in (values, weights)))
    share = np.clip(weights, 0, 1)
    return known * share + resize_bilinear(coarse, size) * (1 - share)


def _pixels(share: float, mask: np.ndarray) -> int:
    return max(1, round(share * max(mask.shape)))


def _dilated(region: np.ndarray, radius: int) -> np.ndarray:
    """(H, W) bool: what is within `radius` pixels along both axes of a True."""
    for axis in (0, 1):
        grown = region.copy()
        for step in range(1, min(radius, region.shape[axis] - 1) + 1):
            before, after = [slice(None)] * 2, [slice(None)] * 2
            before[axis], after[axis] = slice(None, -step), slice(step, None)
            grown[tuple(after)] |= region[tuple(before)]
            grown[tuple(before)] |= region[tuple(after)]
        region = grown
    return region


def fitted(pixels: np.ndarray, picture: Picture, placement: Placement, *, where: str) -> np.ndarray:
    """Fit a picture file of the user's to the frame, as its photograph was.

    Args:
        pixels: (h, w, 3) uint8, the same view as the photograph at any resolution.
        where: what to call it in errors.
    Returns:
        (H, W, 3) uint8; (H, W) for trimaps and masks, a trimap's pixels each 0, UNKNOWN or 255.
    Raises:
        PhotoError: its aspect ratio is not the photograph's.
    """
    (height, width), (rows, columns) = placement.photo, pixels.shape[:2]
    if abs(rows * width - columns * height) > max(rows + columns, height + width) / 2:
        raise PhotoError(
            f"{where} is {columns}x{rows} pixels, the photo {width}x{height}: they do not show the same view.",
            hint="a picture that goes with a photo needs the photo's aspect ratio.",
        )
    if picture.shows in ("trimap", "mask"):
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))
    source, target = placement.source, placement.target
    y, x = rows / height, columns / width
    box = (source.left * x, source.top * y, source.right * x, source.bottom * y)
    out = np.zeros((*placement.frame, *pixels.shape[2:]), np.uint8)
    out[target.top : target.bottom, target.left : target.right] = resize_bilinear(pixels, target.size, box)
    if picture.shows == "trimap":
        out = np.where(out < 64, 0, np.where(out > 191, 255, UNKNOWN)).astype(np.uint8)
    return out
