"""Round reference values to what a stored weight can hold.

It has its own scales, tables and mask.

What a package decodes to is compared with this: rounding to nearest must give it exactly, and error-compensated
rounding comes close. A wrong order of nibbles, axis, sign or table gives something else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..program import Operation
from ..types import TensorType
from ..weights import NUMPY_DTYPES
from .decode import along, axis_of, join_vectors, split_vectors, spread, unpacked
from .stored import StoredValues

_RANGES = {"int4": (-8, 7), "uint4": (0, 15), "int8": (-128, 127), "uint8": (0, 255)}
_CHUNK = 1 << 22  # distances to the vectors of a table that are held at a time


def nearest(values: StoredValues, op: Operation, reference: np.ndarray) -> np.ndarray:
    """The reference, in float64, rounded to the nearest values that an operation can decode to.

    Args:
        op: a const, or a decoder that `values.decode` can decode.
        reference: of the decoded shape.
    """
    wanted = reference.astype(np.float64)
    if op.type != "const":
        wanted = _nearest(values, op, wanted)
    kind = op.outputs[0][1]
    assert isinstance(kind, TensorType)
    with np.errstate(over="ignore"):
        return wanted.astype(NUMPY_DTYPES[kind.dtype])


def _nearest(values: StoredValues, op: Operation, wanted: np.ndarray) -> np.ndarray:
    parts = values.arrays(op)
    if op.type == "constexpr_affine_dequantize":
        data, axis = parts["quantized_data"], parts["axis"]
        scale, zero = along(parts["scale"], data, axis), along(parts["zero_point"], data, axis)
        return _on_grid(wanted, scale, zero, lambda codes: _codes(values, op, "quantized_data", codes))
    if op.type == "constexpr_blockwise_shift_scale":
        scale, zero = _block_grid(parts, wanted.shape)
        return _on_grid(wanted, scale, zero, lambda codes: _codes(values, op, "data", codes))
    if op.type == "constexpr_lut_to_dense":
        tables = parts["lut"].reshape(*[1] * wanted.ndim, -1, 1) if "shape" in parts else parts["lut"]
        return _in_tables(wanted, tables, parts.get("vector_axis"))
    if op.type == "constexpr_sparse_to_dense":
        return _sparse(values, op, parts, wanted)
    return wanted.astype(np.float16).astype(np.float64)  # constexpr_cast


def _on_grid(
    wanted: np.ndarray, scale: np.ndarray, zero: np.ndarray, codes: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    used = np.where(scale != 0, scale, 1)
    return np.where(scale != 0, (codes(wanted / used + zero) - zero) * scale, 0)


def _block_grid(parts: dict[str, np.ndarray], shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    scale = spread(parts["scale"], shape)
    return scale, spread(parts["offset"], shape) if "offset" in parts else np.zeros_like(scale)


def _codes(values: StoredValues, op: Operation, parameter: str, wanted: np.ndarray) -> np.ndarray:
    """The nearest integers; the nearest values of a table if the integers are stored in one themselves."""
    inner = values.parts(op)[parameter]
    if isinstance(inner, Operation):
        return _nearest(values, inner, wanted)
    return _integers(wanted, inner.type.dtype if isinstance(inner.type, TensorType) else "")


def _integers(wanted: np.ndarray, dtype: str) -> np.ndarray:
    return np.rint(wanted).clip(*_RANGES[dtype]) if dtype in _RANGES else wanted


def _sparse(values: StoredValues, op: Operation, parts: dict[str, np.ndarray], wanted: np.ndarray) -> np.ndarray:
    """Zeros where the mask is 0, and there alone."""
    mask = parts["mask"]
    if "shape" in parts:
        mask = unpacked(mask, 1, wanted.size).reshape(wanted.shape)
    inner = values.parts(op)["nonzero_data"]
    if isinstance(inner, Operation):
        wanted = _nearest_sparse(values, inner, wanted)
    return np.where(mask != 0, wanted, 0)


def _nearest_sparse(values: StoredValues, op: Operation, wanted: np.ndarray) -> np.ndarray:
    """As `_nearest`, for operators whose results are the nonzero values alone; the other elements are arbitrary."""
    parts = values.arrays(op)
    if op.type == "constexpr_lut_to_sparse":
        return _in_tables(wanted, parts["lut"], parts.get("vector_axis"))
    if op.type == "constexpr_sparse_blockwise_shift_scale":
        scale, zero = _block_grid(parts, wanted.shape)
        inner = values.parts(op)["nonzero_data"]
        if isinstance(inner, Operation):
            return _on_grid(wanted, scale, zero, lambda codes: _nearest_sparse(values, inner, codes))
        dtype = inner.type.dtype if isinstance(inner.type, TensorType) else ""
        return _on_grid(wanted, scale, zero, lambda codes: _integers(codes, dtype))
    return _nearest(values, op, wanted)


def _in_tables(wanted: np.ndarray, lut: np.ndarray, vector_axis: np.ndarray | None) -> np.ndarray:
    """The nearest entries of (*G, entries, V) tables, each for its own block of the weight."""
    tables, width = lut.astype(np.float64), lut.shape[-1]
    axis = axis_of(vector_axis, wanted.ndim) if width > 1 else 0
    split = split_vectors(wanted, axis, width) if width > 1 else wanted[..., None]
    found = np.empty_like(split)
    for place, block in blocks(lut.shape[:-2], split.shape[:-1]):
        vectors = split[block].reshape(-1, width)
        table = tables[place]
        chosen = _nearest_numbers(vectors[:, 0], table[:, 0]) if width == 1 else _nearest_vectors(vectors, table)
        found[block] = chosen.reshape(split[block].shape)
    return join_vectors(found, axis) if width > 1 else found[..., 0]


def blocks(grid: tuple[int, ...], shape: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
    """The places of a grid, and the part of a shape that each stands for."""
    sides = [side // count for side, count in zip(shape, grid, strict=True)]
    for place in np.ndindex(*grid):
        yield place, tuple(slice(i * side, (i + 1) * side) for i, side in zip(place, sides, strict=True))


def _nearest_numbers(wanted: np.ndarray, table: np.ndarray) -> np.ndarray:
    ordered = np.sort(table)
    return ordered[np.searchsorted((ordered[1:] + ordered[:-1]) / 2, wanted)]


def _nearest_vectors(wanted: np.ndarray, table: np.ndarray) -> np.ndarray:
    found = np.empty_like(wanted)
    rows = max(1, _CHUNK // table.size)
    for first in range(0, len(wanted), rows):
        part = wanted[first : first + rows]
        distances = ((part[:, None, :] - table[None]) ** 2).sum(axis=-1)
        found[first : first + rows] = table[distances.argmin(axis=1)]
    return found
