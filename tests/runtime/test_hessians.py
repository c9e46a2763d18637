"""The sums of layer inputs are those of all positions of an image, although only some are looked at."""

from __future__ import annotations

import pytest
import torch

from portrait_export.runtime.hessians import POSITIONS, Window, _columns

POINTWISE = Window((1, 1), (1, 1), (1, 1), (0, 0, 0, 0))


@pytest.mark.parametrize("side", [16, 64, 96, 128, 256])
@pytest.mark.parametrize("image", [True, False], ids=["convolution", "linear"])
def test_every_column_of_an_image_has_its_share(side, image):
    """One input for every column: 1 there, 0 elsewhere."""
    x = torch.eye(side).reshape(1, side, 1, side).repeat(1, 1, side, 1)  # N C H W
    rows = _columns(x, POINTWISE) if image else _columns(x.permute(0, 2, 3, 1).reshape(1, -1, side), None)
    assert len(rows) <= 2 * POSITIONS
    share = side * rows.sum(dim=0) / len(rows)
    assert share.min() > 0.8
    assert share.max() < 1.25


def test_the_border_of_an_image_counts_as_much_as_it_has_positions():
    """A convolution of 3x3 reads padding in the first and last column alone."""
    side = 256
    window = Window((3, 3), (1, 1), (1, 1), (1, 1, 1, 1))
    rows = _columns(torch.ones(1, 1, side, side), window)
    padded = (rows == 0).any(dim=1).float().mean()
    assert padded == pytest.approx(4 / side, rel=0.35)
