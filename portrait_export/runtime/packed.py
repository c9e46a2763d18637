"""Convolve with weights that are packed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ExecutionError
from .chunks import Step
from .kernels.conv import flat_padding, resolve_padding, spatial

FEWEST_OUTPUTS = 8  # channels; oneDNN computes blocks of 8 or 16, and fewer are slower than torch's own convolution


def can_pack() -> bool:
    """Whether this build of torch has oneDNN's convolution with packed weights. The operators are private to torch."""
    return torch.backends.mkldnn.is_available() and all(
        hasattr(torch.ops.mkldnn, name) for name in ("_convolution_pointwise", "_reorder_convolution_weight")
    )


@dataclass(frozen=True)
class PackedConv:
    """The `conv` kernel for one weight and one size of input; the result is in channels-last layout.

    An activation turns NaN into a number, so only a convolution whose result never is one takes it.

    Attributes:
        shape: of the input.
        result: the shape of the result.
        weight: packed by oneDNN.
        before: padding in the order of torch's pad, for what oneDNN cannot do: sides that differ.
        never_nan: whether no element of the result is NaN, whatever the inputs that the plan runs with.
        activation: oneDNN's name of a function of the result, and its parameters.
    """

    shape: tuple[int, ...]
    result: tuple[int, ...]
    weight: Tensor
    bias: Tensor | None
    before: list[int]
    padding: list[int]
    strides: list[int]
    dilations: list[int]
    groups: int
    never_nan: bool = False
    activation: tuple[str, tuple[float, ...]] = ("none", ())

    def with_activation(self, step: Step) -> PackedConv | None:
        """This convolution with an activation, before the rounding; None if oneDNN has no such function."""
        name, constants = step.operator, step.constants
        if not self.never_nan or self.activation[0] != "none":
            return None
        if name == "relu":
            return replace(self, activation=("relu", ()))
        if name == "relu6":
            return replace(self, activation=("hardtanh", (0.0, 6.0)))
        if name == "clip" and constants.keys() == {"alpha", "beta"} and constants["alpha"] <= constants["beta"]:
            return replace(self, activation=("hardtanh", (constants["alpha"], constants["beta"])))
        return None

    def __call__(self, x: Tensor) -> Tensor:
        if tuple(x.shape) != self.shape:
            raise ExecutionError(f"the input has shape {list(x.shape)}; {list(self.shape)} is declared")
        if any(self.before):
            x = F.pad(x, self.before)
        return torch.ops.mkldnn._convolution_pointwise(
            x.contiguous(memory_format=torch.channels_last),
            self.weight,
            self.bias,
            self.padding,
            self.strides,
            self.dilations,
            self.groups,
            self.activation[0],
            list(self.activation[1]),
            "",
        )


def pack_conv(
    shape: Sequence[int],
    weight: Tensor,
    bias: Tensor | None = None,
    strides: list[int] | None = None,
    pad_type: str = "valid",
    pad: list[int] | None = None,
    dilations: list[int] | None = None,
    groups: int = 1,
    never_nan: bool = False,
) -> PackedConv | None:
    """Pack the weight of a convolution; None for those that are faster or only possible otherwise, or not valid.

    Args:
        shape: of the input.
        weight, …: as the `conv` kernel takes them.
        never_nan: whether the input is finite and no sum overflows.
    """
    if not _fits(shape, weight, bias, groups):
        return None
    steps, spread = spatial(weight, "strides", strides), spatial(weight, "dilations", dilations)
    padding = resolve_padding(pad_type, pad, shape[2:], weight.shape[2:], steps, spread)
    sides = [
        (size + a + b - (k - 1) * d - 1) // s + 1
        for size, (a, b), k, d, s in zip(shape[2:], padding, weight.shape[2:], spread, steps, strict=True)
    ]
    if min(sides) < 1:
        return None
    result = (shape[0], weight.shape[0], *sides)
    if never_nan and weight.shape[1] == 1 and all(a <= b for a, b in padding) and spread == [1, 1]:
        weight, padding = _evened(weight, padding)
    even = all(a == b for a, b in padding)
    inner = [a for a, _ in padding] if even else [0, 0]
    sizes = list(shape) if even else [*shape[:2], *(n + a + b for n, (a, b) in zip(shape[2:], padding, strict=True))]
    settings = (inner, steps, spread, groups)
    arranged = weight.contiguous(memory_format=torch.channels_last)
    packed = torch.ops.mkldnn._reorder_convolution_weight(arranged, *settings, sizes)
    return PackedConv(
        tuple(shape), result, packed, bias, [] if even else flat_padding(padding), *settings, never_nan=never_nan
    )


def _fits(shape: Sequence[int], weight: Tensor, bias: Tensor | None, groups: int) -> bool:
    """Whether it is a valid convolution of two dimensions that is faster packed."""
    floats = all(value.dtype == torch.float32 for value in (weight, bias) if value is not None)
    if len(shape) != 4 or weight.ndim != 4 or not floats or 0 in (*shape, *weight.shape) or groups < 1:
        return False
    channels = weight.shape[0]
    fits = shape[1] == weight.shape[1] * groups and channels % groups == 0
    return fits and channels >= FEWEST_OUTPUTS and (bias is None or tuple(bias.shape) == (channels,))


def _evened(weight: Tensor, padding: list[tuple[int, int]]) -> tuple[Tensor, list[tuple[int, int]]]:
    """A weight that starts with zeros, and the same padding on both sides: the same sums, of finite numbers.

    Padding a copy of the input takes longer than the products with zero, where each channel has a filter of its own.
    """
    more = [(b - a, 0) for a, b in padding]
    return F.pad(weight, flat_padding(more)), [(b, b) for _, b in padding]
