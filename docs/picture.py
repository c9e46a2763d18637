"""Draw the README's picture: photographs of the calibration set, the package's masks and the cut-outs.

python docs/picture.py build/serseg_b0-int8/serseg_b0.mlpackage docs/masks.jpg
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from portrait_export.imaging.compose import mask_picture, replace_background
from portrait_export.imaging.photo import open_photo
from portrait_export.imaging.placement import mask_back, to_frame
from portrait_export.runtime.runner import PackageRunner

PHOTOS = ("cc0_029", "cc0_062", "cc0_057_063_two")  # of the evaluate half of calibration/images
SIDE, GAP = 256, 8
GREEN = (96, 190, 120)


def row(runner: PackageRunner, path: Path) -> list[np.ndarray]:
    """One photograph, its mask, and the person on green; each (H, W, 3) uint8."""
    assert runner.spec is not None
    photo = open_photo(path)
    frame, placement = to_frame(photo, runner.spec)
    probability = mask_back(runner.run([frame])[0].probability, placement)
    mask = np.repeat(mask_picture(probability)[..., None], 3, axis=2)
    return [photo.pixels, mask, replace_background(photo, probability, GREEN)]


def main(package: str, out: str) -> None:
    runner = PackageRunner(package)
    folder = Path(__file__).parents[1] / "calibration" / "images"
    rows = [row(runner, folder / f"{name}.jpg") for name in PHOTOS]
    width, height = 3 * SIDE + 2 * GAP, len(rows) * SIDE + (len(rows) - 1) * GAP
    sheet = Image.new("RGB", (width, height), "white")
    for y, pictures in enumerate(rows):
        for x, pixels in enumerate(pictures):
            tile = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            sheet.paste(tile, (x * (SIDE + GAP), y * (SIDE + GAP)))
    sheet.save(out, quality=88)


if __name__ == "__main__":
    main(*sys.argv[1:])
