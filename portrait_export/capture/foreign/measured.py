"""Measure what an output of a foreign network holds, on bundled photographs and on synthetic pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from ...artifacts import Frame
from ...calibration.dataset import ROOT
from ...imaging.companions import with_pictures
from ...imaging.photo import open_mask, open_photo
from ...imaging.resize import resize_bilinear as resized_picture
from ...preprocessing import PortraitSpec
from ..runners import feeds_of
from .field import Field

# Photographs in which a person is brighter than the background, darker, and neither; the last one shows nobody.
PHOTOGRAPHS = ("cc0_022.jpg", "cc0_043.jpg", "cc0_014.jpg", "cc0_021.jpg", "everyday_5271b7134be5.jpg")
EMPTY = "empty_565bbc3b0efa.jpg"
MOST_LOOKED_AT = 2**21  # values of a picture that are looked at one by one
MOST_DISTINCT = 300  # numbers that are counted; more is a matter of degree
SAMPLED = 4096  # pixels of a photograph that are compared with its drawn mask
PERSON, BACKGROUND = 0.9, 0.1  # of the drawn masks; what is between is an edge
NEAR = 0.02  # of an end of 0..1: where most pixels of a matte are
WHOLE = 1e-3  # how far a whole number may be off

Output = Callable[[Mapping[str, np.ndarray]], np.ndarray]  # the network's pictures (1, C, H, W) → one output


@dataclass
class Seen:
    """Values of one output.

    Attributes:
        low, high: the least and the largest.
        whole: every value is a whole number.
        distinct: the different values, while there are at most MOST_DISTINCT; else None.
        at_zero, at_one, at_255: the shares of pixels within NEAR of 0, of 1 and (times 255) of 255, on photographs.
        stretched: on every photograph, the least value is 0 and the largest is 1.
        exclusive: over its classes, the values of every pixel sum to 1.
        photographs, synthetic: how many pictures.
        broken: synthetic pictures with NaN or infinity, which the numbers above leave out.
        finite: on every photograph.
        samples: of each photograph with a person, values (K, n) and whether each pixel is the person.
    """

    low: float = np.inf
    high: float = -np.inf
    whole: bool = True
    distinct: frozenset[float] | None = frozenset()
    at_zero: float = 0.0
    at_one: float = 0.0
    at_255: float = 0.0
    stretched: bool = True
    exclusive: bool = True
    photographs: int = 0
    synthetic: int = 0
    broken: int = 0
    finite: bool = True
    samples: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)

    def within(self, low: float, high: float) -> bool:
        """Whether no value is outside of low..high."""
        return low <= self.low and self.high <= high

    def __str__(self) -> str:
        pictures = f"{self.photographs} photographs and {self.synthetic} synthetic pictures"
        return f"{self.low:.4g}..{self.high:.4g} on {pictures}"

    def add(self, planes: np.ndarray, *, photograph: bool) -> None:
        """Count the values (K, h, w) of one picture."""
        if not np.isfinite(planes).all():
            self.finite = self.finite and not photograph
            self.broken += 1
            return
        low, high = float(planes.min()), float(planes.max())
        planes = planes.reshape(len(planes), -1)[:, :: max(planes.size // MOST_LOOKED_AT, 1)]
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.whole = self.whole and bool((np.abs(planes - np.rint(planes)) <= WHOLE).all())
        self._count_distinct(planes)
        self.exclusive = self.exclusive and len(planes) > 1 and float(np.abs(planes.sum(0) - 1).max()) < 1e-2
        if not photograph:
            self.synthetic += 1
            return
        shares = [float((np.abs(planes - end) <= NEAR * max(end, 1)).mean()) for end in (0.0, 1.0, 255.0)]
        for name, share in zip(("at_zero", "at_one", "at_255"), shares, strict=True):
            setattr(self, name, (getattr(self, name) * self.photographs + share) / (self.photographs + 1))
        self.stretched = self.stretched and abs(low) < WHOLE and abs(high - 1) < WHOLE
        self.photographs += 1

    def _count_distinct(self, planes: np.ndarray) -> None:
        if self.distinct is None:
            return
        if not self.whole:
            self.distinct = None
            return
        found = self.distinct | frozenset(np.unique(np.rint(planes)).tolist())
        self.distinct = found if len(found) <= MOST_DISTINCT else None

    def sample(self, planes: np.ndarray, mask: np.ndarray) -> None:
        """Keep some pixels of a photograph with a drawn mask (h, w)."""
        person, background = np.flatnonzero(mask > PERSON), np.flatnonzero(mask < BACKGROUND)
        if not person.size or not background.size or not np.isfinite(planes).all():
            return
        flat = planes.reshape(len(planes), -1)
        chosen = [places[:: max(places.size // (SAMPLED // 2), 1)] for places in (person, background)]
        values = flat[:, np.concatenate(chosen)].astype(np.float32)
        self.samples.append((values, np.arange(values.shape[1]) < chosen[0].size))


def measure(output: Output, found: Field, spec: PortraitSpec) -> Seen:
    """Run a network on every picture, and look at one of its outputs.

    Args:
        found: how the output holds classes.
        spec: how the network takes photographs.
    """
    seen, size = Seen(), (spec.height, spec.width)
    for frame, mask in photographs(spec):
        planes = found.planes(output(feeds_of(frame, spec)))
        seen.add(planes, photograph=True)
        if frame.name != EMPTY:
            seen.sample(planes, resized_picture(mask, found.pixels))
    for image in synthetic_pictures(size):
        frame = with_pictures(Frame(image), None, spec)
        seen.add(found.planes(output(feeds_of(frame, spec))), photograph=False)
    return seen


def photographs(spec: PortraitSpec) -> Iterator[tuple[Frame, np.ndarray]]:
    """Photographs at a network's size, and their drawn masks (h, w) at their own."""
    size = (spec.height, spec.width)
    for name in (*PHOTOGRAPHS, EMPTY):
        photo = resized_picture(open_photo(ROOT / "images" / name).pixels, size)
        mask = open_mask(ROOT / "masks" / name.replace(".jpg", ".png"))
        yield with_pictures(Frame(photo, name=name), np.clip(resized_picture(mask, size), 0, 1), spec), mask


def synthetic_pictures(size: tuple[int, int]) -> list[np.ndarray]:
    """(H, W, 3) uint8 each: black, white, and noise."""
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    return [np.zeros((*size, 3), np.uint8), np.full((*size, 3), 255, np.uint8), noise]


def separation(values: np.ndarray, person: np.ndarray) -> float:
    """How often a pixel of the person has a larger value than one of the background: 1 always, 0.5 by chance.

    That is the area under the ROC curve; ties count half.
    """
    above, below = values[person], np.sort(values[~person])
    less, upto = np.searchsorted(below, above, "left"), np.searchsorted(below, above, "right")
    return float((less + upto).sum() / 2 / (above.size * below.size))


def separations(seen: Seen, score: Callable[[np.ndarray], np.ndarray]) -> list[float]:
    """`separation` on each photograph with a person, of a score computed from the classes (K, n)."""
    return [separation(score(values), person) for values, person in seen.samples]
