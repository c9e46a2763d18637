"""Convolve with weights that are packed once, in the layout in which oneDNN is fastest: channels last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ExecutionError
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

    Attributes:
        shape: of the input.
        weight: packed by oneDNN.
        before: padding in the order of torch's pad, for what oneDNN cannot do: sides that differ.
    """

    shape: tuple[int, ...]
    weight: Tensor
    bias: Tensor | None
    before: list[int]
    padding: list[int]
    strides: list[int]
    dilations: list[int]
    groups: int

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
            "none",
            [],
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
) -> PackedConv | None:
    """Pack the weight of a convolution; None for those that are faster or only possible otherwise.

    Args:
        shape: of the input.
        weight, …: as the `conv` kernel takes them.
    """
    floats = all(value.dtype == torch.float32 for value in (weight, bias) if value is not None)
    if len(shape) != 4 or not floats or weight.shape[0] < FEWEST_OUTPUTS or 0 in (*shape, *weight.shape):
        return None
    x = torch.empty(list(shape), device="meta")
    steps, spread = spatial(x, "strides", strides), spatial(x, "dilations", dilations)
    padding = resolve_padding(pad_type, pad, shape[2:], weight.shape[2:], steps, spread)
    even = all(a == b for a, b in padding)
    inner = [a for a, _ in padding] if even else [0, 0]
    sizes = list(shape) if even else [*shape[:2], *(n + a + b for n, (a, b) in zip(shape[2:], padding, strict=True))]
    settings: tuple[Any, ...] = (inner, steps, spread, groups)
    arranged = weight.contiguous(memory_format=torch.channels_last)
    packed = torch.ops.mkldnn._reorder_convolution_weight(arranged, *settings, sizes)
    return PackedConv(tuple(shape), packed, bias, [] if even else flat_padding(padding), *settings)
