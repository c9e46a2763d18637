"""Image patches."""

from __future__ import annotations

from .model import Case, ints, values

IMAGE = {"image": ints(5, 6), "block": ints(2, 3)}
OFFSETS = {"x": values(1, 4, 6, 7), "o": values(1, 2 * 9 * 2, 4, 5, seed=1, low=-1.5, high=1.5)}

CASES = [
    Case("col2im_overlapping", "Col2Im", {"x": values(1, 2 * 6, 16)}, IMAGE, opset=18),
    Case("col2im_strides_beyond", "Col2Im", {"x": values(1, 6, 4)}, IMAGE, opset=18, attrs={"strides": [2, 2]}),
    Case("col2im_padded", "Col2Im", {"x": values(1, 6, 36)}, IMAGE, opset=18, attrs={"pads": [1, 1, 1, 1]}),
    Case(
        "deform_conv_plain",
        "DeformConv",
        {**OFFSETS},
        {"w": values(3, 4, 3, 3, seed=2)},
        ("x", "w", "o"),
        opset=19,
        attrs={"offset_group": 2},
    ),
    Case(
        "deform_conv_mask_bias_groups",
        "DeformConv",
        {**OFFSETS, "m": values(1, 18, 4, 5, seed=3, low=0, high=1)},
        {"w": values(6, 2, 3, 3, seed=2), "b": values(6)},
        ("x", "w", "o", "b", "m"),
        opset=19,
        attrs={"offset_group": 2, "group": 2},
    ),
    Case(
        "deform_conv_strided_dilated",
        "DeformConv",
        {"x": values(2, 2, 9, 9), "o": values(2, 8, 5, 5, seed=1)},
        {"w": values(3, 2, 2, 2, seed=2)},
        ("x", "w", "o"),
        opset=19,
        attrs={"strides": [2, 2], "dilations": [2, 2], "pads": [1, 1, 1, 1]},
    ),
]
