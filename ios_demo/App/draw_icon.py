"""Draw the app icon: a head and shoulders cut out of its background. Needs Pillow."""

from pathlib import Path

from PIL import Image, ImageDraw

SIDE = 1024
OVERSAMPLING = 4
ICON = Path(__file__).parent / "PortraitDemo/Assets.xcassets/AppIcon.appiconset/icon.png"


def draw() -> Image.Image:
    """Return the icon, 1024x1024, opaque."""
    side = SIDE * OVERSAMPLING
    image = Image.new("RGB", (side, side), (23, 112, 143))
    pen = ImageDraw.Draw(image)
    square = side // 16
    for row in range(16):  # the left half is the checkerboard of transparency
        for column in range(8):
            shade = 236 if (row + column) % 2 else 208
            left, top = column * square, row * square
            pen.rectangle((left, top, left + square - 1, top + square - 1), (shade,) * 3)
    person = (250, 216, 172)
    pen.ellipse((side * 0.34, side * 0.2, side * 0.66, side * 0.56), person)
    pen.ellipse((side * 0.18, side * 0.6, side * 0.82, side * 1.3), person)
    return image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    draw().quantize(64).convert("RGB").save(ICON, optimize=True)
