"""Arrange a weight as a matrix, one row per output channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Layer:
    """A weight and the operators that use it.

    Attributes:
        name: of the constant.
        shape: of the constant.
        operators: types of the operators that read it, in order, without repetition.
        grouped: whether a convolution reads a part of the input channels for each output channel.
        edge: whether no other layer lies between an operator and the program's input, or its output.
        transposed: whether output channels are the last axis (the second factor of a matmul), not the first.
        small: whether it is one of the smallest weights, whose bits hardly change the size of a package.
        light: whether it is an edge that half precision hardly makes larger: recipes leave it as it is.
    """

    name: str
    shape: tuple[int, ...]
    operators: tuple[str, ...]
    grouped: bool = False
    edge: bool = False
    transposed: bool = False
    small: bool = False
    light: bool = False

    @property
    def elements(self) -> int:
        """How many there are."""
        return int(np.prod(self.shape))

    @property
    def block_unit(self) -> int:
        """Columns of the matrix that belong to one input: the elements of a convolution's kernel."""
        return int(np.prod(self.shape[2:])) if not self.transposed and len(self.shape) > 2 else 1

    def matrix(self, weight: np.ndarray) -> np.ndarray:
        """The (outputs, inputs) float64 matrix of a weight."""
        rows = np.moveaxis(weight, -1, 0) if self.transposed else weight
        return rows.reshape(rows.shape[0], -1).astype(np.float64)

    def along_outputs(self, scales: np.ndarray) -> np.ndarray:
        """(outputs,) or (outputs, blocks) scales along the weight's own axes: (outputs, blocks, 1, 1), for example."""
        rows = scales.reshape(len(scales), -1)
        if self.transposed:
            return np.ascontiguousarray(rows.T).reshape(*[1] * (len(self.shape) - 2), *rows.T.shape)
        return rows.reshape(*rows.shape, *[1] * (len(self.shape) - 2))

    def restore(self, matrix: np.ndarray) -> np.ndarray:
        """A matrix of any type in the weight's own shape."""
        if not self.transposed:
            return matrix.reshape(self.shape)
        return np.ascontiguousarray(np.moveaxis(matrix.reshape(self.shape[-1], *self.shape[:-1]), 0, -1))
