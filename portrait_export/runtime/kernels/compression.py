"""Decompress weights (`constexpr_*` of iOS16 to iOS18); quantize and dequantize activations."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ...errors import ExecutionError
from ...mil.weights import unpack_bits
from ..dtypes import INTEGERS
from ..limits import claim
from ..registry import kernel


def _along(values: Tensor, x: Tensor, axis: int | None) -> Tensor:
    """Reshape a scalar, or a vector with one value per element of an axis, to broadcast against x."""
    if values.numel() == 1:
        return values.reshape([1] * x.ndim)
    if axis is None:
        raise ExecutionError("a vector of scales needs an axis")
    if values.ndim != 1 or not -x.ndim <= axis < x.ndim or values.numel() != x.shape[axis]:
        raise ExecutionError(f"{values.numel()} scales do not match axis {axis} of {list(x.shape)}")
    return values.reshape([-1 if i == axis % x.ndim else 1 for i in range(x.ndim)])


@kernel("constexpr_affine_dequantize")
def constexpr_affine_dequantize(quantized_data: Tensor, zero_point: Tensor, scale: Tensor, axis: int) -> Tensor:
    """scale·(q − zero_point), with one scale and zero point, or one per element of an axis."""
    shifted = quantized_data.float() - _along(zero_point.float(), quantized_data, axis)
    return shifted * _along(scale, quantized_data, axis)


def _blocks(values: Tensor, x: Tensor) -> Tensor:
    """Repeat the values of a coarse grid to x's shape. Each side of x must be a multiple of the grid's."""
    if values.ndim != x.ndim or any(n == 0 or size % n for size, n in zip(x.shape, values.shape, strict=True)):
        raise ExecutionError(f"a grid of {list(values.shape)} does not divide {list(x.shape)}")
    for axis, (size, n) in enumerate(zip(x.shape, values.shape, strict=True)):
        if n not in (1, size):
            values = values.repeat_interleave(size // n, axis)
    return values


@kernel("constexpr_blockwise_shift_scale")
def constexpr_blockwise_shift_scale(data: Tensor, scale: Tensor, offset: Tensor | None = None) -> Tensor:
    """scale·(data − offset), one scale and offset per block; a block's size is data's side over scale's."""
    values = data.float()
    if offset is not None:
        values = values - _blocks(offset.float(), data)
    return values * _blocks(scale, data)


@kernel("constexpr_cast")
def constexpr_cast(source_val: Tensor, output_dtype: str) -> Tensor:
    """Convert a half-precision weight to float32."""
    return source_val.clone()


def _unpacked(packed: Tensor, bits: int, count: int) -> Tensor:
    raw = packed.cpu().numpy().astype(np.uint8)
    if raw.size * 8 < count * bits:
        raise ExecutionError(f"{raw.size} bytes do not hold {count} values of {bits} bits")
    values = unpack_bits(raw, bits, count, signed=False) if bits < 8 else raw[:count]
    return torch.from_numpy(values.copy()).to(packed.device)


@kernel("constexpr_lut_to_dense", exact=True)
def constexpr_lut_to_dense(
    indices: Tensor, lut: Tensor, shape: list[int] | None = None, vector_axis: int | None = None
) -> Tensor:
    """Look up indices in a table.

    iOS16: `indices` is packed, `lut` (2ᵇ,), and `shape` is the result's. iOS18: indices (*D), lut (*G, 2ᵇ, V): the
    grid G divides D into blocks with one table each, and the V values of an entry are placed along `vector_axis`.
    """
    if shape is not None:
        claim(shape)
        bits = max(1, lut.numel().bit_length() - 1)  # log2 of the table's length
        flat = _unpacked(indices, bits, math.prod(shape)).long()
        return _looked_up(lut, flat).reshape(shape)
    return _grouped_lookup(indices, lut, vector_axis)


def _looked_up(table: Tensor, index: Tensor) -> Tensor:
    if index.numel() and int(index.max()) >= table.shape[0]:
        raise ExecutionError(f"index {int(index.max())} is outside a table of {table.shape[0]}")
    return table[index]


def _grouped_lookup(indices: Tensor, lut: Tensor, vector_axis: int | None) -> Tensor:
    if lut.ndim != indices.ndim + 2:
        raise ExecutionError(f"a table of {lut.ndim} dimensions does not match indices of {indices.ndim}")
    entries, width = lut.shape[-2:]
    grid = torch.arange(math.prod(lut.shape[:-2]), device=lut.device).reshape(lut.shape[:-2])
    table = _blocks(grid, indices)  # the table that each index refers to
    index = indices.long()
    if index.numel() and int(index.max()) >= entries:
        raise ExecutionError(f"index {int(index.max())} is outside a table of {entries}")
    claim([*indices.shape, width])
    values = lut.reshape(-1, width)[table * entries + index]  # (*D, V)
    if width == 1:
        return values.squeeze(-1)
    if vector_axis is None:
        raise ExecutionError(f"a table with {width} values per entry needs a vector_axis")
    axis = vector_axis % indices.ndim
    return values.movedim(-1, axis + 1).flatten(axis, axis + 1)


@kernel("constexpr_sparse_to_dense", exact=True)
def constexpr_sparse_to_dense(nonzero_data: Tensor, mask: Tensor, shape: list[int] | None = None) -> Tensor:
    """Put the values where the mask is 1, in row-major order; zeros elsewhere. In iOS16 the mask's bits are packed."""
    if shape is not None:
        claim(shape)
        mask = _unpacked(mask, 1, math.prod(shape)).reshape(shape)
    places = mask != 0
    if int(places.sum()) != nonzero_data.numel():
        raise ExecutionError(f"the mask has {int(places.sum())} ones for {nonzero_data.numel()} values")
    dense = torch.zeros(mask.shape, dtype=nonzero_data.dtype, device=mask.device)
    dense[places] = nonzero_data.flatten()
    return dense


@kernel("constexpr_lut_to_sparse", exact=True)
def constexpr_lut_to_sparse(
    indices_mask: Tensor, indices_nonzero_data: Tensor, lut: Tensor, vector_axis: int | None = None
) -> tuple[Tensor, Tensor]:
    """Look up only the nonzero entries: (mask of the result, its nonzero values)."""
    indices = constexpr_sparse_to_dense(indices_nonzero_data, indices_mask)
    values = _grouped_lookup(indices, lut, vector_axis)
    mask = indices_mask
    if lut.shape[-1] > 1 and vector_axis is not None:
        mask = indices_mask.repeat_interleave(lut.shape[-1], vector_axis)
    return mask, values[mask != 0]


@kernel("constexpr_sparse_blockwise_shift_scale")
def constexpr_sparse_blockwise_shift_scale(
    data_mask: Tensor, nonzero_data: Tensor, scale: Tensor, offset: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """scale·(data − offset) of only the nonzero entries: (mask, nonzero values)."""
    values = constexpr_blockwise_shift_scale(constexpr_sparse_to_dense(nonzero_data, data_mask), scale, offset)
    return data_mask, values[data_mask != 0]


# ---------------------------------------------------------------------------------------------------------------------
# Activations (iOS17)


@kernel("quantize", exact=True)
def quantize(
    input: Tensor, scale: Tensor, output_dtype: str, zero_point: Tensor | None = None, axis: int | None = None
) -> Tensor:
    """clip(round(x / scale) + zero_point), ties to even."""
    if output_dtype not in INTEGERS:
        raise ExecutionError(f"output_dtype {output_dtype!r} is not an integer type")
    carrier, low, high = INTEGERS[output_dtype]
    values = torch.round(input / _along(scale, input, axis))
    if zero_point is not None:
        values = values + _along(zero_point.float(), input, axis)
    return torch.nan_to_num(values, nan=0.0).clamp(low, high).to(carrier)


@kernel("dequantize")
def dequantize(input: Tensor, scale: Tensor, zero_point: Tensor | None = None, axis: int | None = None) -> Tensor:
    """scale·(q − zero_point)."""
    values = input.float()
    if zero_point is not None:
        values = values - _along(zero_point.float(), input, axis)
    return values * _along(scale, input, axis)
