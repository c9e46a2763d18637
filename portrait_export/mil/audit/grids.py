"""Find the scale and the table that each value of a weight is decoded with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..program import Operation
from .decode import along, axis_of, index_bits, sparse_to_dense, split_vectors, spread, unpacked
from .stored import StoredValues

FINE = 256  # entries of a table
EVEN = (
    0.75  # smallest distance between entries over the largest: 0.85 where coremltools computes them in half precision
)

Parts = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Scales:
    """The scales of one step of decoding.

    Attributes:
        scales: (G,) float64.
        least: the smallest number of their float type.
        block: which scale each value has, of the weight's shape.
        codes: what the scales are applied to, of the weight's shape: integers beside their zero points, or values of a
            table.
        zeros: of the weight's shape; None if no offset is stored.
    """

    scales: np.ndarray
    least: float
    block: np.ndarray
    codes: np.ndarray
    zeros: np.ndarray | None


@dataclass(frozen=True)
class Tables:
    """The tables of a step of decoding.

    Attributes:
        tables: (G, entries, V).
        block: which table each vector has, of the shape of the indices.
        index: of the same shape.
        axis: of the vectors in the weight.
    """

    tables: np.ndarray
    block: np.ndarray
    index: np.ndarray
    axis: int

    def split(self, values: np.ndarray) -> np.ndarray:
        """The vectors (*D, V) of an array of the weight's shape."""
        width = self.tables.shape[-1]
        return split_vectors(values, self.axis, width) if width > 1 else values[..., None]


def scales_of(step: Operation, parts: Parts, shape: tuple[int, ...]) -> Scales:
    """The scales of a step that has some, for a weight of a shape."""
    scale = parts["scale"]
    block, zeros = _blocks_of_scales(step, parts, shape)
    sparse = step.type == "constexpr_sparse_blockwise_shift_scale"
    codes = sparse_to_dense(parts["nonzero_data"], parts["data_mask"]) if sparse else _data(parts)
    return Scales(
        scale.ravel().astype(np.float64),
        float(np.finfo(scale.dtype).smallest_subnormal),
        block,
        codes.astype(np.float64) - (0 if zeros is None else zeros),
        zeros,
    )


def _data(parts: Parts) -> np.ndarray:
    return parts["quantized_data"] if "quantized_data" in parts else parts["data"]


def _blocks_of_scales(step: Operation, parts: Parts, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray | None]:
    """Which scale each value has, and its zero point."""
    numbers = np.arange(parts["scale"].size, dtype=np.float64).reshape(parts["scale"].shape)
    if step.type == "constexpr_affine_dequantize":
        found = [along(array, _data(parts), parts["axis"]) for array in (numbers, parts["zero_point"])]
    else:
        found = [spread(array, shape) for array in (numbers, *([parts["offset"]] if "offset" in parts else []))]
    block, *zeros = (np.broadcast_to(array, shape) for array in found)
    return block.astype(np.int64), zeros[0] if zeros else None


def tables_of(step: Operation, parts: Parts, shape: tuple[int, ...]) -> Tables:
    """The tables of a step that has some, for a weight of a shape."""
    lut, axis = parts["lut"], 0
    if "shape" in parts:
        index = unpacked(parts["indices"], index_bits(lut.size), math.prod(shape)).reshape(shape)
        lut = lut.reshape(*[1] * len(shape), -1, 1)
    elif step.type == "constexpr_lut_to_sparse":
        index = sparse_to_dense(parts["indices_nonzero_data"], parts["indices_mask"])
    else:
        index = parts["indices"]
    if lut.shape[-1] > 1:
        axis = axis_of(parts.get("vector_axis"), index.ndim)
    grid = lut.shape[:-2]
    block = spread(np.arange(math.prod(grid), dtype=np.float64).reshape(grid), index.shape)
    block = np.broadcast_to(block, index.shape).astype(np.int64)
    return Tables(lut.reshape(-1, *lut.shape[-2:]).astype(np.float64), block, index.astype(np.int64), axis)


@dataclass(frozen=True)
class Layout:
    """How the values of a weight are rounded: in vectors of V, each with the others of its block.

    Attributes:
        block: (vectors,), which scale or table each has.
        tables: that the vectors are from; None if they are no vectors but single values.
    """

    block: np.ndarray
    tables: Tables | None = None

    @property
    def fine_and_even(self) -> bool:
        """Whether the values are those of tables of at least 256 values at equal distances, but for half precision."""
        if self.tables is None or self.tables.tables.shape[-1] > 1 or self.tables.tables.shape[-2] < FINE:
            return False
        steps = np.diff(np.sort(self.tables.tables[..., 0], axis=-1), axis=-1)
        return bool((steps.min(axis=-1) > EVEN * steps.max(axis=-1)).all())

    def rows(self, values: np.ndarray) -> np.ndarray:
        """An array of the weight's shape as (vectors, V)."""
        split = values if self.tables is None else self.tables.split(values)
        return split.reshape(len(self.block), -1)


def layout_of(values: StoredValues, op: Operation, shape: tuple[int, ...]) -> Layout:
    """How a weight of a shape is rounded; all of it is one block if it has neither scales nor tables."""
    for step in values.chain(op) if op.type != "const" else ():
        parts = values.arrays(step)
        if "scale" in parts:
            return Layout(_blocks_of_scales(step, parts, shape)[0].ravel())
        if "lut" in parts:
            tables = tables_of(step, parts, shape)
            return Layout(tables.block.ravel(), tables)
    return Layout(np.zeros(math.prod(shape), np.int64))
