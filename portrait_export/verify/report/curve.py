"""A Blame in, its curve out: the signal-to-noise ratio along the network as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..blame import Blame

if TYPE_CHECKING:
    from PIL import Image

WIDTH, HEIGHT = 1200, 480
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 44, 76
PAPER, INK, FAINT, RULE = (250, 250, 248), (28, 28, 30), (110, 110, 115), (222, 222, 218)
WHOLE_COLOR, OWN_COLOR, BAD_COLOR = (20, 90, 200), (20, 150, 90), (200, 0, 70)


def curve(found: Blame) -> Image.Image:
    """SNR along the network: blue with inherited error, green each op's own, red the bar, NaN and half overflows."""
    from PIL import Image, ImageDraw, ImageFont

    canvas = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)
    values = [v for op in found.ops for v in (op.snr_db, op.own_snr_db) if v is not None and not math.isnan(v)]
    bottom = 20 * math.floor(min([0.0, *values]) / 20)
    top = 20 * math.ceil(max([found.bar_db + 10, *values]) / 20)

    def x_of(index: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (index + 0.5) / len(found.ops)

    def y_of(db: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (top - db) / (top - bottom)

    for db in range(bottom, top + 1, 20):
        draw.line([(LEFT, y_of(db)), (WIDTH - RIGHT, y_of(db))], RULE)
        draw.text((LEFT - 8, y_of(db)), f"{db}", FAINT, font, anchor="rm")
    draw.line([(LEFT, y_of(found.bar_db)), (WIDTH - RIGHT, y_of(found.bar_db))], BAD_COLOR)
    for values_of, color in (
        ([op.snr_db for op in found.ops], WHOLE_COLOR),
        ([op.own_snr_db for op in found.ops], OWN_COLOR),
    ):
        for run in _runs(values_of):
            points = [(x_of(i), y_of(db)) for i, db in run]
            draw.line(points, color, width=2)
            if len(points) == 1:
                draw.ellipse(_around(points[0], 2), color)
    for i, op in enumerate(found.ops):
        if math.isnan(op.snr_db):
            draw.ellipse(_around((x_of(i), y_of(bottom)), 4), BAD_COLOR)
        if op.overflows_half:
            draw.polygon([(x_of(i) - 5, TOP - 8), (x_of(i) + 5, TOP - 8), (x_of(i), TOP)], BAD_COLOR)
    _label_first_bad(draw, font, found, x_of)
    _legend(draw, font, found)
    return canvas


def _runs(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    """Stretches of consecutive numbers, as (index, value); None and NaN part them."""
    runs: list[list[tuple[int, float]]] = [[]]
    for i, value in enumerate(values):
        if value is None or math.isnan(value):
            runs.append([])
        else:
            runs[-1].append((i, value))
    return [run for run in runs if run]


def _around(point: tuple[float, float], radius: float) -> tuple[float, float, float, float]:
    return point[0] - radius, point[1] - radius, point[0] + radius, point[1] + radius


def _label_first_bad(draw: Any, font: Any, found: Blame, x_of: Any) -> None:
    """A red line at the first bad op, its name on the side that has room."""
    index = next((i for i, op in enumerate(found.ops) if op.name == found.first_bad), None)
    if index is None:
        return
    x = x_of(index)
    draw.line([(x, TOP), (x, HEIGHT - BOTTOM)], BAD_COLOR)
    right_half = x > WIDTH / 2
    text = _ascii(f"first bad: {found.first_bad}")
    draw.text((x - 6 if right_half else x + 6, TOP + 4), text, BAD_COLOR, font, anchor="ra" if right_half else "la")


def _legend(draw: Any, font: Any, found: Blame) -> None:
    draw.text((LEFT, 12), f"SNR in dB along {len(found.ops)} values", INK, font)
    entries = [("with inherited error", WHOLE_COLOR)]
    if any(op.own_snr_db is not None for op in found.ops):
        entries.append(("own error alone", OWN_COLOR))
    entries += [(f"bar {found.bar_db:g} dB", BAD_COLOR)]
    if any(math.isnan(op.snr_db) for op in found.ops):
        entries.append(("dot: NaN or infinity", BAD_COLOR))
    if found.overflows:
        entries.append(("triangle: beyond half precision", BAD_COLOR))
    left = float(LEFT)
    for words, color in entries:
        draw.line([(left, HEIGHT - 26), (left + 22, HEIGHT - 26)], color, width=3)
        draw.text((left + 30, HEIGHT - 34), words, INK, font)
        left += 30 + font.getlength(words) + 28
    draw.text((LEFT, HEIGHT - BOTTOM + 8), _ascii(found.ops[0].name), FAINT, font)
    draw.text((WIDTH - RIGHT, HEIGHT - BOTTOM + 8), _ascii(found.ops[-1].name), FAINT, font, anchor="ra")


def _ascii(text: str) -> str:
    """What Pillow's own font can draw, at a length that fits."""
    drawable = "".join(c if " " <= c <= "~" else "?" for c in text)
    return drawable if len(drawable) <= 60 else drawable[:57] + "..."
