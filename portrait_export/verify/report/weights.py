"""Show the stored weights of a package: a picture of their bits, and a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...mil.audit import StoredWeight

WIDTH, HEIGHT = 1000, 120  # of the picture, in its own units
TALLEST = 16.0  # bits at the picture's full height; more (float32) is drawn as high
LEFT_ALONE, COMPRESSED = "plain", "compressed"  # style classes


def bits_picture(weights: Sequence[StoredWeight]) -> str:
    """An SVG element: a bar for each weight, as wide as its elements are many and as high as its bits.

    The area of a bar is the size of its weight in the file.
    """
    scale, left, bars = WIDTH / max(sum(weight.elements for weight in weights), 1), 0.0, []
    for weight in weights:
        height = HEIGHT * min(weight.bits, TALLEST) / TALLEST
        style = COMPRESSED if weight.compressed else LEFT_ALONE
        bars.append(
            f'<rect class="{style}" x="{left:.2f}" y="{HEIGHT - height:.2f}" width="{weight.elements * scale:.2f}"'
            f' height="{height:.2f}"/>'
        )
        left += weight.elements * scale
    rules = "".join(
        f'<line x1="0" x2="{WIDTH}" y1="{HEIGHT * (1 - bits / TALLEST):g}" y2="{HEIGHT * (1 - bits / TALLEST):g}"/>'
        for bits in (4, 8, 12)
    )
    return (
        f'<svg class="bits" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img"'
        f' aria-label="Bits of each weight">{"".join(bars)}{rules}</svg>\n'
    )
