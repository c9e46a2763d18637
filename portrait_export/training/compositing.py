"""Make scenes: people pasted into pictures, in front of and behind clutter, with matched light and a shadow."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from .config import CompositeConfig
from .cutouts import Borders, CutOut, box_of

Generator = np.random.Generator
BILINEAR = Image.Resampling.BILINEAR
TILT = 12.0  # degrees
UPRIGHT = 0.7  # share of people that are not tilted
MOST_HIDDEN = 0.5  # share of a person that clutter in front may cover


@dataclass(frozen=True, eq=False)
class Scene:
    """A square picture, the mask of its people, and where the mask can be trusted.

    Attributes:
        image: (S, S, 3) uint8.
        mask: (S, S) float32 in 0..1.
        trust: (S, S) bool.
    """

    image: np.ndarray
    mask: np.ndarray
    trust: np.ndarray


class Composer:
    """Draws scenes.

    Args:
        background: draws a square picture of a side in pixels, as a Scene.
        texture: draws a square picture without people, (S, S, 3) uint8, to cut clutter from.
        person: draws a cut-out.
    """

    def __init__(
        self,
        config: CompositeConfig,
        *,
        background: Callable[[int, Generator], Scene],
        texture: Callable[[int, Generator], np.ndarray],
        person: Callable[[Generator], CutOut],
    ):
        self.config, self.background, self.texture, self.person = config, background, texture, person

    def compose(self, size: int, generator: Generator) -> Scene:
        """A scene of `size` x `size` pixels."""
        config = self.config
        scene = self.background(size, generator)
        image, mask = scene.image.astype(np.float32), scene.mask.astype(np.float32)
        for _ in range(_count(config.clutter, generator)):
            image, mask = self._cover(image, mask, generator)
        shares = np.asarray(config.people, np.float64)
        for _ in range(int(generator.choice(len(shares), p=shares / shares.sum()))):
            image, mask = self._paste(image, mask, generator)
        for _ in range(_count(config.in_front, generator)):
            covered, left = self._cover(image, mask, generator)
            if left.sum() >= (1 - MOST_HIDDEN) * mask.sum():
                image, mask = covered, left
        return Scene(np.clip(image + 0.5, 0, 255).astype(np.uint8), mask, scene.trust)

    def _paste(self, image: np.ndarray, mask: np.ndarray, generator: Generator) -> tuple[np.ndarray, np.ndarray]:
        """Paste one more cut-out at a random size and place."""
        size = image.shape[0]
        colours, alpha, cut = _transformed(self.person(generator), size, self.config, generator)
        left, top = _place(alpha.shape, cut, size, generator)
        alpha, colours = _onto(alpha, left, top, size), _onto(colours, left, top, size)
        if alpha.sum() < 4:
            return image, mask
        if generator.random() < self.config.match_light:
            colours = _match(colours, alpha, image[box_of(alpha > 0)], generator)
        if generator.random() < self.config.shadow:
            image = image * (1 - _shadow(alpha, cut, generator))[..., None]
        image = image + alpha[..., None] * (colours - image)
        return image, alpha + (1 - alpha) * mask

    def _cover(self, image: np.ndarray, mask: np.ndarray, generator: Generator) -> tuple[np.ndarray, np.ndarray]:
        """Something without people on top: a piece of another picture, in a random shape."""
        size = image.shape[0]
        shape = _blob(size, generator)
        other = self.texture(size, generator).astype(np.float32) * generator.uniform(0.6, 1.2)
        return image + shape[..., None] * (np.clip(other, 0, 255) - image), mask * (1 - shape)


def _count(expected: float, generator: Generator) -> int:
    """A whole number with this mean: one with its probability, above 1 always one and perhaps more."""
    whole = int(expected)
    return whole + int(generator.random() < expected - whole)


def _transformed(
    person: CutOut, size: int, config: CompositeConfig, generator: Generator
) -> tuple[np.ndarray, np.ndarray, Borders]:
    """The cut-out mirrored, tilted and scaled: colours and alpha as float32 (0..255 and 0..1), and its cut sides."""
    colours, alpha, cut = person.colours, person.alpha, person.cut
    if generator.random() < 0.5:
        colours, alpha, cut = colours[:, ::-1], alpha[:, ::-1], (cut[2], cut[1], cut[0], cut[3])
    longest = size * math.exp(generator.uniform(math.log(config.smallest), math.log(config.largest)))
    if any(cut):  # half a person far away is rare
        longest = max(longest, 0.35 * size)
    scale = longest / max(alpha.shape)
    stretch = math.exp(generator.uniform(-0.12, 0.12))
    target = max(2, round(alpha.shape[1] * scale * stretch)), max(2, round(alpha.shape[0] * scale / stretch))
    picture = Image.fromarray(np.ascontiguousarray(colours)).resize(target, BILINEAR)
    cover = Image.fromarray(np.ascontiguousarray(alpha)).resize(target, BILINEAR)
    if generator.random() > UPRIGHT and not any(cut):
        angle = generator.uniform(-TILT, TILT)
        mean = tuple(int(c) for c in np.asarray(picture).reshape(-1, 3).mean(0))
        picture = picture.rotate(angle, BILINEAR, expand=True, fillcolor=mean)
        cover = cover.rotate(angle, BILINEAR, expand=True)
    if generator.random() < 0.3:
        radius = generator.uniform(0.3, 1.0)
        picture, cover = (layer.filter(ImageFilter.GaussianBlur(radius)) for layer in (picture, cover))
    return np.asarray(picture, np.float32), np.asarray(cover, np.float32) / 255, cut


def _place(shape: Sequence[int], cut: Borders, size: int, generator: Generator) -> tuple[int, int]:
    """Left and top of a cut-out. Its cut sides are at the scene's border or beyond; other sides may be."""
    h, w = shape[:2]
    left = round(generator.uniform(-0.25 * w, size - 0.75 * w))
    top = round(generator.uniform(-0.15 * h, size - 0.8 * h))
    beyond = round(generator.uniform(0, 0.15) * min(h, w))
    if cut[3]:
        top = max(size - h + beyond, min(top, size - h // 3))
    elif cut[1]:
        top = -beyond
    if cut[0] and not cut[2]:
        left = -beyond
    elif cut[2] and not cut[0]:
        left = size - w + beyond
    return left, top


def _onto(layer: np.ndarray, left: int, top: int, size: int) -> np.ndarray:
    """A layer on an empty (size, size) canvas."""
    canvas = np.zeros((size, size, *layer.shape[2:]), np.float32)
    y0, x0 = max(0, top), max(0, left)
    y1, x1 = min(size, top + layer.shape[0]), min(size, left + layer.shape[1])
    if y1 > y0 and x1 > x0:
        canvas[y0:y1, x0:x1] = layer[y0 - top : y1 - top, x0 - left : x1 - left]
    return canvas


def _match(colours: np.ndarray, alpha: np.ndarray, around: np.ndarray, generator: Generator) -> np.ndarray:
    """Move the person's brightness, contrast and tint part of the way to the scene's, and light one side more."""
    own = colours[alpha > 0.5] if (alpha > 0.5).any() else colours.reshape(-1, 3)
    own_mean, own_std = own.mean(0), own.std() + 1
    scene_mean, scene_std = around.reshape(-1, 3).mean(0), around.std() + 1
    light, tint = generator.uniform(0, 0.6), generator.uniform(0, 0.3)
    contrast = float(np.clip(1 + light * (scene_std / own_std - 1), 0.6, 1.4))
    shift = light * (scene_mean.mean() - own_mean.mean())
    shift = shift + tint * ((scene_mean - scene_mean.mean()) - (own_mean - own_mean.mean()))
    size = alpha.shape[0]
    angle = generator.uniform(0, 2 * math.pi)
    ramp = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    gradient = 1 + generator.uniform(0, 0.35) * (math.cos(angle) * ramp[None, :] + math.sin(angle) * ramp[:, None])
    lit = ((colours - own_mean) * contrast + own_mean + shift) * gradient[..., None]
    return np.clip(lit, 0, 255).astype(np.float32)


def _shadow(alpha: np.ndarray, cut: Borders, generator: Generator) -> np.ndarray:
    """How much darker the scene gets, (S, S) in 0..1: where feet touch the ground, and behind the person."""
    size = alpha.shape[0]
    solid = alpha > 0.3
    shade = np.zeros_like(alpha)
    if not cut[3] and solid.any() and not solid[-1].any():
        shade = _ground_shadow(solid, generator)
    if generator.random() < 0.4:
        moved = np.roll(alpha, tuple(int(s) for s in generator.integers(-size // 16, size // 16 + 1, 2)), (0, 1))
        layer = Image.fromarray((moved * 255).astype(np.uint8)).filter(
            ImageFilter.GaussianBlur(size * generator.uniform(0.01, 0.05))
        )
        shade = np.maximum(shade, np.asarray(layer, np.float32) / 255 * generator.uniform(0.1, 0.5))
    return shade


def _ground_shadow(solid: np.ndarray, generator: Generator) -> np.ndarray:
    """A soft ellipse under the feet of a person, (S, S) bool: (S, S) in 0..1."""
    rows, columns = box_of(solid)
    width, height = int(columns.stop - columns.start), int(rows.stop - rows.start)
    feet, flat = int(rows.stop) - 1, max(2, round(0.05 * height))
    shift = generator.uniform(-0.2, 0.2) * width
    canvas = Image.new("L", solid.shape)
    box = (int(columns.start) + shift, feet - flat, int(columns.stop) - 1 + shift, feet + flat)
    ImageDraw.Draw(canvas).ellipse(box, fill=255)
    soft = canvas.filter(ImageFilter.GaussianBlur(max(1.0, 0.04 * height)))
    return np.asarray(soft, np.float32) / 255 * generator.uniform(0.2, 0.7)


def _blob(size: int, generator: Generator) -> np.ndarray:
    """A filled shape somewhere in the scene, (S, S) in 0..1: box, ellipse, or rounded polygon."""
    canvas = Image.new("L", (size, size))
    draw = ImageDraw.Draw(canvas)
    long = size * math.exp(generator.uniform(math.log(0.06), math.log(0.5)))
    short = long * generator.uniform(0.15, 1)
    w, h = (long, short) if generator.random() < 0.5 else (short, long)
    x, y = generator.uniform(0, size, 2)
    kind = generator.integers(3)
    box = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    if kind == 0:
        draw.rectangle(box, fill=255)
    elif kind == 1:
        draw.ellipse(box, fill=255)
    else:
        angles = np.sort(generator.uniform(0, 2 * math.pi, int(generator.integers(4, 10))))
        reach = generator.uniform(0.5, 1, len(angles))
        points = [
            (x + w / 2 * r * math.cos(a), y + h / 2 * r * math.sin(a)) for a, r in zip(angles, reach, strict=True)
        ]
        draw.polygon(points, fill=255)
    if generator.random() < 0.3:
        canvas = canvas.rotate(generator.uniform(-45, 45), BILINEAR, center=(x, y))
    soft = canvas.filter(ImageFilter.GaussianBlur(generator.uniform(0.5, 1.5)))
    return np.asarray(soft, np.float32) / 255
