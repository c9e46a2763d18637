"""Cut people out of labelled photographs and RGBA pictures, to paste them elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..artifacts import LabelledFrame
from ..calibration.dataset import resize_map, resize_photo
from ..errors import DataError
from .foreground import foreground
from .trust import GRAY, trusted

LONGEST_SIDE = 448  # pixels; larger cut-outs are stored at this size
SMALLEST_SIDE = 24  # pixels; smaller people are not worth pasting
MOST_UNTRUSTED = 0.03  # share of the person; above it a cut-out would be a ghost
Borders = tuple[bool, bool, bool, bool]  # left, top, right, bottom
AT_BORDER = 0.02  # of a border's length that the person covers: the photograph cuts the person there
AT_RENDERED_BORDER = 0.2  # the same in an RGBA picture, which is cropped to its person: a foot touches with less


@dataclass(frozen=True, eq=False)
class CutOut:
    """People without their photograph.

    Attributes:
        colours: (h, w, 3) uint8, the people's own colours, also where alpha is soft.
        alpha: (h, w) uint8 coverage.
        cut: whether the photograph's left, top, right and bottom border cuts them.
    """

    colours: np.ndarray
    alpha: np.ndarray
    cut: Borders = (False, False, False, False)


def cut_from(labelled: LabelledFrame) -> CutOut | None:
    """The people of a photograph; None if there are none, or if the mask is too uncertain to be cut along."""
    mask = labelled.mask
    assert mask is not None
    person = mask > 0.5
    if not person.any() or (~trusted(mask) & (mask > GRAY)).sum() > MOST_UNTRUSTED * person.sum():
        return None
    box = box_of(mask > GRAY)
    if max(mask[box].shape) < SMALLEST_SIDE:
        return None
    image, alpha = _reduced(labelled.frame.image[box], mask[box])
    alpha = np.where(alpha < GRAY, 0, np.where(alpha > 1 - GRAY, 1, alpha))
    colours = foreground(_tensor(image), torch.from_numpy(alpha)[None, None].float())
    return CutOut(
        (colours[0].permute(1, 2, 0).numpy() * 255 + 0.5).astype(np.uint8),
        (alpha * 255 + 0.5).astype(np.uint8),
        _cut_borders(person, AT_BORDER),
    )


def read_cutout(path: Path) -> CutOut:
    """An RGBA picture. Sides at which its alpha ends abruptly count as cut.

    Raises:
        DataError: it cannot be opened, or has no alpha.
    """
    try:
        with Image.open(path) as image:
            if "A" not in image.getbands():
                raise DataError(f"{path} has no alpha channel; a cut-out needs one.")
            image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.BILINEAR)
            pixels = np.asarray(image.convert("RGBA"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be read as a picture: {error}.") from error
    alpha = pixels[..., 3]
    cut = _cut_borders(alpha > 127, AT_RENDERED_BORDER)
    return CutOut(np.ascontiguousarray(pixels[..., :3]), np.ascontiguousarray(alpha), cut)


def box_of(where: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns of the smallest box around everything true in (H, W) bool; something must be."""
    rows, columns = np.flatnonzero(where.any(1)), np.flatnonzero(where.any(0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _cut_borders(person: np.ndarray, share: float) -> Borders:
    """Whether the person, (H, W) bool, covers more than this share of each border."""
    left, top, right, bottom = (
        bool(border.mean() > share) for border in (person[:, 0], person[0], person[:, -1], person[-1])
    )
    return left, top, right, bottom


def _reduced(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    h, w = mask.shape
    scale = LONGEST_SIDE / max(h, w)
    if scale >= 1:
        return np.ascontiguousarray(image), mask.astype(np.float32)
    size = max(1, round(h * scale)), max(1, round(w * scale))
    return resize_photo(np.ascontiguousarray(image), size), resize_map(mask, size)


def _tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255
