"""Sampling at computed positions."""

from __future__ import annotations

import numpy as np

from .model import Case, values

X = {"x": values(1, 2, 4, 5)}
GRID = {"g": values(1, 3, 4, 2, low=-1.2, high=1.2, seed=1)}
PAIR = {"x": values(2, 3, 5, 6), "g": values(2, 3, 4, 2, low=-1.3, high=1.3)}
VOLUME = {"x": values(1, 2, 3, 4, 5), "g": values(1, 2, 3, 4, 3, low=-1.3, high=1.3)}
REGIONS = np.asarray([[0, 0, 6, 4], [1.5, -0.7, 5.2, 3], [2, 2, 2.2, 9], [3, 1, 8, 2]], "f")


def _sampled(name: str, feeds: dict[str, np.ndarray], opset: int = 20, **attrs: object) -> Case:
    return Case(f"grid_sample_{name}", "GridSample", feeds, opset=opset, attrs=attrs)


def _regions(name: str, batch: int = 1, opset: int = 16, **attrs: object) -> Case:
    which = np.arange(4) % batch
    feeds = {"x": values(batch, 2, 7, 8, seed=3), "r": REGIONS, "b": which}
    more = {"output_height": 3, "output_width": 2, "sampling_ratio": 2, **attrs}
    return Case(f"roi_align_{name}", "RoiAlign", feeds, opset=opset, attrs=more)


CASES = [
    Case("grid_sample_zeros", "GridSample", {**X, **GRID}, opset=16),
    Case(
        "grid_sample_border_aligned",
        "GridSample",
        {**X, **GRID},
        opset=16,
        attrs={"padding_mode": "border", "align_corners": 1},
    ),
    Case("grid_sample_reflection", "GridSample", {**X, **GRID}, opset=16, attrs={"padding_mode": "reflection"}),
    Case(
        "grid_sample_reflection_aligned",
        "GridSample",
        {**X, **GRID},
        opset=16,
        attrs={"padding_mode": "reflection", "align_corners": 1},
    ),
    _sampled("cubic_zeros", PAIR, mode="cubic"),
    _sampled("cubic_border_aligned", PAIR, mode="cubic", padding_mode="border", align_corners=1),
    _sampled("cubic_reflection", PAIR, mode="cubic", padding_mode="reflection"),
    _sampled("cubic_reflection_aligned_opset_16", PAIR, 16, mode="bicubic", padding_mode="reflection", align_corners=1),
    _sampled("volume_zeros", VOLUME),
    _sampled("volume_border_aligned", VOLUME, padding_mode="border", align_corners=1),
    _sampled("volume_reflection", VOLUME, padding_mode="reflection"),
    _sampled("volume_nearest", VOLUME, mode="nearest"),
    _regions("plain"),
    _regions("of_several_pictures", batch=2, spatial_scale=0.5),
    _regions("not_shifted", coordinate_transformation_mode="output_half_pixel"),
    _regions("opset_10", opset=10, sampling_ratio=3),
]
