"""Draw the sizes of packages against how well their masks agree."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ..frontier import Point
from .curve import FAINT, INK, PAPER, RULE

if TYPE_CHECKING:
    from PIL import Image

WIDTH, HEIGHT = 1200, 560
LEFT, RIGHT, TOP, BOTTOM, BETWEEN = 74, 30, 78, 92, 90
LINE_COLOR, BEATEN_COLOR, FAILED_COLOR = (20, 90, 200), (150, 150, 155), (200, 0, 70)
DOT = 5
SMALLEST_LOSS = 1e-5  # of mask IoU that is drawn: below it the masks are equal
LOSSES = tuple(digit * 10.0**power for power in range(-5, 1) for digit in (1, 2, 5))
SIZES_MB = tuple(digit * 10.0**power for power in range(-3, 4) for digit in (1, 1.5, 2, 3, 4, 5, 6, 8))
Box = tuple[float, float, float, float]


def frontier_picture(points: Sequence[Point], *, title: str) -> Image.Image:
    """Two plots of the same packages, by mask IoU with the network and by IoU with drawn masks where there are any.

    Args:
        points: from `frontier.marked`.
    """
    from PIL import Image, ImageDraw, ImageFont

    canvas = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)
    drawable = "".join(c if " " <= c <= "~" else "?" for c in title)
    draw.text((LEFT, 14), drawable, INK, ImageFont.load_default(18))
    masks = [point for point in points if point.mask_iou is not None]
    labels = [point for point in points if point.label_iou is not None]
    network = next((point.reference_label_iou for point in labels), None)
    middle = (WIDTH + LEFT - RIGHT) / 2
    end = middle - BETWEEN / 2 if labels else WIDTH - RIGHT
    sizes = _span([point.size_bytes / 1e6 for point in points], math.log)
    if masks:
        across = _Axis(*sizes, LEFT, end, math.log)
        _Plot(draw, font, across, _loss_axis(masks), "mask IoU with the network", _iou).all(masks, _mask_iou, None)
    if labels:
        across = _Axis(*sizes, middle + BETWEEN / 2, WIDTH - RIGHT, math.log)
        plot = _Plot(draw, font, across, _label_axis(labels, network), "IoU with drawn masks", _plain)
        plot.all(labels, _label_iou, network)
    _legend(draw, font, network)
    return canvas


def _mask_iou(point: Point) -> float:
    return max(1 - (point.mask_iou or 0.0), SMALLEST_LOSS)


def _label_iou(point: Point) -> float:
    return point.label_iou or 0.0


def _iou(loss: float) -> str:
    return f"{1 - loss:.6g}"


def _plain(value: float) -> str:
    return f"{value:.4g}"


@dataclass(frozen=True)
class _Axis:
    """Maps values between `low` and `high` to pixels, by a scale such as the logarithm."""

    low: float
    high: float
    start: float
    end: float
    scale: Callable[[float], float]

    def __call__(self, value: float) -> float:
        low, high = self.scale(self.low), self.scale(self.high)
        return self.start + (self.end - self.start) * (self.scale(value) - low) / (high - low)

    def ticks(self, values: Sequence[float]) -> list[float]:
        return [value for value in values if self.low <= value <= self.high]


def _span(values: Sequence[float], scale: Callable[[float], float]) -> tuple[float, float]:
    """The ends of an axis, with a margin."""
    low, high = min(values), max(values)
    if scale is math.log:
        return low / 1.2, high * 1.25
    margin = 0.12 * (high - low) or 0.001
    return low - margin, high + margin


def _loss_axis(points: Sequence[Point]) -> _Axis:
    """Losses of mask IoU by their logarithm, the smallest at the top."""
    losses = [_mask_iou(point) for point in points]
    return _Axis(min(losses) / 1.5, max(losses) * 1.5, TOP, HEIGHT - BOTTOM, math.log)


def _label_axis(points: Sequence[Point], reference: float | None) -> _Axis:
    values = [_label_iou(point) for point in points] + ([] if reference is None else [reference])
    low, high = _span(values, float)
    return _Axis(low, high, HEIGHT - BOTTOM, TOP, float)


class _Plot:
    """One plot; `name_of` writes a value of its vertical axis."""

    def __init__(self, draw: Any, font: Any, across: _Axis, up: _Axis, heading: str, name_of: Callable[[float], str]):
        self.draw, self.font, self.across, self.up = draw, font, across, up
        self.heading, self.name_of = heading, name_of
        self.taken: list[Box] = []

    def all(self, points: Sequence[Point], value: Callable[[Point], float], reference: float | None) -> None:
        """Everything in it."""
        self.grid()
        if reference is not None:
            self.dashed(self.up(reference))
        places = {point.name: (self.across(point.size_bytes / 1e6), self.up(value(point))) for point in points}
        line = [places[point.name] for point in points if not point.beaten_by]
        self.draw.line(line, LINE_COLOR, width=2)
        self.taken += [_around(place, DOT + 1) for place in places.values()]
        self.taken += [_around(place, 1) for ends in pairwise(line) for place in _along(*ends)]
        for point in points:
            color = LINE_COLOR if not point.beaten_by else BEATEN_COLOR
            self.draw.ellipse(_around(places[point.name], DOT), color)
            if not point.passed:
                self.draw.ellipse(_around(places[point.name], DOT + 3), None, FAILED_COLOR, 2)
        for point in sorted(points, key=lambda point: bool(point.beaten_by)):
            self.name(point.name, places[point.name], FAINT if point.beaten_by else INK)

    def grid(self) -> None:
        """Rules with their values, and the headings."""
        floor, left, right = HEIGHT - BOTTOM, self.across.start, self.across.end
        self.draw.text((left, TOP - 26), self.heading, FAINT, self.font)
        for value in _thinned(self.up.ticks(LOSSES if self.up.scale is math.log else _linear(self.up)), self.up, 26):
            self.draw.line([(left, self.up(value)), (right, self.up(value))], RULE)
            self.draw.text((left - 8, self.up(value)), self.name_of(value), FAINT, self.font, anchor="rm")
        for value in _thinned(self.across.ticks(SIZES_MB), self.across, 44):
            self.draw.line([(self.across(value), floor), (self.across(value), floor + 5)], FAINT)
            self.draw.text((self.across(value), floor + 8), f"{value:g}", FAINT, self.font, anchor="ma")
        self.draw.line([(left, floor), (right, floor)], FAINT)
        self.draw.text((right, floor + 26), "MB", FAINT, self.font, anchor="ra")

    def dashed(self, y: float) -> None:
        """A line for what the network itself reaches."""
        for x in range(round(self.across.start), round(self.across.end), 10):
            self.draw.line([(x, y), (x + 5, y)], FAINT)

    def name(self, words: str, place: tuple[float, float], color: tuple[int, int, int]) -> None:
        """The name of a point beside it, where nothing else stands; left out where there is no room."""
        width, x, y = self.font.getlength(words), *place
        for dx, dy in _PLACES:
            left = x + dx if dx > 0 else x + dx - width if dx < 0 else x - width / 2
            box = (left - 2, y + dy - 6, left + width + 2, y + dy + 6)
            within = self.across.start - 4 <= box[0] and box[2] <= self.across.end + 4
            within = within and box[1] >= TOP - 8 and box[3] <= HEIGHT - BOTTOM
            if within and not any(_meet(box, other) for other in self.taken):
                self.taken.append(box)
                self.draw.text((left, y + dy), words, color, self.font, anchor="lm", stroke_width=3, stroke_fill=PAPER)
                return


_PLACES = tuple(
    (dx, dy)
    for dy, distance in ((0, 11), (-14, 6), (14, 6), (-30, 4), (30, 4), (-46, 2), (46, 2))
    for dx in (distance, -distance, 0)
    if dx or dy
)


def _linear(axis: _Axis) -> list[float]:
    """Round values along an axis."""
    step = 10 ** math.floor(math.log10(axis.high - axis.low))
    step = next(step * part for part in (0.1, 0.2, 0.5, 1.0, 2.0) if (axis.high - axis.low) / (step * part) <= 9)
    return [step * n for n in range(math.ceil(axis.low / step), math.floor(axis.high / step) + 1)]


def _thinned(values: Sequence[float], axis: _Axis, pixels: float) -> list[float]:
    """The values that have room beside the one before."""
    kept: list[float] = []
    for value in values:
        if not kept or abs(axis(value) - axis(kept[-1])) >= pixels:
            kept.append(value)
    return kept


def _along(start: tuple[float, float], end: tuple[float, float], step: float = 6) -> list[tuple[float, float]]:
    """Places on a line, so many pixels apart."""
    count = math.ceil(math.dist(start, end) / step)
    (x, y), (dx, dy) = start, ((end[0] - start[0]) / max(count, 1), (end[1] - start[1]) / max(count, 1))
    return [(x + n * dx, y + n * dy) for n in range(1, count)]


def _around(place: tuple[float, float], radius: float) -> Box:
    return place[0] - radius, place[1] - radius, place[0] + radius, place[1] + radius


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _legend(draw: Any, font: Any, reference: float | None) -> None:
    """What the colours mean."""
    left, y = float(LEFT), HEIGHT - 26
    entries = [("on the frontier", LINE_COLOR, False), ("another is smaller and as good", BEATEN_COLOR, False)]
    for words, color, ring in [*entries, ("fails a gate", FAILED_COLOR, True)]:
        place = _around((left + 8, y), DOT if not ring else DOT + 3)
        draw.ellipse(place, None if ring else color, color if ring else None, 2)
        draw.text((left + 22, y), words, INK, font, anchor="lm")
        left += 22 + font.getlength(words) + 30
    if reference is not None:
        words = f"dashes: the network itself, {reference:.4f}"
        draw.text((left, y), words, FAINT, font, anchor="lm")
