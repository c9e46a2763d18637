"""Resampling."""

from __future__ import annotations

import numpy as np

from .model import Case, ints, values

X = {"x": values(1, 2, 4, 5)}


def _scaled(name: str, scales: tuple[float, ...], opset: int = 13, **attrs: object) -> Case:
    params = {"scales": np.asarray((1, 1, *scales), np.float32)}
    return Case(f"resize_{name}", "Resize", X, params, ("x", "", "scales"), opset=opset, attrs=attrs)


def _sized(name: str, sizes: tuple[int, ...], opset: int = 13, **attrs: object) -> Case:
    params = {"sizes": ints(1, 2, *sizes)}
    return Case(f"resize_{name}", "Resize", X, params, ("x", "", "", "sizes"), opset=opset, attrs=attrs)


def _mode(transformation: str, mode: str = "linear") -> dict[str, str]:
    return {"mode": mode, "coordinate_transformation_mode": transformation}


CASES = [
    _scaled("linear_half_pixel_up", (2, 3), mode="linear"),
    _sized("linear_half_pixel_uneven", (7, 9), mode="linear"),
    _sized("linear_half_pixel_down", (2, 3), mode="linear"),
    _sized("linear_pytorch_half_pixel", (8, 10), **_mode("pytorch_half_pixel")),
    _sized("linear_pytorch_half_pixel_to_one", (1, 10), **_mode("pytorch_half_pixel")),
    _sized("linear_align_corners", (7, 9), **_mode("align_corners")),
    _scaled("linear_asymmetric", (2, 2), **_mode("asymmetric")),
    _sized("linear_to_one_pixel", (1, 1), **_mode("align_corners")),
    _scaled("linear_fractional_scale", (1.3, 0.7), mode="linear"),
    _scaled("nearest_integer_factor", (2, 3), **_mode("asymmetric", "nearest"), nearest_mode="floor"),
    _sized("nearest_half_pixel_uneven", (7, 9), mode="nearest"),
    _sized("nearest_down", (2, 2), **_mode("asymmetric", "nearest"), nearest_mode="floor"),
    _sized("nearest_ceil", (7, 9), **_mode("half_pixel", "nearest"), nearest_mode="ceil"),
    _sized("nearest_round_prefer_ceil", (6, 9), **_mode("align_corners", "nearest"), nearest_mode="round_prefer_ceil"),
    _scaled("cubic_half_pixel", (2, 2), mode="cubic"),
    _scaled("cubic_down", (0.6, 0.6), mode="cubic", cubic_coeff_a=-0.5),
    _scaled("cubic_exclude_outside", (2, 2), mode="cubic", exclude_outside=1),
    _sized("cubic_align_corners", (7, 9), **_mode("align_corners", "cubic")),
    _scaled("channels_too", (2, 2), mode="nearest"),
    Case(
        "resize_one_axis",
        "Resize",
        X,
        {"s": ints(8)},
        ("x", "", "", "s"),
        opset=18,
        attrs={"axes": [3], "mode": "linear"},
    ),
    Case(
        "resize_linear_volume",
        "Resize",
        {"x": values(1, 1, 2, 3, 4)},
        {"s": ints(1, 1, 4, 6, 8)},
        ("x", "", "", "s"),
        attrs={"mode": "linear"},
    ),
    Case("resize_opset_10", "Resize", X, {"s": np.asarray([1, 1, 2, 3], "f")}, opset=10),
    Case("upsample_nearest", "Upsample", X, {"s": np.asarray([1, 1, 2, 3], "f")}, opset=9),
    Case("upsample_linear", "Upsample", X, {"s": np.asarray([1, 1, 2, 2], "f")}, opset=9, attrs={"mode": "linear"}),
]
