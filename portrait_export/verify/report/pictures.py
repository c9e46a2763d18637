"""Draw compared masks: photo, both masks and their difference side by side, and contact sheets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...artifacts import EMPTY
from ...imaging.resize import resize_bilinear
from ..metrics import binary, outline
from ..parity import Comparison, agreement, badness, number

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image, ImageFont

PANEL = 384  # side in pixels into which each panel is fitted
THUMB = 224  # side of a contact sheet's cell
MARGIN = 12
TEXT_SIZE = 15
LINE = 20  # height of a line of text in pixels

PAPER = (250, 250, 248)
INK = (28, 28, 30)
FAINT = (110, 110, 115)
BAD = (200, 0, 90)  # where a value is not finite
REFERENCE_COLOR = (0, 200, 120)
CANDIDATE_COLOR = (255, 40, 160)
FLIPPED = (0, 220, 255)

HEAT_FULL = 0.25  # the |ΔP| at which the heat is brightest: one scale for all pictures, so that they compare
HEAT_COLORS = ((0, 0, 0), (80, 10, 110), (205, 50, 60), (250, 150, 30), (255, 255, 190))  # 0 to HEAT_FULL, evenly

HEADINGS = ("photo", "reference mask", "package mask", "difference")


# ---- panels -----------------------------------------------------------------------------------------------------


def mask_picture(probability: np.ndarray) -> np.ndarray:
    """(H, W) P(person) → (H, W, 3) uint8, white = person; what is not finite is pink."""
    import numpy as np

    good = np.isfinite(probability)
    gray = np.round(np.clip(np.where(good, probability, 0), 0, 1) * 255).astype(np.uint8)
    picture = np.repeat(gray[..., None], 3, axis=-1)
    picture[~good] = BAD
    return picture


def values_picture(values: np.ndarray) -> np.ndarray:
    """(h, w) of any range → (h, w, 3) uint8: the smallest black, the largest white; what is not finite is pink."""
    import numpy as np

    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return mask_picture((values - low) / max(high - low, 1e-30))


def heat_picture(reference: np.ndarray, candidate: np.ndarray, threshold: float) -> np.ndarray:
    """|ΔP| as heat, (H, W, 3) uint8: black none, bright from HEAT_FULL on; flipped pixels cyan, not finite pink."""
    import numpy as np

    good = np.isfinite(reference) & np.isfinite(candidate)
    a, b = (np.where(good, side, 0).astype(np.float64) for side in (reference, candidate))
    level = np.clip(np.abs(a - b) / HEAT_FULL, 0, 1)
    positions = np.linspace(0, 1, len(HEAT_COLORS))
    channels = [np.interp(level, positions, [color[i] for color in HEAT_COLORS]) for i in range(3)]
    picture = np.round(np.stack(channels, axis=-1)).astype(np.uint8)
    picture[binary(a, threshold) != binary(b, threshold)] = FLIPPED
    picture[~good] = BAD
    return picture


def outlined(compared: Comparison, side: int) -> Image.Image:
    """The photo, fitted into `side` and darkened, under both masks' outlines: reference green, candidate pink on top.

    The masks are scaled first and outlined then, so that the lines stay one pixel wide.
    """
    import numpy as np
    from PIL import Image

    small = fit_into(compared.labelled.frame.image, side)
    picture = (np.asarray(small) * 0.75).astype(np.uint8)
    sides = ((compared.reference.probability, REFERENCE_COLOR), (compared.candidate.probability, CANDIDATE_COLOR))
    for probability, color in sides:
        if np.isfinite(probability).all():
            scaled = resize_bilinear(probability.astype(np.float32), (small.height, small.width))
            picture[outline(binary(scaled, compared.threshold))] = color
    return Image.fromarray(picture)


def inputs_of(compared: Comparison) -> dict[str, np.ndarray]:
    """Everything that the model took, by heading: the photo, and further pictures, each (H, W, 3) uint8."""
    import numpy as np

    frame = compared.labelled.frame
    further = {
        f"input {name}": picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
        for name, picture in frame.pictures.items()
    }
    return {HEADINGS[0]: frame.image, **further}


def panels(compared: Comparison) -> dict[str, np.ndarray]:
    """The pictures of HEADINGS, with the model's further pictures after the photo, each (H, W, 3) uint8."""
    a, b = compared.reference.probability, compared.candidate.probability
    results = (mask_picture(a), mask_picture(b), heat_picture(a, b, compared.threshold))
    return {**inputs_of(compared), **dict(zip(HEADINGS[1:], results, strict=True))}


def caption(compared: Comparison) -> str:
    """The numbers of one image in one line."""
    score = compared.score
    parts = [agreement(score)]
    if score.kind != EMPTY:
        parts.append(f"boundary F {number(score.boundary_f)}")
    parts.append(f"{number(score.flipped_pixels)} flipped pixel{'' if score.flipped_pixels == 1 else 's'}")
    if score.psnr_db is not None:
        parts.append(f"logits PSNR {number(score.psnr_db, 4)} dB")
    if score.label_iou_candidate is not None and score.kind != EMPTY:
        parts.append(f"IoU with drawn mask {number(score.label_iou_reference)} -> {number(score.label_iou_candidate)}")
    return ", ".join(parts)


# ---- sheets -----------------------------------------------------------------------------------------------------


def side_by_side(compared: Comparison) -> Image.Image:
    """One image: its name and numbers above headed panels."""
    from PIL import Image, ImageDraw

    fitted = {heading: fit_into(panel, PANEL) for heading, panel in panels(compared).items()}
    width, height = fitted[HEADINGS[0]].size
    cell = max(width, 150)  # a heading's room
    canvas = Image.new("RGB", (len(fitted) * (cell + MARGIN) + MARGIN, height + 3 * LINE + 2 * MARGIN), PAPER)
    draw, font = ImageDraw.Draw(canvas), label_font()
    draw.text((MARGIN, MARGIN - 4), clip(compared.score.name or "(no name)", canvas.width - 2 * MARGIN), INK, font)
    draw.text((MARGIN, MARGIN - 4 + LINE), clip(caption(compared), canvas.width - 2 * MARGIN), FAINT, font)
    for i, (heading, panel) in enumerate(fitted.items()):
        left = MARGIN + i * (cell + MARGIN)
        draw.text((left, MARGIN - 4 + 2 * LINE), clip(heading, cell), INK, font)
        canvas.paste(panel, (left, MARGIN + 3 * LINE - 2))
    return canvas


def worst_sheet(worst: Sequence[Comparison]) -> Image.Image:
    """Several images side by side, one under the other, and a legend."""
    from PIL import Image, ImageDraw

    rows = [side_by_side(compared) for compared in worst]
    legend = f"difference: black none, bright |P - P'| >= {HEAT_FULL:g}, cyan flipped pixels, pink NaN or infinity"
    width, height = max(row.width for row in rows), sum(row.height for row in rows)
    canvas = Image.new("RGB", (width, height + LINE + MARGIN), PAPER)
    top = 0
    for row in rows:
        canvas.paste(row, (0, top))
        top += row.height
    ImageDraw.Draw(canvas).text((MARGIN, top), clip(legend, width - 2 * MARGIN), FAINT, label_font())
    return canvas


class Thumbnails:
    """Small outlined pictures of every compared image, for a contact sheet: an `on_image` callback.

    Keeps a few kilobytes per image, and at most `limit` images: the worst of them.
    """

    def __init__(self, limit: int = 64):
        self.limit = limit
        self._kept: list[tuple[tuple[object, ...], str, str, Image.Image]] = []

    def __len__(self) -> int:
        return len(self._kept)

    def __call__(self, compared: Comparison) -> None:
        picture = outlined(compared, THUMB)
        score = compared.score
        self._kept.append((badness(score), score.name, agreement(score), picture))
        self._kept.sort(key=lambda entry: entry[0])
        del self._kept[self.limit :]

    def sheet(self, columns: int = 6) -> Image.Image:
        """The contact sheet, worst first."""
        from PIL import Image, ImageDraw

        columns = max(1, min(columns, len(self._kept)))
        rows = -(-len(self._kept) // columns)
        cell_width, cell_height = THUMB + MARGIN, THUMB + 2 * LINE + MARGIN
        width = max(columns * cell_width + MARGIN, 3 * THUMB)
        canvas = Image.new("RGB", (width, rows * cell_height + LINE + 2 * MARGIN), PAPER)
        draw, font = ImageDraw.Draw(canvas), label_font()
        for i, (_, name, words, picture) in enumerate(self._kept):
            left, top = MARGIN + (i % columns) * cell_width, MARGIN + (i // columns) * cell_height
            canvas.paste(picture, (left, top))
            draw.text((left, top + THUMB + 2), clip(name, THUMB), INK, font)
            draw.text((left, top + THUMB + 2 + LINE - 3), words, FAINT, font)
        legend = "outlines: green reference, pink package where it lies over it"
        draw.text((MARGIN, rows * cell_height + MARGIN), clip(legend, width - 2 * MARGIN), FAINT, font)
        return canvas


def fit_into(pixels: np.ndarray, side: int) -> Image.Image:
    """A (H, W, 3) picture with its longer side scaled to `side`; small ones keep their pixels visible."""
    from PIL import Image

    H, W = pixels.shape[:2]
    scale = side / max(H, W)
    size = (max(1, round(W * scale)), max(1, round(H * scale)))
    method = Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.LANCZOS
    return Image.fromarray(pixels).resize(size, method)


def label_font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font that Pillow brings along."""
    from PIL import ImageFont

    return ImageFont.load_default(TEXT_SIZE)


def clip(text: str, width: int) -> str:
    """Text that fits into `width` pixels; what Pillow's font cannot draw becomes `?`."""
    drawable = "".join(c if " " <= c <= "ÿ" and not "\x7f" <= c < "\xa0" else "?" for c in text[:400])
    font = label_font()
    if font.getlength(drawable) <= width:
        return drawable
    while drawable and font.getlength(drawable + "...") > width:
        drawable = drawable[:-1]
    return drawable + "..."
