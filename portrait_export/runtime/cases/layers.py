"""Cases of kernels for which coremltools infers no value: convolutions, pools, resizing, recurrence, scatter.

tests/runtime/kernels/test_by_hand.py and test_torch_conversions.py compare these operators with torch and with results
worked out by hand; `portrait-export agree` compares these rows with Core ML.
"""

from __future__ import annotations

from typing import Any

import numpy as np

RNG = np.random.default_rng(2)


def normal(*shape: int) -> np.ndarray:
    """Seeded standard normal values."""
    return RNG.standard_normal(shape).astype(np.float32)


def i32(*values: Any) -> np.ndarray:
    """An int32 array."""
    return np.array(values, np.int32)


IMAGE = normal(1, 4, 9, 8)
LINE = normal(1, 4, 11)
VOLUME = normal(1, 2, 5, 6, 4)
DATA = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
K3, K1, DEPTHWISE, GROUPED = normal(6, 4, 3, 3), normal(5, 4, 1, 1), normal(4, 1, 3, 3), normal(6, 2, 3, 3)
BIAS = normal(6)
GRID = RNG.uniform(-1.2, 1.2, (1, 5, 7, 2)).astype(np.float32)
SAME, VALID = {"pad_type": "same"}, {"pad_type": "valid"}
CUSTOM = {"pad_type": "custom", "pad": [1, 2, 0, 1]}
WINDOW = {"kernel_sizes": [3, 2], "strides": [2, 2]}
SEQUENCE, HIDDEN = normal(6, 2, 3), normal(2, 4)
BOXES = np.array([[5, 5, 10, 10], [6, 5, 10, 10], [30, 30, 4, 4], [5, 5, 9, 9]], np.float32)
BYTES = RNG.integers(-128, 128, (4, 6)).astype(np.int8)
SAMPLING = {
    "sampling_mode": "bilinear",
    "padding_mode": "constant",
    "padding_value": 0.0,
    "coordinates_mode": "normalized_minus_one_to_one",
    "align_corners": False,
}
RESIZED = {"shape": [13, 5], "resized_dims": np.uint32(2)}
UPDATES = {"indices": i32(1, 0), "updates": np.array([[5, 6, 7], [8, 9, 10]], np.float32), "axis": 0}

ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    # convolutions
    "conv_valid": ("conv", {"x": IMAGE, "weight": K3, "bias": BIAS, **VALID}),
    "conv_same": ("conv", {"x": IMAGE, "weight": K3, **SAME}),
    "conv_same_lower": ("conv", {"x": IMAGE, "weight": K3, "pad_type": "same_lower", "strides": [2, 2]}),
    "conv_custom_padding": ("conv", {"x": IMAGE, "weight": K3, "strides": [2, 1], **CUSTOM}),
    "conv_pointwise": ("conv", {"x": IMAGE, "weight": K1}),
    "conv_depthwise": ("conv", {"x": IMAGE, "weight": DEPTHWISE, "groups": 4, **SAME}),
    "conv_grouped": ("conv", {"x": IMAGE, "weight": GROUPED, "groups": 2}),
    "conv_dilated": ("conv", {"x": IMAGE, "weight": K3, "dilations": [2, 3]}),
    "conv_1d": ("conv", {"x": LINE, "weight": normal(6, 4, 3), "strides": [2], **SAME}),
    "conv_3d": ("conv", {"x": VOLUME, "weight": normal(3, 2, 2, 3, 2)}),
    "conv_transpose": ("conv_transpose", {"x": IMAGE, "weight": normal(4, 6, 3, 3), "bias": BIAS, "strides": [2, 2]}),
    "conv_transpose_custom": (
        "conv_transpose",
        {"x": IMAGE, "weight": normal(4, 6, 3, 3), "strides": [2, 2], **CUSTOM},
    ),
    "conv_transpose_grouped": ("conv_transpose", {"x": IMAGE, "weight": normal(4, 3, 2, 2), "groups": 2}),
    "conv_quantized": (
        "conv_quantized",
        {
            "x": IMAGE,
            "weight": RNG.integers(0, 256, (6, 4, 3, 3)).astype(np.uint8),
            "quantization_type": "linear",
            "nbits": 8,
            "quant_scale": np.abs(normal(6)) / 100,
            "quant_bias": BIAS,
        },
    ),
    # pools
    **{
        f"{op}_{name}": (op, {"x": IMAGE, **WINDOW, **padding})
        for op in ("max_pool", "avg_pool", "l2_pool")
        for name, padding in (("valid", VALID), ("same", SAME), ("custom", CUSTOM))
    },
    "max_pool_ceil": ("max_pool", {"x": IMAGE, **WINDOW, **VALID, "ceil_mode": True}),
    "avg_pool_without_padding": ("avg_pool", {"x": IMAGE, **WINDOW, **SAME, "exclude_padding_from_average": True}),
    "avg_pool_1d": ("avg_pool", {"x": LINE, "kernel_sizes": [3], "strides": [2], **VALID}),
    # normalization and activation
    "batch_norm": (
        "batch_norm",
        {"x": IMAGE, "mean": normal(4), "variance": np.abs(normal(4)) + 0.5, "gamma": normal(4), "beta": normal(4)},
    ),
    "instance_norm": ("instance_norm", {"x": IMAGE, "gamma": normal(4), "beta": normal(4), "epsilon": 1e-4}),
    "local_response_norm": ("local_response_norm", {"x": IMAGE, "size": 3, "alpha": 0.5, "beta": 0.7, "k": 1.2}),
    "silu": ("silu", {"x": IMAGE}),
    "identity": ("identity", {"x": IMAGE}),
    # resizing
    **{
        f"resize_bilinear_{mode.lower()}": (
            "resize_bilinear",
            {"x": IMAGE, "target_size_height": 13, "target_size_width": 5, "sampling_mode": mode},
        )
        for mode in ("DEFAULT", "STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "UNALIGN_CORNERS", "OFFSET_CORNERS")
    },
    "resize_nearest_neighbor": (
        "resize_nearest_neighbor",
        {"x": IMAGE, "target_size_height": 13, "target_size_width": 5},
    ),
    **{
        f"resize_{interpolation.lower()}_{mode.lower()}": (
            "resize",
            {"x": IMAGE, **RESIZED, "interpolation_mode": interpolation, "sampling_mode": mode},
        )
        for interpolation in ("LINEAR", "NEAREST_NEIGHBOR")
        for mode in ("DEFAULT", "STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "UNALIGN_CORNERS", "OFFSET_CORNERS")
    },
    **{
        f"upsample_bilinear_{name}_by_{factor}": (
            "upsample_bilinear",
            {
                "x": IMAGE,
                "scale_factor_height": np.float32(factor),
                "scale_factor_width": np.float32(2),
                "align_corners": aligned,
            },
        )
        for name, aligned in (("aligned", True), ("unaligned", False))
        for factor in (2, 1.3)
    },
    "upsample_nearest_neighbor": ("upsample_nearest_neighbor", {"x": IMAGE, "scale_factor_height": np.float32(3)}),
    "crop": ("crop", {"x": IMAGE, "crop_height": [1, 2], "crop_width": [0, 3]}),
    "crop_resize": (
        "crop_resize",
        {
            "x": IMAGE,
            "boxes": np.array([[1, 1, 5, 6], [0, 2, 3, 7]], np.float32),
            "box_indices": i32(0, 0),
            "target_height": 3,
            "target_width": 4,
            "sampling_mode": "ALIGN_CORNERS",
        },
    ),
    "affine": (
        "affine",
        {
            "x": IMAGE,
            "transform_matrix": np.array([[0.8, 0.2, 0.1, -0.3, 0.9, -0.2]], np.float32),
            "output_height": 7,
            "output_width": 8,
            **SAMPLING,
            "align_corners": True,
        },
    ),
    **{
        f"resample_{mode}_{padding}": (
            "resample",
            {"x": IMAGE, "coordinates": GRID, **SAMPLING, "sampling_mode": mode, "padding_mode": padding},
        )
        for mode in ("bilinear", "nearest")
        for padding in ("constant", "border", "reflection", "symmetric")
    },
    # rearrangement
    "depth_to_space": ("depth_to_space", {"x": IMAGE, "block_size": 2}),
    "space_to_depth": ("space_to_depth", {"x": IMAGE[:, :, :8].copy(), "block_size": 2}),
    "pixel_shuffle": ("pixel_shuffle", {"x": IMAGE, "upscale_factor": 2}),
    "pixel_unshuffle": ("pixel_unshuffle", {"x": IMAGE[:, :, :8].copy(), "downscale_factor": np.uint32(2)}),
    "space_to_batch": (
        "space_to_batch",
        {"x": IMAGE[:, :, :8].copy(), "block_shape": i32(2, 2), "paddings": i32([0, 0], [2, 0])},
    ),
    "batch_to_space": (
        "batch_to_space",
        {"x": normal(4, 2, 3, 3), "block_shape": i32(2, 2), "crops": i32([0, 1], [0, 0])},
    ),
    "sliding_windows": ("sliding_windows", {"x": LINE, "axis": 2, "size": 4, "stride": 3}),
    "reverse_sequence": (
        "reverse_sequence",
        {"x": normal(2, 5), "lengths": i32(3, 5), "seq_axis": 1, "batch_axis": 0},
    ),
    "one_hot": ("one_hot", {"indices": i32(2, 0, 1), "one_hot_vector_size": 3, "on_value": 5.0, "off_value": -1.0}),
    "fill_like": ("fill_like", {"ref_tensor": DATA, "value": 2.5}),
    # gather and scatter
    "gather_nd": ("gather_nd", {"x": DATA, "indices": i32([0, 2], [1, 0])}),
    **{
        f"scatter_{mode}": ("scatter", {"data": DATA, **UPDATES, "mode": mode}) for mode in ("add", "sub", "mul", "min")
    },
    "scatter_update": ("scatter", {"data": DATA, **UPDATES, "mode": "update"}),
    "scatter_along_axis": (
        "scatter_along_axis",
        {
            "data": DATA,
            "indices": i32([0, 1, 1]),
            "updates": np.array([[10, 20, 30]], np.float32),
            "axis": 0,
            "mode": "update",
        },
    ),
    "scatter_nd": (
        "scatter_nd",
        {"data": DATA, "indices": i32([0, 1], [1, 2]), "updates": np.array([10, 20], np.float32), "mode": "add"},
    ),
    "slice_update": (
        "slice_update",
        {"x": DATA, "update": np.array([[9], [8]], np.float32), "begin": i32(0, 1), "end": i32(2, 2)},
    ),
    # attention and recurrence
    "scaled_dot_product_attention": (
        "scaled_dot_product_attention",
        {"query": normal(1, 3, 5, 8), "key": normal(1, 3, 7, 8), "value": normal(1, 3, 7, 4)},
    ),
    "rnn": (
        "rnn",
        {"x": SEQUENCE, "initial_h": HIDDEN, "weight_ih": normal(4, 3), "weight_hh": normal(4, 4), "bias": normal(4)},
    ),
    "gru": (
        "gru",
        {
            "x": SEQUENCE,
            "initial_h": HIDDEN,
            "weight_ih": normal(12, 3),
            "weight_hh": normal(12, 4),
            "bias": normal(12),
        },
    ),
    "lstm": (
        "lstm",
        {
            "x": SEQUENCE,
            "initial_h": HIDDEN,
            "initial_c": normal(2, 4),
            "weight_ih": normal(16, 3),
            "weight_hh": normal(16, 4),
            "bias": normal(16),
        },
    ),
    "lstm_bidirectional": (
        "lstm",
        {
            "x": SEQUENCE,
            "initial_h": normal(2, 8),
            "initial_c": normal(2, 8),
            "weight_ih": normal(16, 3),
            "weight_hh": normal(16, 4),
            "weight_ih_back": normal(16, 3),
            "weight_hh_back": normal(16, 4),
            "direction": "bidirectional",
            "output_sequence": True,
        },
    ),
    "non_maximum_suppression": (
        "non_maximum_suppression",
        {
            "boxes": BOXES[None],
            "scores": np.array([[[0.9], [0.8], [0.7], [0.1]]], np.float32),
            "iou_threshold": 0.5,
            "score_threshold": 0.2,
            "max_boxes": 3,
        },
    ),
    # compressed values
    "dequantize": (
        "dequantize",
        {
            "input": BYTES,
            "scale": np.array([0.1, 0.2, 0.3, 0.4], np.float32),
            "zero_point": np.array([1, 2, 3, 4], np.int8),
            "axis": 0,
        },
    ),
    "affine_dequantize": (
        "constexpr_affine_dequantize",
        {
            "quantized_data": BYTES,
            "zero_point": np.array([1, 2, 3, 4], np.int8),
            "scale": np.array([0.1, 0.2, 0.3, 0.4], np.float32),
            "axis": 0,
        },
    ),
    "blockwise_shift_scale": (
        "constexpr_blockwise_shift_scale",
        {
            "data": BYTES,
            "scale": np.array([[1, 2], [3, 4]], np.float32),
            "offset": np.array([[1, 0], [0, -1]], np.int8),
        },
    ),
}

# Operators whose parameters here are those of another operator set than iOS17's.
TARGETS = {
    "constexpr_affine_dequantize": "iOS16",
    "non_maximum_suppression": "iOS16",
    **dict.fromkeys(("constexpr_blockwise_shift_scale", "slice_update", "scaled_dot_product_attention"), "iOS18"),
}
