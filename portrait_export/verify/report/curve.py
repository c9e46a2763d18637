"""Draw the signal-to-noise ratio along a network."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..blame import BlameReport, OpError

if TYPE_CHECKING:
    from PIL import Image

WIDTH, HEIGHT = 1200, 560
LEFT, RIGHT, TOP, BOTTOM = 64, 28, 72, 112
PAPER, INK, FAINT, RULE = (250, 250, 248), (28, 28, 30), (110, 110, 115), (222, 222, 218)
WHOLE_COLOR, OWN_COLOR, BAR_COLOR, BAD_COLOR = (20, 90, 200), (20, 150, 90), (214, 160, 60), (200, 0, 70)
TOP_DB = 120  # the scale's end: above it everything is equal but for float32's own rounding
MAX_TICKS = 12  # numbers below the curve
BAD_NAMED = 3  # operations to blame that are named in the picture
TICK = 12  # height of the mark of an operation to blame


def curve(found: BlameReport, *, title: str = "") -> Image.Image:
    """SNR along the network: a blue line with inherited error, green dots each op's own, red what is to blame."""
    from PIL import Image, ImageDraw, ImageFont

    canvas = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)
    plot = _Plot(draw, font, found)
    heading = title or f"SNR along {len(found.ops)} values"
    draw.text(
        (LEFT, 14),
        _fit(heading, ImageFont.load_default(18), WIDTH - LEFT - RIGHT - 300),
        INK,
        ImageFont.load_default(18),
    )
    plot.grid()
    plot.bars()
    plot.own()
    plot.line([op.snr_db for op in found.ops], WHOLE_COLOR, 2)
    plot.marks()
    plot.bad()
    plot.legend()
    return canvas


class _Plot:
    """The drawing of one report: maps decibels and operations to pixels, and draws each element."""

    def __init__(self, draw: Any, font: Any, found: BlameReport):
        self.draw, self.font, self.found = draw, font, found
        values = [v for op in found.ops for v in (op.snr_db, op.own_snr_db) if v is not None and not math.isnan(v)]
        self.bottom = max(-120, 20 * math.floor(min([0.0, *values]) / 20))

    def x_of(self, index: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (index + 0.5) / len(self.found.ops)

    def y_of(self, db: float) -> float:
        clipped = min(TOP_DB, max(self.bottom, db))
        return TOP + (HEIGHT - TOP - BOTTOM) * (TOP_DB - clipped) / (TOP_DB - self.bottom)

    def grid(self) -> None:
        """Rules every 20 dB, and the ops' numbers below."""
        for db in range(self.bottom, TOP_DB + 1, 20):
            self.draw.line([(LEFT, self.y_of(db)), (WIDTH - RIGHT, self.y_of(db))], RULE)
            self.draw.text((LEFT - 8, self.y_of(db)), f"{db}", FAINT, self.font, anchor="rm")
        self.draw.text((LEFT - 8, self.y_of(TOP_DB) - 18), "dB", FAINT, self.font, anchor="rm")
        count = len(self.found.ops)
        step = next(n for n in (1, 2, 5, 10, 20, 50, 100, 200, 500, 10**9) if count / n <= MAX_TICKS)
        for index in [0, *range(step - 1, count, step)]:
            x, y = self.x_of(index), HEIGHT - BOTTOM
            self.draw.line([(x, y), (x, y + 5)], FAINT)
            self.draw.text((x, y + 8), str(index + 1), FAINT, self.font, anchor="ma")
        room = (WIDTH - LEFT - RIGHT) / 2 - 20
        first, last = self.found.ops[0].name, self.found.ops[-1].name
        self.draw.text((LEFT, HEIGHT - BOTTOM + 30), _fit(first, self.font, room), FAINT, self.font)
        if count > 1:
            place = (WIDTH - RIGHT, HEIGHT - BOTTOM + 30)
            self.draw.text(place, _fit(last, self.font, room), FAINT, self.font, anchor="ra")

    def bars(self) -> None:
        """What each op must reach: one level for all with inherited error, else its own step."""
        for index, op in enumerate(self.found.ops):
            y = self.y_of(op.bar_db)
            self.draw.line([(self.x_of(index - 0.5), y), (self.x_of(index + 0.5), y)], BAR_COLOR)

    def own(self) -> None:
        """A dot for each op's own error: the ops stand alone, so no line joins them."""
        for index, op in enumerate(self.found.ops):
            if op.own_snr_db is not None and not math.isnan(op.own_snr_db):
                self.draw.ellipse(_around((self.x_of(index), self.y_of(op.own_snr_db)), 2), OWN_COLOR)

    def line(self, values: Sequence[float | None], color: tuple[int, int, int], width: int) -> None:
        """A curve, parted where a value is missing or no number."""
        for run in _runs(values):
            points = [(self.x_of(i), self.y_of(db)) for i, db in run]
            self.draw.line(points, color, width=width)
            if len(points) == 1:
                self.draw.ellipse(_around(points[0], 2), color)

    def marks(self) -> None:
        """Dots where a value is not finite, triangles where half precision would not hold it."""
        for i, op in enumerate(self.found.ops):
            if math.isnan(op.snr_db):
                self.draw.ellipse(_around((self.x_of(i), self.y_of(self.bottom)), 3), BAD_COLOR)
            if op.overflows_half:
                x = self.x_of(i)
                self.draw.polygon([(x - 5, TOP - 10), (x + 5, TOP - 10), (x, TOP - 2)], BAD_COLOR)

    def bad(self) -> None:
        """A red tick below the curve at each op to blame; red lines, with names, at the first ones."""
        blamed = [(i, op) for i, op in enumerate(self.found.ops) if op.bad]
        floor = HEIGHT - BOTTOM
        for i, _ in blamed:
            self.draw.line([(self.x_of(i), floor - TICK), (self.x_of(i), floor)], BAD_COLOR)
        for i, _ in blamed[:BAD_NAMED]:
            self.draw.line([(self.x_of(i), TOP), (self.x_of(i), floor)], BAD_COLOR)
        for row, (i, op) in enumerate(blamed[:BAD_NAMED]):
            self._name(self.x_of(i), TOP + 4 + 20 * row, f"{i + 1} {op.kind} {op.name}")
        if len(blamed) > BAD_NAMED:
            words = f"{len(blamed)} to blame; the first {BAD_NAMED} are named"
            self.draw.text((WIDTH - RIGHT, 18), words, BAD_COLOR, self.font, anchor="ra")

    def _name(self, x: float, y: float, text: str) -> None:
        right_half = x > WIDTH / 2
        room = (x - LEFT if right_half else WIDTH - RIGHT - x) - 16
        words = _fit(text, self.font, room)
        place, anchor = ((x - 6, y), "ra") if right_half else ((x + 6, y), "la")
        self.draw.rectangle(self.draw.textbbox(place, words, self.font, anchor=anchor), PAPER)
        self.draw.text(place, words, BAD_COLOR, self.font, anchor=anchor)

    def legend(self) -> None:
        """What the colours mean; only what is in the picture."""
        ops = self.found.ops
        entries: list[tuple[str, tuple[int, int, int], Callable[[OpError], bool]]] = [
            ("SNR with inherited error", WHOLE_COLOR, lambda op: True),
            ("own error alone", OWN_COLOR, lambda op: op.own_snr_db is not None),
            ("bar", BAR_COLOR, lambda op: True),
            ("to blame", BAD_COLOR, lambda op: op.bad),
            ("dot: NaN or infinity", BAD_COLOR, lambda op: math.isnan(op.snr_db)),
            ("triangle: beyond half precision", BAD_COLOR, lambda op: op.overflows_half),
        ]
        left, y = float(LEFT), HEIGHT - 28
        for words, color, applies in entries:
            if not any(applies(op) for op in ops):
                continue
            self.draw.line([(left, y), (left + 22, y)], color, width=3)
            self.draw.text((left + 30, y), words, INK, self.font, anchor="lm")
            left += 30 + self.font.getlength(words) + 26


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


def _fit(text: str, font: Any, room: float) -> str:
    """What Pillow's own font can draw, cut at the front to fit: the end of a name tells values apart."""
    drawable = "".join(c if " " <= c <= "~" else "?" for c in text)
    if font.getlength(drawable) <= room:
        return drawable
    while len(drawable) > 1 and font.getlength("..." + drawable) > room:
        drawable = drawable[1:]
    return "..." + drawable
