"""Normalizations."""

from __future__ import annotations

import numpy as np

from .model import Case, values

X = {"x": values(2, 4, 5, 6)}
STATS = {
    "s": values(4, seed=1),
    "b": values(4, seed=2),
    "m": values(4, seed=3),
    "v": values(4, seed=4, low=0.2, high=3),
}
AFFINE = {"s": values(4, seed=1), "b": values(4, seed=2)}
LAST = {"s": values(6, seed=1), "b": values(6, seed=2)}

CASES = [
    Case("batch_norm_image", "BatchNormalization", X, STATS),
    Case("batch_norm_epsilon", "BatchNormalization", X, STATS, attrs={"epsilon": 0.1}),
    Case("batch_norm_matrix", "BatchNormalization", {"x": values(5, 4)}, STATS),
    Case("batch_norm_volume", "BatchNormalization", {"x": values(1, 4, 2, 3, 3)}, STATS),
    Case("batch_norm_computed_statistics", "BatchNormalization", {**X, **STATS}),
    Case("layer_norm_last", "LayerNormalization", X, LAST),
    Case("layer_norm_no_bias", "LayerNormalization", X, {"s": LAST["s"]}, attrs={"epsilon": 1e-3}),
    Case("layer_norm_two_axes", "LayerNormalization", X, {"s": values(5, 6), "b": values(5, 6)}, attrs={"axis": -2}),
    Case(
        "layer_norm_broadcast_scale", "LayerNormalization", X, {"s": values(1, 6), "b": values(5, 1)}, attrs={"axis": 2}
    ),
    Case("layer_norm_statistics", "LayerNormalization", X, LAST, outputs=3),
    Case("layer_norm_computed_scale", "LayerNormalization", {**X, **LAST}),
    Case("rms_norm_last", "RMSNormalization", X, {"s": values(6)}, opset=23),
    Case("instance_norm_image", "InstanceNormalization", X, AFFINE),
    Case("instance_norm_volume", "InstanceNormalization", {"x": values(1, 4, 2, 3, 3)}, AFFINE),
    Case("group_norm_per_channel", "GroupNormalization", X, AFFINE, opset=21, attrs={"num_groups": 2}),
    Case(
        "group_norm_per_group",
        "GroupNormalization",
        X,
        {"s": values(2), "b": values(2, seed=1)},
        opset=18,
        attrs={"num_groups": 2},
    ),
    Case("lrn_odd", "LRN", X, attrs={"size": 3, "alpha": 0.5, "bias": 2.0}),
    # as many images as channels: onnx's reference counts the wrong one of the two
    Case("lrn_even", "LRN", {"x": values(4, 4, 3, 3)}, attrs={"size": 2, "alpha": 0.5, "beta": 0.5}),
    Case("lp_norm_2", "LpNormalization", X, attrs={"axis": 1}),
    Case("lp_norm_1", "LpNormalization", X, attrs={"p": 1}),
    Case("lp_norm_of_zero", "LpNormalization", {"x": np.zeros((2, 3), "f")}, opset=22),
    Case("mvn_channels_too", "MeanVarianceNormalization", X, attrs={"axes": [0, 1, 2, 3]}),
]
