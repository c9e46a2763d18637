"""Compare kernels without value inference in coremltools to torch, documented formulas or hand-worked numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from portrait_export.errors import ExecutionError
from tests.runtime.kernels.calling import call

RNG = np.random.default_rng(3)


def f32(*values: Any) -> np.ndarray:
    return np.array(values, np.float32)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


IMAGE = normal(2, 3, 5, 6)
GRID_4 = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)
RAMP = f32(0, 1).reshape(1, 1, 1, 2)

# ---------------------------------------------------------------------------------------------------------------------
# Image resizing. The grids are those that the documentation of `resize_bilinear` prints for an input of two pixels.

GRIDS = {
    ("UNALIGN_CORNERS", 5): [0.0, 0.1, 0.5, 0.9, 1.0],
    ("STRICT_ALIGN_CORNERS", 5): [0.0, 0.25, 0.5, 0.75, 1.0],
    ("ALIGN_CORNERS", 5): [0.0, 0.25, 0.5, 0.75, 1.0],
    ("DEFAULT", 5): [0.0, 0.4, 0.8, 1.0, 1.0],
    ("OFFSET_CORNERS", 5): [0.1, 0.3, 0.5, 0.7, 0.9],
    ("UNALIGN_CORNERS", 6): [0.0, 0.0, 1 / 3, 2 / 3, 1.0, 1.0],
    ("STRICT_ALIGN_CORNERS", 6): [0.0, 0.2, 0.4, 0.6, 0.8, 1.0],
    ("DEFAULT", 6): [0.0, 1 / 3, 2 / 3, 1.0, 1.0, 1.0],
    ("OFFSET_CORNERS", 6): [1 / 12, 0.25, 5 / 12, 7 / 12, 0.75, 11 / 12],
    ("ALIGN_CORNERS", 1): [0.5],
    ("STRICT_ALIGN_CORNERS", 1): [0.0],
}


@pytest.mark.parametrize(("mode", "count"), GRIDS)
def test_resize_bilinear_reads_the_documented_grid(mode: str, count: int) -> None:
    out = call("resize_bilinear", x=RAMP, target_size_height=1, target_size_width=count, sampling_mode=mode)
    np.testing.assert_allclose(out.ravel(), GRIDS[mode, count], atol=1e-6)


@pytest.mark.parametrize(("mode", "count"), [key for key in GRIDS if key[1] > 1])
def test_resize_reads_the_same_grid_along_any_axis(mode: str, count: int) -> None:
    column = RAMP.reshape(1, 2, 1)
    out = call("resize", x=column, shape=[count, 1], resized_dims=2, interpolation_mode="LINEAR", sampling_mode=mode)
    np.testing.assert_allclose(out.ravel(), GRIDS[mode, count], atol=1e-6)


RESIZES: dict[str, tuple[str, dict[str, Any], Any]] = {
    "resize_keeps_zero": ("resize", {"x": IMAGE, "shape": [0, 12], "resized_dims": 2}, (2, 3, 5, 12)),
    "resize_takes_the_last_sizes": ("resize", {"x": IMAGE, "shape": [9, 8, 7], "resized_dims": 2}, (2, 3, 8, 7)),
    "upsample_floors_the_size": (
        "upsample_bilinear",
        {"x": IMAGE, "scale_factor_height": 1.5, "scale_factor_width": 2.0, "align_corners": False},
        (2, 3, 7, 12),
    ),
    "crop": ("crop", {"x": IMAGE, "crop_height": [1, 2], "crop_width": [0, 3]}, (2, 3, 2, 3)),
}


@pytest.mark.parametrize(("op", "inputs", "shape"), RESIZES.values(), ids=RESIZES.keys())
def test_sizes_of_resized_images(op: str, inputs: dict[str, Any], shape: tuple[int, ...]) -> None:
    assert call(op, **inputs).shape == shape


NEAREST = {  # op, inputs, which input pixels are read
    "resize_floors": ("resize_nearest_neighbor", {"target_size_height": 1, "target_size_width": 5}, [0, 0, 1, 1, 2]),
    "upsample_repeats": ("upsample_nearest_neighbor", {"scale_factor_width": 2.0}, [0, 0, 1, 1, 2, 2]),
    "upsample_by_a_fraction": ("upsample_nearest_neighbor", {"scale_factor_width": 1.12}, [0, 1, 2]),
    "upsample_down": ("upsample_nearest_neighbor", {"scale_factor_width": 0.67}, [0, 1]),
}  # fmt: skip


@pytest.mark.parametrize(("op", "inputs", "read"), NEAREST.values(), ids=NEAREST.keys())
def test_nearest_neighbours(op: str, inputs: dict[str, Any], read: list[int]) -> None:
    assert call(op, x=np.arange(3, dtype=np.float32).reshape(1, 1, 1, 3), **inputs).ravel().tolist() == read


def test_resize_nearest_takes_the_nearest_point_of_the_grid() -> None:
    """2 → 3 reads at 0, 2/3 and 4/3."""
    inputs = {"shape": [1, 3], "resized_dims": 2, "interpolation_mode": "NEAREST_NEIGHBOR", "sampling_mode": "DEFAULT"}
    assert call("resize", x=RAMP, **inputs).ravel().tolist() == [0, 1, 1]


CROPS: dict[str, tuple[dict[str, Any], Any]] = {  # boxes over GRID_4
    "corners": ({"boxes": f32([1, 1, 2, 2])}, [[6, 7], [10, 11]]),
    "corners_width_first": (
        {"boxes": f32([0, 1, 1, 3]), "box_coordinate_mode": "CORNERS_WIDTH_FIRST"},
        [[5, 6], [13, 14]],
    ),
    "centre_and_size": (
        {"boxes": f32([1.5, 1.5, 1, 1]), "box_coordinate_mode": "CENTER_SIZE_HEIGHT_FIRST"},
        [[6, 7], [10, 11]],
    ),
    "normalized": ({"boxes": f32([0, 0, 1, 1]), "normalized_coordinates": True}, [[1, 4], [13, 16]]),
    "scaled": ({"boxes": f32([2, 2, 4, 4]), "spatial_scale": 0.5}, [[6, 7], [10, 11]]),
    "outside_is_padded": ({"boxes": f32([2, 2, 4, 4]), "pad_value": -1.0}, [[11, -1], [-1, -1]]),
    "inverted": ({"boxes": f32([2, 2, 1, 1])}, [[11, 10], [7, 6]]),
}


@pytest.mark.parametrize(("inputs", "expected"), CROPS.values(), ids=CROPS.keys())
def test_crop_resize(inputs: dict[str, Any], expected: Any) -> None:
    inputs = {"target_height": 2, "target_width": 2, "sampling_mode": "ALIGN_CORNERS", **inputs}
    out = call("crop_resize", x=GRID_4, **inputs)
    assert out.shape == (1, 1, 2, 2)
    np.testing.assert_allclose(out[0, 0], expected, atol=1e-5)


def test_crop_resize_of_ios16_crops_every_image_or_the_named_one() -> None:
    x = np.concatenate([GRID_4, GRID_4 * 10])
    size = {"target_height": 2, "target_width": 2, "sampling_mode": "ALIGN_CORNERS"}
    every = call("crop_resize", x=x, roi=f32(1, 1, 2, 2).reshape(1, 1, 4, 1, 1), **size)
    named = call("crop_resize", x=x, roi=f32(1, 1, 1, 2, 2).reshape(1, 1, 5, 1, 1), **size)
    assert (every.shape, named.shape) == ((1, 2, 1, 2, 2), (1, 1, 1, 2, 2))
    np.testing.assert_allclose(every[0, 1, 0], [[60, 70], [100, 110]])
    np.testing.assert_allclose(named[0, 0, 0], [[60, 70], [100, 110]])


RESAMPLES = [
    (mode, padding, aligned)
    for mode in ("bilinear", "nearest")
    for padding in ("constant", "border", "reflection")
    for aligned in (True, False)
    # Core ML reflects about the border pixel's centre (its `reflection`); torch does so only for aligned corners.
    if padding != "reflection" or aligned
]


@pytest.mark.parametrize(("mode", "padding", "aligned"), RESAMPLES)
def test_resample_is_torchs_grid_sample(mode: str, padding: str, aligned: bool) -> None:
    grid = RNG.uniform(-1.4, 1.4, (2, 7, 4, 2)).astype(np.float32)
    names = {"constant": "zeros"}
    expected = F.grid_sample(
        torch.from_numpy(IMAGE),
        torch.from_numpy(grid),
        mode=mode,
        padding_mode=names.get(padding, padding),
        align_corners=aligned,
    )
    found = call(
        "resample",
        x=IMAGE,
        coordinates=grid,
        sampling_mode=mode,
        padding_mode=padding,
        padding_value=0.0,
        coordinates_mode="normalized_minus_one_to_one",
        align_corners=aligned,
    )
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_resample_symmetric_repeats_the_border() -> None:
    """|1, 2, 3| → |3, 2, 1, 1, 2, 3, 3, 2, 1|, as the documentation draws it; and the other modes likewise."""
    places = np.stack([np.arange(-3, 6), np.zeros(9)], -1).astype(np.float32).reshape(1, 1, 9, 2)
    common = {
        "x": f32(1, 2, 3).reshape(1, 1, 1, 3),
        "coordinates": places,
        "sampling_mode": "nearest",
        "padding_value": 7.0,
        "coordinates_mode": "unnormalized",
        "align_corners": True,
    }
    drawn = {
        "symmetric": [3, 2, 1, 1, 2, 3, 3, 2, 1],
        "border": [1, 1, 1, 1, 2, 3, 3, 3, 3],
        "constant": [7, 7, 7, 1, 2, 3, 7, 7, 7],
        "reflection": [2, 3, 2, 1, 2, 3, 2, 1, 2],
    }
    for mode, expected in drawn.items():
        assert call("resample", padding_mode=mode, **common).ravel().tolist() == expected, mode


def test_affine_is_torchs_affine_grid() -> None:
    matrix = f32([0.8, 0.2, 0.1, -0.3, 0.9, -0.2], [1, 0, 0, 0, 1, 0])
    grid = F.affine_grid(torch.from_numpy(matrix).reshape(2, 2, 3), [2, 3, 7, 8], align_corners=True)
    expected = F.grid_sample(torch.from_numpy(IMAGE), grid, align_corners=True)
    found = call(
        "affine",
        x=IMAGE,
        transform_matrix=matrix,
        output_height=7,
        output_width=8,
        sampling_mode="bilinear",
        padding_mode="constant",
        padding_value=0.0,
        coordinates_mode="normalized_minus_one_to_one",
        align_corners=True,
    )
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


# ---------------------------------------------------------------------------------------------------------------------
# Convolution and pooling


@given(
    size=st.integers(1, 12), kernel=st.integers(1, 5), stride=st.integers(1, 4), dilation=st.integers(1, 3),
    lower=st.booleans(),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_same_padding_gives_ceil_of_size_over_stride(
    size: int, kernel: int, stride: int, dilation: int, lower: bool
) -> None:
    out = call(
        "conv",
        x=np.ones((1, 1, size), np.float32),
        weight=np.ones((1, 1, kernel), np.float32),
        strides=[stride],
        dilations=[dilation],
        pad_type="same_lower" if lower else "same",
    )
    assert out.shape == (1, 1, -(-size // stride))


def test_same_puts_the_odd_element_after_and_same_lower_before() -> None:
    inputs = {"x": f32(1, 2, 3).reshape(1, 1, 3), "weight": f32(1, 10).reshape(1, 1, 2)}
    assert call("conv", pad_type="same", **inputs).ravel().tolist() == [21, 32, 3]
    assert call("conv", pad_type="same_lower", **inputs).ravel().tolist() == [10, 21, 32]


def test_custom_padding_may_differ_before_and_after() -> None:
    inputs = {"x": f32(1, 2, 3).reshape(1, 1, 3), "weight": f32(1, 1).reshape(1, 1, 2)}
    assert call("conv", pad_type="custom", pad=[2, 0], **inputs).ravel().tolist() == [0, 1, 3, 5]


TRANSPOSED = {  # the whole result of ones (1, 1, 3) with a kernel of 1, 10, 100 and stride 2 is 1 10 101 10 101 10 100
    "valid": ({}, [1, 10, 101, 10, 101, 10, 100]),
    "custom": ({"pad_type": "custom", "pad": [1, 2]}, [10, 101, 10, 101]),
    "same": ({"pad_type": "same"}, [1, 10, 101, 10, 101, 10]),
    "output_shape_appends": (
        {"pad_type": "custom", "pad": [1, 1], "output_shape": [1, 1, 6]},
        [10, 101, 10, 101, 10, 100],
    ),
    "bias": ({"bias": f32(0.5)}, [1.5, 10.5, 101.5, 10.5, 101.5, 10.5, 100.5]),
}


@pytest.mark.parametrize(("inputs", "expected"), TRANSPOSED.values(), ids=TRANSPOSED.keys())
def test_conv_transpose(inputs: dict[str, Any], expected: list[float]) -> None:
    ones = np.ones((1, 1, 3), np.float32)
    out = call("conv_transpose", x=ones, weight=f32(1, 10, 100).reshape(1, 1, 3), strides=[2], **inputs)
    assert out.ravel().tolist() == expected


def test_conv_quantized_dequantizes_its_weight() -> None:
    weight = RNG.integers(0, 256, (4, 3, 3, 3)).astype(np.uint8)
    scale, bias = np.abs(normal(4)), normal(4)
    dense = weight * scale.reshape(4, 1, 1, 1) + bias.reshape(4, 1, 1, 1)
    found = call(
        "conv_quantized", x=IMAGE, weight=weight, quantization_type="linear", quant_scale=scale, quant_bias=bias
    )
    expected = F.conv2d(torch.from_numpy(IMAGE), torch.from_numpy(dense.astype(np.float32)))
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-2)


CUSTOM, SAME, VALID = {"pad_type": "custom", "pad": [1, 0]}, {"pad_type": "same"}, {"pad_type": "valid"}
EXCLUDED = {"exclude_padding_from_average": True}
POOLS: dict[str, tuple[str, dict[str, Any], list[float]]] = {  # windows of 2 by 2 over 1 2 3 4 5
    "max_same": ("max_pool", SAME, [2, 4, 5]),
    "max_padding_never_wins": ("max_pool", {**CUSTOM, "sign": -1}, [-1, -2, -4]),
    "avg_counts_padding": ("avg_pool", CUSTOM, [0.5, 2.5, 4.5]),
    "avg_leaves_padding_out": ("avg_pool", {**CUSTOM, **EXCLUDED}, [1, 2.5, 4.5]),
    "avg_same_leaves_padding_out": ("avg_pool", {**SAME, **EXCLUDED}, [1.5, 3.5, 5]),
    "avg_ceil_mode": ("avg_pool", {**VALID, "ceil_mode": True}, [1.5, 3.5, 5]),
    "l2": ("l2_pool", VALID, [np.sqrt(5), 5]),
}


@pytest.mark.parametrize(("op", "inputs", "expected"), POOLS.values(), ids=POOLS.keys())
def test_pooling(op: str, inputs: dict[str, Any], expected: list[float]) -> None:
    inputs = dict(inputs)
    x = f32(1, 2, 3, 4, 5).reshape(1, 1, 5) * inputs.pop("sign", 1)
    np.testing.assert_allclose(call(op, x=x, kernel_sizes=[2], strides=[2], **inputs).ravel(), expected, rtol=1e-6)


# ---------------------------------------------------------------------------------------------------------------------
# Gather and scatter

DATA = f32([1, 2, 3], [4, 5, 6])
SCATTERS: dict[str, tuple[str, dict[str, Any], Any]] = {
    "scatter_add": ("scatter", {"indices": [1, 0], "updates": f32([5, 6, 7], [8, 9, 10])}, [[9, 11, 13], [9, 11, 13]]),
    "scatter_add_twice": ("scatter", {"indices": [0, 0], "updates": f32([1, 1, 1], [2, 2, 2])}, [[4, 5, 6], [4, 5, 6]]),
    "scatter_update_last_wins": (
        "scatter",
        {"indices": [0, 0], "updates": f32([1, 1, 1], [2, 2, 2]), "mode": "update"},
        [[2, 2, 2], [4, 5, 6]],
    ),
    "scatter_axis_1": ("scatter", {"indices": [2], "updates": f32([10], [20]), "axis": 1}, [[1, 2, 13], [4, 5, 26]]),
    "scatter_sub": ("scatter", {"indices": [-1], "updates": f32([1, 1, 1]), "mode": "sub"}, [[1, 2, 3], [3, 4, 5]]),
    "scatter_mul": ("scatter", {"indices": [0], "updates": f32([2, 3, 4]), "mode": "mul"}, [[2, 6, 12], [4, 5, 6]]),
    "scatter_div": ("scatter", {"indices": [0], "updates": f32([2, 2, 2]), "mode": "div"}, [[0.5, 1, 1.5], [4, 5, 6]]),
    "scatter_max": ("scatter", {"indices": [0], "updates": f32([0, 9, 0]), "mode": "max"}, [[1, 9, 3], [4, 5, 6]]),
    "scatter_min": ("scatter", {"indices": [1], "updates": f32([0, 9, 0]), "mode": "min"}, [[1, 2, 3], [0, 5, 0]]),
    "scatter_along_axis": (
        "scatter_along_axis",
        {"indices": [[0, 1, 1]], "updates": f32([10, 20, 30]), "mode": "update"},
        [[10, 2, 3], [4, 20, 30]],
    ),
    "scatter_nd_elements": (
        "scatter_nd",
        {"indices": [[0, 1], [1, 2]], "updates": f32(10, 20), "mode": "add"},
        [[1, 12, 3], [4, 5, 26]],
    ),
    "scatter_nd_rows": (
        "scatter_nd",
        {"indices": [[1]], "updates": f32([7, 8, 9]), "mode": "update"},
        [[1, 2, 3], [7, 8, 9]],
    ),
}


@pytest.mark.parametrize(("op", "inputs", "expected"), SCATTERS.values(), ids=SCATTERS.keys())
def test_scatter(op: str, inputs: dict[str, Any], expected: Any) -> None:
    inputs = {**inputs, "indices": np.array(inputs["indices"], np.int32)}
    np.testing.assert_allclose(call(op, data=DATA, **inputs), expected)


def test_gather_nd_with_batches() -> None:
    x = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    places = np.array([[[0, 2]], [[1, 0]]], np.int32)
    assert call("gather_nd", x=x, indices=places, batch_dims=1).tolist() == [[2], [9]]
    assert call("gather_nd", x=x, indices=np.array([[1, 1]], np.int32)).tolist() == [[9, 10, 11]]


def test_gather_with_batches() -> None:
    x = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    found = call("gather", x=x, indices=np.array([[2, 0], [1, 1]], np.int32), axis=2, batch_dims=1)
    assert found.tolist() == [[[2, 0], [5, 3]], [[7, 7], [10, 10]]]


# ---------------------------------------------------------------------------------------------------------------------
# Compressed weights, each against its formula

Q = RNG.integers(-128, 128, (4, 6)).astype(np.int8)
BITS = np.array([0b00111001, 0b1], np.uint8)  # places 0, 3, 4, 5 and 8 of nine
COMPRESSED: dict[str, tuple[str, dict[str, Any], Any]] = {
    "affine_per_channel": (
        "constexpr_affine_dequantize",
        {
            "quantized_data": Q,
            "zero_point": np.array([1, 2, 3, 4], np.int8),
            "scale": f32(0.1, 0.2, 0.3, 0.4),
            "axis": 0,
        },
        (Q - f32([1], [2], [3], [4])) * f32([0.1], [0.2], [0.3], [0.4]),
    ),
    "affine_per_tensor": (
        "constexpr_affine_dequantize",
        {"quantized_data": Q, "zero_point": np.int8(-3), "scale": np.float32(0.5), "axis": 0},
        (Q + f32(3)) * 0.5,
    ),
    "blockwise": (
        "constexpr_blockwise_shift_scale",
        {"data": Q, "scale": f32([1, 2], [3, 4]), "offset": np.array([[1, 0], [0, -1]], np.int8)},
        (Q - np.kron([[1, 0], [0, -1]], np.ones((2, 3)))) * np.kron([[1, 2], [3, 4]], np.ones((2, 3))),
    ),
    "lut_packed_2_bits": (
        "constexpr_lut_to_dense",
        {"indices": np.array([0b01101100, 0b11], np.uint8), "lut": f32(10, 20, 30, 40), "shape": [5]},
        [10, 40, 30, 20, 40],
    ),
    "lut_of_ios18_in_groups": (
        "constexpr_lut_to_dense",
        {"indices": np.array([[0, 1], [1, 0]], np.uint8), "lut": f32([[[1], [2]]], [[[3], [4]]])},
        [[1, 2], [4, 3]],
    ),
    "lut_of_ios18_vectors": (
        "constexpr_lut_to_dense",
        {"indices": np.array([[0, 1]], np.uint8), "lut": f32([[[1, 2], [3, 4]]]), "vector_axis": 0},
        [[1, 3], [2, 4]],
    ),
    "sparse_packed": (
        "constexpr_sparse_to_dense",
        {"nonzero_data": f32(1, 2, 3, 4, 5), "mask": BITS, "shape": [3, 3]},
        [[1, 0, 0], [2, 3, 4], [0, 0, 5]],
    ),
    "sparse_of_ios18": (
        "constexpr_sparse_to_dense",
        {"nonzero_data": f32(1, 2), "mask": np.array([[0, 1], [1, 0]], np.uint8)},
        [[0, 1], [2, 0]],
    ),
    "dequantize": (
        "dequantize",
        {"input": Q, "scale": f32(0.1, 0.2, 0.3, 0.4), "zero_point": np.array([1, 2, 3, 4], np.int8), "axis": 0},
        (Q - f32([1], [2], [3], [4])) * f32([0.1], [0.2], [0.3], [0.4]),
    ),
}


@pytest.mark.parametrize(("op", "inputs", "expected"), COMPRESSED.values(), ids=COMPRESSED.keys())
def test_compressed_weights(op: str, inputs: dict[str, Any], expected: Any) -> None:
    np.testing.assert_allclose(call(op, **inputs), expected, rtol=1e-6)


def test_the_documented_sparse_palette() -> None:
    """The example in the documentation of `constexpr_lut_to_sparse`: vectors of two along axis 0."""
    mask = np.array([[1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 1], [0, 1, 1, 0, 1, 0], [0, 0, 0, 1, 0, 0]], np.uint8)
    indices = np.array([0, 1, 1, 0, 1, 1, 0, 0, 1], np.uint8)
    flat = {"indices_mask": mask, "indices_nonzero_data": indices}
    same, values = call("constexpr_lut_to_sparse", outputs=2, lut=f32([[[2], [3]]]), **flat)
    assert (same == mask).all()
    assert values.tolist() == [2, 3, 3, 2, 3, 3, 2, 2, 3]
    tall, doubled = call("constexpr_lut_to_sparse", outputs=2, lut=f32([[[2, 2], [3, 3]]]), vector_axis=0, **flat)
    assert (tall == np.repeat(mask, 2, 0)).all()
    assert doubled.tolist() == [2, 3, 2, 3, 3, 2, 3, 3, 2, 3, 3, 2, 2, 3, 2, 2, 3, 3]


def test_the_documented_sparse_scales() -> None:
    """The example in the documentation of `constexpr_sparse_blockwise_shift_scale`."""
    mask = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [1, 1, 0, 0]], np.uint8)
    _, values = call(
        "constexpr_sparse_blockwise_shift_scale",
        outputs=2,
        data_mask=mask,
        nonzero_data=np.array([10, 11, 3, 4, 5, 6, 7, 8, 9], np.int8),
        scale=f32([0.1, 0.2, 0.3, 0.4]),
        offset=np.array([[1, 2, 3, 4]], np.int8),
    )
    np.testing.assert_allclose(values, [0.9, 1.8, 0.2, 0.4, 0.6, 0.9, 1.2, 0.7, 1.4], rtol=1e-5)


# ---------------------------------------------------------------------------------------------------------------------
# Boxes, sequences, blocks, random numbers

BOXES = f32([5, 5, 10, 10], [6, 5, 10, 10], [30, 30, 4, 4], [5, 5, 9, 9])  # centre x, y, width, height
SCORES = f32([0.9], [0.8], [0.7], [0.1])


def test_suppression_keeps_the_best_of_overlapping_boxes() -> None:
    boxes, scores, index, count = call(
        "non_maximum_suppression",
        outputs=4, boxes=BOXES[None], scores=SCORES[None], iou_threshold=0.5, score_threshold=0.2, max_boxes=3,
    )  # fmt: skip
    assert (index.tolist(), count.tolist()) == ([[0, 2, -1]], [2])
    assert boxes[0, 1].tolist() == [30, 30, 4, 4]
    np.testing.assert_allclose(scores[0].ravel(), [0.9, 0.7, 0])


def test_suppression_of_ios17_has_the_boxes_last_and_no_count() -> None:
    found = call(
        "non_maximum_suppression",
        outputs=3, boxes=BOXES.T[None].copy(), scores=SCORES.T[None].copy(), iou_threshold=0.95, max_boxes=4,
    )  # fmt: skip
    assert [part.shape for part in found] == [(1, 4, 4), (1, 1, 4), (1, 4)]
    assert found[2].tolist() == [[0, 1, 2, 3]]


def test_suppression_by_class_lets_classes_overlap() -> None:
    scores = f32([0.9, 0], [0, 0.8], [0.7, 0], [0.1, 0])
    found = call(
        "non_maximum_suppression",
        outputs=4, boxes=BOXES[None], scores=scores[None], iou_threshold=0.5, score_threshold=0.0, max_boxes=4,
        per_class_suppression=True,
    )  # fmt: skip
    assert found[2].tolist() == [[0, 1, 2, -1]]


def test_reverse_sequence() -> None:
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    found = call("reverse_sequence", x=x, lengths=np.array([3, 1], np.int32), seq_axis=1, batch_axis=0)
    assert found.tolist() == [[2, 1, 0, 3], [4, 5, 6, 7]]
    found = call("reverse_sequence", x=x.T.copy(), lengths=np.array([3, 1], np.int32), seq_axis=0, batch_axis=1)
    assert found.T.tolist() == [[2, 1, 0, 3], [4, 5, 6, 7]]


@given(n=st.integers(1, 2), c=st.integers(1, 3), h=st.integers(1, 3), w=st.integers(1, 3), b=st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_rearrangements_undo_one_another(n: int, c: int, h: int, w: int, b: int) -> None:
    x = np.arange(n * c * h * w * b * b, dtype=np.float32).reshape(n, c, h * b, w * b)
    deep = call("space_to_depth", x=x, block_size=b)
    assert deep.shape == (n, c * b * b, h, w)
    np.testing.assert_array_equal(call("depth_to_space", x=deep, block_size=b), x)
    np.testing.assert_array_equal(
        call("pixel_shuffle", x=call("pixel_unshuffle", x=x, downscale_factor=b), upscale_factor=b), x
    )
    pads = [0, 0, 0, 0]
    wide = call("space_to_batch", x=x, block_shape=[b, b], paddings=pads)
    np.testing.assert_array_equal(call("batch_to_space", x=wide, block_shape=[b, b], crops=pads), x)


def test_depth_to_space_puts_the_block_before_the_channel() -> None:
    x = np.arange(8, dtype=np.float32).reshape(1, 8, 1, 1)
    assert call("depth_to_space", x=x, block_size=2)[0, 0].tolist() == [[0, 2], [4, 6]]
    assert call("pixel_shuffle", x=x, upscale_factor=2)[0, 0].tolist() == [[0, 1], [2, 3]]


def test_sliding_windows() -> None:
    found = call("sliding_windows", x=f32([1, 2, 3, 4, 5]), axis=1, size=3, stride=2)
    assert found.tolist() == [[[1, 2, 3], [3, 4, 5]]]


def test_concat_interleaved() -> None:
    """The example of the documentation."""
    one, two = f32([1, 2], [3, 4], [5, 6]), f32([7, 8], [9, 10], [11, 12])
    found = call("concat", values=[one, two], axis=0, interleave=True)
    assert found.tolist() == [[1, 2], [7, 8], [3, 4], [9, 10], [5, 6], [11, 12]]


def test_cumsum_exclusive_does_not_subtract() -> None:
    assert call("cumsum", x=f32(1e8, 1, np.inf), axis=0, exclusive=True).tolist() == [0, 1e8, 1e8]
    assert call("cumsum", x=f32(1, 2, 3), axis=0, exclusive=True, reverse=True).tolist() == [5, 3, 0]


def test_one_hot_ignores_indices_outside() -> None:
    found = call("one_hot", indices=np.array([2, -1, 9], np.int32), one_hot_vector_size=3, on_value=5.0, off_value=-1.0)
    assert found.tolist() == [[-1, -1, 5], [-1, -1, -1], [-1, -1, -1]]


def test_slice_update() -> None:
    found = call("slice_update", x=DATA, update=f32([9], [8]), begin=[0, 1], end=[2, 2])
    assert found.tolist() == [[1, 9, 3], [4, 8, 6]]
    strided = call("slice_update", x=DATA, update=f32([7, 8]), begin=[1, 0], end=[2, 3], stride=[1, 2])
    assert strided.tolist() == [[1, 2, 3], [7, 5, 8]]


def test_reshape_like() -> None:
    refs = [np.zeros((2, 3, 4)), np.zeros((1, 5, 6))]
    x = np.zeros((180,), np.float32)
    found = call("reshape_like", x=x, ref_tensors=refs, begins=[0, 1], ends=[2, 0], end_masks=[False, True])
    assert found.shape == (2, 3, 5, 6)


DRAWS: dict[str, tuple[dict[str, Any], float, float]] = {  # inputs, mean, standard deviation
    "random_uniform": ({"low": -1.0, "high": 3.0}, 1.0, 4 / 12**0.5),
    "random_normal": ({"mean": 2.0, "stddev": 0.5}, 2.0, 0.5),
    "random_bernoulli": ({"prob": 0.3}, 0.3, (0.3 * 0.7) ** 0.5),
}


@pytest.mark.parametrize(("op", "row"), DRAWS.items(), ids=DRAWS.keys())
def test_random_numbers_follow_their_distribution(op: str, row: tuple[dict[str, Any], float, float]) -> None:
    inputs, mean, deviation = row
    drawn = call(op, shape=[100, 400], seed=5, **inputs)
    assert drawn.mean() == pytest.approx(mean, abs=5 * deviation / 200)  # five standard errors of 40,000 draws
    assert drawn.std() == pytest.approx(deviation, rel=0.03)
    np.testing.assert_array_equal(drawn, call(op, shape=[100, 400], seed=5, **inputs))


def test_random_categories_follow_their_weights() -> None:
    drawn = call("random_categorical", x=np.log(f32([0.2, 0.5, 0.3])), size=40_000, seed=1)
    np.testing.assert_allclose([(drawn == i).mean() for i in range(3)], [0.2, 0.5, 0.3], atol=0.015)


def test_attention_is_torchs() -> None:
    q, k, v = normal(2, 3, 5, 8), normal(2, 3, 7, 8), normal(2, 3, 7, 4)
    mask = RNG.random((5, 7)) > 0.3
    mask[:, 0] = True
    for given_mask in (None, mask, normal(5, 7)):
        expected = F.scaled_dot_product_attention(
            *map(torch.from_numpy, (q, k, v)), attn_mask=None if given_mask is None else torch.from_numpy(given_mask)
        )
        found = call("scaled_dot_product_attention", query=q, key=k, value=v, attn_mask=given_mask)
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_lstm_clips_its_memory() -> None:
    big = np.full((4, 1), 100, np.float32)
    _, _, c = call(
        "lstm", outputs=3, x=np.ones((3, 1, 1), np.float32), initial_h=np.zeros((1, 1)), initial_c=np.zeros((1, 1)),
        weight_ih=big, weight_hh=np.zeros((4, 1)), clip=0.25,
    )  # fmt: skip
    assert c.item() == 0.25


def test_gru_resets_before_or_after_the_product() -> None:
    inputs = {
        "x": np.zeros((1, 1, 1), np.float32), "initial_h": f32([0.5]), "weight_ih": np.zeros((3, 1), np.float32),
        "weight_hh": np.ones((3, 1), np.float32), "bias": f32(0, 1, 0),
    }  # fmt: skip
    gate = 1 / (1 + np.exp(-0.5))
    before, after = np.tanh(gate * 0.5 + 1), np.tanh(gate * (0.5 + 1))
    for reset_after, new in ((False, before), (True, after)):
        _, h = call("gru", outputs=2, reset_after=reset_after, **inputs)
        assert h.item() == pytest.approx((1 - gate) * new + gate * 0.5, abs=1e-6)


# ---------------------------------------------------------------------------------------------------------------------
# Edges


def test_casts_to_integers_saturate_and_turn_nan_into_zero() -> None:
    given_values = f32(np.nan, np.inf, -np.inf, 3.99, -3.99, 300)
    assert call("cast", x=given_values, dtype="int8").tolist() == [0, 127, -128, 3, -3, 127]
    assert call("cast", x=f32(3e9, -3e9), dtype="int32").tolist() == [2**31 - 1, -(2**31)]


def test_gelu_of_huge_numbers_is_the_number() -> None:
    huge = f32(np.inf, 3e38, 2e30, 1, *[0] * 40)  # torch vectorises from some number of elements on
    found = call("gelu", x=huge)
    assert found[:3].tolist() == huge[:3].tolist()
    assert found[3] == pytest.approx(0.8413447, abs=1e-6)


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "tile_too_large": ("tile", {"x": DATA, "reps": [2**20, 2**20]}, "at most"),
    "fill_too_large": ("fill", {"shape": [2**16, 2**16]}, "at most"),
    "negative_side": ("fill", {"shape": [3, -1]}, "negative side"),
    "pad_too_large": ("pad", {"x": DATA, "pad": [2**30, 2**30, 0, 0]}, "at most"),
    "upsample_too_large": ("upsample_bilinear", {"x": IMAGE, "scale_factor_height": 1e9}, "at most"),
    "broadcast_too_large": ("add", {"x": np.zeros((2**15, 1)), "y": np.zeros((1, 2**15))}, "at most"),
    "endless_range": ("range_1d", {"start": f32(0)[0], "end": f32(5)[0], "step": f32(0)[0]}, "is endless"),
    "integer_division_by_zero": ("floor_div", {"x": np.int32(3), "y": np.int32(0)}, "division of integers by zero"),
    "gather_outside": ("gather", {"x": DATA, "indices": np.array([2], np.int32)}, "index 2 is outside an axis of 2"),
    "validated_negative_index": (
        "gather",
        {"x": DATA, "indices": np.array([-1], np.int32), "validate_indices": True},
        "index -1 is outside an axis of 2",
    ),
    "no_state_to_read": ("read_state", {"input": DATA}, "a state is needed; found a ndarray"),
    "no_state_to_write": ("write_state", {"input": DATA, "data": DATA}, "a state is needed; found a ndarray"),
    "unknown_mode": ("gelu", {"x": DATA, "mode": "FAST"}, "mode 'FAST' is not EXACT"),
    "unknown_sampling": ("resize_bilinear", {"x": IMAGE, "sampling_mode": "MIDDLE"}, "is not one of DEFAULT"),
    "initial_state_of_another_batch": (
        "rnn",
        {
            "x": normal(5, 3, 2), "initial_h": normal(7, 4), "weight_ih": normal(4, 2), "weight_hh": normal(4, 4),
        },
        "initial_h has shape [7, 4]; a batch of 3 needs [3, 4]",
    ),
    "initial_state_of_another_width": (
        "lstm",
        {
            "x": normal(5, 3, 2), "initial_h": normal(3, 4), "initial_c": normal(3, 5), "weight_ih": normal(16, 2),
            "weight_hh": normal(16, 4),
        },
        "initial_c has shape [3, 5]; a batch of 3 needs [3, 4]",
    ),
    "mirror_beyond_the_axis": ("pad", {"x": DATA, "pad": [3, 0], "mode": "reflect"}, "cannot be reflected"),
    "palette_index_beyond": (
        "constexpr_lut_to_dense",
        {"indices": np.array([[3]], np.uint8), "lut": f32([[[1], [2]]])},
        "index 3 is outside a table of 2",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("op", "inputs", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_refusals(op: str, inputs: dict[str, Any], words: str) -> None:
    with pytest.raises(ExecutionError) as caught:
        call(op, **inputs)
    assert words in str(caught.value)


BROADCASTS = st.lists(st.integers(1, 3), min_size=0, max_size=4)


@given(shape=BROADCASTS, ones=st.lists(st.booleans(), min_size=4, max_size=4), drop=st.integers(0, 4))
@settings(max_examples=60, deadline=None)
def test_broadcasting_gives_numpys_shape(shape: list[int], ones: list[bool], drop: int) -> None:
    other = [1 if one else side for side, one in zip(shape, ones, strict=False)][min(drop, len(shape)) :]
    x, y = np.ones(shape, np.float32), np.ones(other, np.float32)
    operators: dict[str, Callable[..., Any]] = {"add": np.add, "maximum": np.maximum, "less": np.less}
    for op, function in operators.items():
        assert call(op, x=x, y=y).shape == function(x, y).shape
