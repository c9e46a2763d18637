"""Decode weights as the `constexpr_*` operators are specified.

They are those of iOS16 to iOS18; only numpy is used.

Neither the code that writes packages nor the runtime is used, so what agrees with this agrees on its own. Arithmetic is
float64, in which products of stored integers and half-precision scales are exact; the caller rounds the result once.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping

import numpy as np

from ..weights import unpack_bits

MAX_ELEMENTS = 2**29  # of a decoded weight: a damaged package can declare any shape


def decode_operator(kind: str, parts: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    """The results of one operator, unrounded.

    Args:
        kind: such as `constexpr_lut_to_dense`.
        parts: its parameters, by name.
    Raises:
        ValueError: the operator is unknown, or its parameters do not fit together.
    """
    if kind not in DECODERS:
        raise ValueError(f"{kind} is not a known operator")
    try:
        bound = inspect.signature(DECODERS[kind]).bind(**parts)
    except TypeError as error:
        raise ValueError(f"its parameters are {', '.join(sorted(parts)) or 'missing'}: {error}") from error
    results = DECODERS[kind](*bound.args, **bound.kwargs)
    return results if isinstance(results, tuple) else (results,)


def affine_dequantize(
    quantized_data: np.ndarray, zero_point: np.ndarray, scale: np.ndarray, axis: np.ndarray
) -> np.ndarray:
    """scale · (q - zero_point), each a scalar or one value per element of an axis."""
    return (_wide(quantized_data) - along(zero_point, quantized_data, axis)) * along(scale, quantized_data, axis)


def along(values: np.ndarray, data: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """A scalar, or a vector along one axis of `data`, in float64 and a shape that broadcasts against it."""
    side = int(axis)
    if values.size == 1:
        return _wide(values).reshape([1] * data.ndim)
    if values.ndim != 1 or not -data.ndim <= side < data.ndim or values.size != data.shape[side]:
        raise ValueError(f"{values.size} scales or zero points do not match axis {side} of {list(data.shape)}")
    return _wide(values).reshape([-1 if i == side % data.ndim else 1 for i in range(data.ndim)])


def blockwise_shift_scale(data: np.ndarray, scale: np.ndarray, offset: np.ndarray | None = None) -> np.ndarray:
    """scale · (data - offset), one scale and offset for each block; the grid of scales divides data into blocks."""
    shifted = _wide(data) if offset is None else _wide(data) - spread(offset, data.shape)
    return shifted * spread(scale, data.shape)


def spread(coarse: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """One value per block as one per element, in float64."""
    check_grid(coarse.shape, shape)
    wide = _wide(coarse)
    for axis, (side, blocks) in enumerate(zip(shape, coarse.shape, strict=True)):
        wide = np.repeat(wide, side // blocks, axis=axis) if blocks not in (1, side) else wide
    return wide


def check_grid(blocks: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """Raise ValueError unless a grid of blocks divides a shape."""
    if len(blocks) != len(shape) or any(n == 0 or side % n for side, n in zip(shape, blocks, strict=True)):
        raise ValueError(f"blocks of {list(blocks)} do not divide a weight of {list(shape)}")


def lut_to_dense(
    indices: np.ndarray, lut: np.ndarray, shape: np.ndarray | None = None, vector_axis: np.ndarray | None = None
) -> np.ndarray:
    """Values of a table. iOS16: packed indices and one table; iOS18: indices, and a grid of tables of vectors."""
    if shape is None:
        return grouped_lookup(indices, lut, vector_axis)
    sides = _sides(shape)
    index = unpacked(indices, index_bits(lut.size), math.prod(sides))
    return lut[_checked(index, lut.size)].reshape(sides)


def index_bits(entries: int) -> int:
    """Bits of an index into a table of 2ᵇ values."""
    return max(1, entries.bit_length() - 1)


def grouped_lookup(indices: np.ndarray, lut: np.ndarray, vector_axis: np.ndarray | None) -> np.ndarray:
    """The values of (*D) indices in tables (*G, entries, V): each block of the grid G has its own table.

    The V values of an entry are placed next to each other along `vector_axis`.
    """
    if lut.ndim != indices.ndim + 2:
        raise ValueError(f"a table of shape {list(lut.shape)} does not match indices of {list(indices.shape)}")
    entries, width = lut.shape[-2:]
    check_grid(lut.shape[:-2], indices.shape)
    _claim((*indices.shape, width))
    tables = np.arange(math.prod(lut.shape[:-2]), dtype=np.float64).reshape(lut.shape[:-2])
    table = spread(tables, indices.shape).astype(np.int64)
    found = lut.reshape(-1, width)[table * entries + _checked(indices, entries)]
    if width == 1:
        return found[..., 0]
    return join_vectors(found, axis_of(vector_axis, indices.ndim))


def axis_of(vector_axis: np.ndarray | None, rank: int) -> int:
    """The axis of the vectors of a table, counted from the first. Raises ValueError if there is none."""
    if vector_axis is None or not -rank <= int(vector_axis) < rank:
        raise ValueError(f"a table of vectors needs a vector_axis below {rank}; found {vector_axis}")
    return int(vector_axis) % rank


def join_vectors(vectors: np.ndarray, axis: int) -> np.ndarray:
    """(*D, V) → D with V times as many elements along an axis."""
    moved = np.moveaxis(vectors, -1, axis + 1)
    return moved.reshape(*moved.shape[:axis], -1, *moved.shape[axis + 2 :])


def split_vectors(values: np.ndarray, axis: int, width: int) -> np.ndarray:
    """The inverse of `join_vectors`."""
    sides = values.shape
    split = values.reshape(*sides[:axis], sides[axis] // width, width, *sides[axis + 1 :])
    return np.moveaxis(split, axis + 1, -1)


def sparse_to_dense(nonzero_data: np.ndarray, mask: np.ndarray, shape: np.ndarray | None = None) -> np.ndarray:
    """The values where the mask is 1, in row-major order, and zeros elsewhere. In iOS16 the mask's bits are packed."""
    if shape is not None:
        sides = _sides(shape)
        mask = unpacked(mask, 1, math.prod(sides)).reshape(sides)
    places = mask != 0
    if int(places.sum()) != nonzero_data.size:
        raise ValueError(f"its mask has {int(places.sum())} ones for {nonzero_data.size} values")
    dense = np.zeros(mask.shape, nonzero_data.dtype)
    dense[places] = nonzero_data.ravel()
    return dense


def lut_to_sparse(
    indices_mask: np.ndarray,
    indices_nonzero_data: np.ndarray,
    lut: np.ndarray,
    vector_axis: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """(mask, nonzero values) of a table whose indices are stored where the mask is 1."""
    dense = grouped_lookup(sparse_to_dense(indices_nonzero_data, indices_mask), lut, vector_axis)
    mask = widened_mask(indices_mask, lut.shape[-1], vector_axis)
    return mask, dense[mask != 0]


def widened_mask(mask: np.ndarray, width: int, vector_axis: np.ndarray | None) -> np.ndarray:
    """The mask of the elements, from a mask of vectors of `width` elements."""
    return mask if width == 1 else np.repeat(mask, width, axis_of(vector_axis, mask.ndim))


def sparse_blockwise_shift_scale(
    data_mask: np.ndarray, nonzero_data: np.ndarray, scale: np.ndarray, offset: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(mask, nonzero values) of scale · (data - offset), where the mask is 1."""
    dense = blockwise_shift_scale(sparse_to_dense(nonzero_data, data_mask), scale, offset)
    return data_mask, dense[data_mask != 0]


def cast(source_val: np.ndarray, output_dtype: np.ndarray) -> np.ndarray:
    """A half-precision weight, to be read in another type."""
    return source_val


DECODERS: dict[str, Callable[..., np.ndarray | tuple[np.ndarray, ...]]] = {
    "constexpr_affine_dequantize": affine_dequantize,
    "constexpr_blockwise_shift_scale": blockwise_shift_scale,
    "constexpr_lut_to_dense": lut_to_dense,
    "constexpr_sparse_to_dense": sparse_to_dense,
    "constexpr_lut_to_sparse": lut_to_sparse,
    "constexpr_sparse_blockwise_shift_scale": sparse_blockwise_shift_scale,
    "constexpr_cast": cast,
}


def unpacked(raw: np.ndarray, bits: int, count: int) -> np.ndarray:
    """Unsigned integers of up to 8 bits from packed bytes, least significant bits first."""
    if raw.dtype != np.uint8 or raw.size != math.ceil(count * bits / 8):
        raise ValueError(f"{raw.size} packed bytes are not {count} elements of {bits} bits")
    return unpack_bits(raw, bits, count, signed=False) if bits < 8 else raw


def _wide(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float64)


def _sides(shape: np.ndarray) -> tuple[int, ...]:
    sides = tuple(int(side) for side in shape.ravel())
    _claim(sides)
    return sides


def _claim(sides: tuple[int, ...]) -> None:
    if math.prod(sides) > MAX_ELEMENTS:
        raise ValueError(f"it would have {math.prod(sides):,} elements; at most {MAX_ELEMENTS:,} are allowed")


def _checked(index: np.ndarray, entries: int) -> np.ndarray:
    if index.size and int(index.max()) >= entries:
        raise ValueError(f"index {int(index.max())} is outside a table of {entries}")
    return index.astype(np.int64)
