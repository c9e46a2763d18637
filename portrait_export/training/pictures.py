"""Draw contact sheets of photographs, drawn masks and predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from ..imaging.encode import png_bytes

if TYPE_CHECKING:
    from torch import Tensor

CELL = 160  # pixels
CAPTION = 14  # pixels above a cell
BEHIND = (0, 200, 80)  # shows holes and halos on skin, hair and clothes alike


def prediction_sheet(shown: Sequence[tuple[Tensor, Tensor, Tensor]]) -> tuple[bytes, np.ndarray]:
    """A row per photograph: itself, the person by the drawn mask, the person by the prediction.

    Args:
        shown: image (3, H, W), mask and prediction (1, H, W), all in 0..1.
    Returns:
        The sheet as PNG, and as (h, w, 3) uint8.
    """
    sheet = np.concatenate([np.concatenate(_row(*one), 1) for one in shown], 0)
    return png_bytes(Image.fromarray(sheet)), sheet


def _row(image: Tensor, mask: Tensor, predicted: Tensor) -> list[np.ndarray]:
    photo = image.permute(1, 2, 0).numpy()
    return [_cell(photo), cut_out(photo, mask[0].numpy()), cut_out(photo, predicted[0].numpy())]


def captioned_sheet(
    shown: Sequence[tuple[str, Sequence[np.ndarray]]], *, across: int, heads: Sequence[str] = ()
) -> bytes:
    """A PNG of photographs, `across` in a row: for each a caption, and below it its cells side by side.

    Args:
        shown: a caption and cells, (CELL, CELL, 3) uint8, as many for each photograph.
        heads: what each cell of a photograph shows, at the top; empty: no line of them.
    """
    width, height, top = len(shown[0][1]) * CELL, CELL + CAPTION, CAPTION if heads else 0
    sheet = Image.new("RGB", (across * width, top + -(-len(shown) // across) * height), "white")
    draw = ImageDraw.Draw(sheet)
    for column in range(across if heads else 0):
        for i, head in enumerate(heads):
            draw.text((column * width + i * CELL + 2, 1), head, "black")
    for i, (caption, cells) in enumerate(shown):
        x, y = i % across * width, top + i // across * height
        sheet.paste(Image.fromarray(np.concatenate(cells, 1)), (x, y + CAPTION))
        draw.text((x + 2, y + 1), caption, "black")
    return png_bytes(sheet)


def cut_out(photo: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The person of a photograph (H, W, 3) in 0..1 on a plain colour, as a cell of a sheet."""
    behind = np.asarray(BEHIND, np.float32) / 255
    return _cell(mask[..., None] * photo + (1 - mask[..., None]) * behind)


def _cell(pixels: np.ndarray) -> np.ndarray:
    image = Image.fromarray((np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8))
    return np.asarray(image.resize((CELL, CELL), Image.Resampling.BILINEAR))
