"""Sum x xᵀ over the inputs x of layers while a program runs.

Error-compensated rounding of weights needs it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..mil.program import Function, Operation, Reference
from ..mil.types import TensorType
from ..mil.values import Values

POSITIONS = 2048  # of an image or sequence that count, evenly spread: more do not change the sum's shape
MOST_INPUTS = 4096  # a larger layer's matrix would need more than 128 MB


@dataclass(frozen=True)
class Window:
    """How a convolution cuts its input into columns."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[int, int, int, int]  # left, right, top, bottom


class Hessians:
    """A hook for `CoreMLProgram.predict`.

    Attributes:
        sums: (inputs, inputs) float64 by the weight's name, of all photographs so far; a weight that several layers
            share has the sum over all of them.
    """

    def __init__(self, function: Function, readers: Mapping[str, Iterable[tuple[Operation, str]]]):
        """
        Args:
            readers: the operators that read each weight, with the parameter that holds it.
        """
        self._values = Values.of(function.inputs, function.block)
        self._jobs: dict[str, dict[Window | None, list[str]]] = {}
        self.sums: dict[str, np.ndarray] = {}
        for weight, uses in readers.items():
            places = [self._place(operation, parameter) for operation, parameter in uses]
            if None not in places:
                for place in places:
                    assert place is not None
                    name, window = place
                    self._jobs.setdefault(name, {}).setdefault(window, []).append(weight)

    def __call__(self, name: str, value: Any) -> None:
        """Add a computed value, if a layer reads it."""
        if not isinstance(value, Tensor):
            return
        for window, weights in self._jobs.get(name, {}).items():
            columns = _columns(value.float(), window)
            product = (columns.T @ columns).double().numpy()
            for weight in weights:
                self.sums[weight] = self.sums[weight] + product if weight in self.sums else product

    def _place(self, operation: Operation, parameter: str) -> tuple[str, Window | None] | None:
        """The input's name and how it is cut; None if the layer's sum is not collected."""
        x = operation.inputs.get("x", ())
        if len(x) != 1 or not isinstance(x[0], Reference):
            return None
        weight = self._values.input_types(operation, parameter)[0]
        shape = weight.shape if isinstance(weight, TensorType) else ()
        if operation.type == "linear":
            return (x[0].name, None) if (shape[1] or 0) <= MOST_INPUTS else None
        if operation.type == "matmul":
            flips = self._values.numbers(operation, "transpose_x") + self._values.numbers(operation, "transpose_y")
            plain = parameter == "y" and not any(flips) and len(shape) == 2 and (shape[0] or 0) <= MOST_INPUTS
            return (x[0].name, None) if plain else None
        if (
            operation.type == "conv"
            and isinstance(weight, TensorType)
            and len(shape) == 4
            and (weight.count or 0) <= MOST_INPUTS * (shape[0] or 1)
        ):
            window = self._window(operation, (shape[2] or 1, shape[3] or 1))
            return None if window is None else (x[0].name, window)
        return None

    def _window(self, operation: Operation, kernel: tuple[int, int]) -> Window | None:
        numbers = self._values.numbers
        if (numbers(operation, "groups") or (1,))[0] != 1:
            return None
        stride, dilation = (numbers(operation, name) or (1, 1) for name in ("strides", "dilations"))
        kind, pad = self._values.text(operation, "pad_type") or "valid", numbers(operation, "pad")
        if kind == "custom" and len(pad) == 4:
            top, bottom, left, right = pad
        elif kind == "valid" or (kind == "custom" and not pad):
            top = bottom = left = right = 0
        else:
            return None
        return Window(kernel, (stride[0], stride[1]), (dilation[0], dilation[1]), (left, right, top, bottom))


def _columns(x: Tensor, window: Window | None) -> Tensor:
    """(positions, inputs): each row is what one output position multiplies the weight with."""
    if window is None:
        return _spread(x.reshape(-1, x.shape[-1]))
    padded = torch.nn.functional.pad(x, window.padding)
    if window.kernel == (1, 1):
        cut = padded[:, :, :: window.stride[0], :: window.stride[1]].flatten(2)
    else:
        cut = torch.nn.functional.unfold(padded, window.kernel, dilation=window.dilation, stride=window.stride)
    return _spread(cut.transpose(1, 2).reshape(-1, cut.shape[1]))


def _spread(rows: Tensor) -> Tensor:
    """About `POSITIONS` rows, by an odd step: an even one would meet the same few columns in each line of an image."""
    return rows[:: max(1, rows.shape[0] // POSITIONS) | 1]
