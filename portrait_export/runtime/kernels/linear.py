"""Matrix products: linear, matmul, einsum and attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import ExecutionError
from ..dtypes import widest
from ..limits import broadcast, claim
from ..registry import kernel


def _one_type(*values: Tensor) -> list[Tensor]:
    """Convert to float32 if any value is float, else to double: exact to 2**53 and far faster than integer matmul."""
    mixed = any(value.dtype == torch.float32 for value in values)
    wide = torch.float32 if mixed else widest(values[0].device)
    return [value.to(wide) for value in values]


@kernel("linear")
def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x: (*B, D_in), weight: (D_out, D_in), bias: (D_out,) → (*B, D_out): x·Wᵀ + b."""
    claim([*x.shape[:-1], weight.shape[0]])
    return F.linear(*_one_type(x, weight, *([] if bias is None else [bias])))


@kernel("matmul")
def matmul(x: Tensor, y: Tensor, transpose_x: bool = False, transpose_y: bool = False) -> Tensor:
    """x·y over the last two axes; the other axes broadcast. Vectors are handled like in numpy's matmul."""
    if transpose_x and x.ndim > 1:
        x = x.transpose(-1, -2)
    if transpose_y and y.ndim > 1:
        y = y.transpose(-1, -2)
    if x.ndim > 1 and y.ndim > 1:
        claim([*broadcast(x.shape[:-2], y.shape[:-2]), x.shape[-2], y.shape[-1]])
    return torch.matmul(*_one_type(x, y))


@kernel("einsum")
def einsum(values: list[Tensor], equation: str) -> Tensor:
    """Einstein summation, such as `bnqd,bnkd->bnqk`: sums over the letters that are not in the result."""
    terms = equation.replace(" ", "").split("->")
    sizes: dict[str, int] = {}
    for term, value in zip(terms[0].split(","), values, strict=True):
        sizes.update(zip(term, value.shape, strict=False))
    if len(terms) == 2:
        claim(sizes.get(letter, 1) for letter in terms[1])
    return torch.einsum(equation, *_one_type(*values))


@kernel("scaled_dot_product_attention")
def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    """softmax(Q·Kᵀ/√E + M)·V. query: (B, *?, L, E), key: (B, *?, S, E), value: (B, *?, S, E_v) → (B, *?, L, E_v).

    A float mask is added; a boolean mask excludes the positions where it is False.
    """
    if query.ndim != key.ndim or key.ndim != value.ndim or query.ndim < 3:
        raise ExecutionError("query, key and value must have the same number of dimensions, at least 3")
    claim([*query.shape[:-1], key.shape[-2]])
    scores = torch.matmul(query / query.shape[-1] ** 0.5, key.transpose(-1, -2))
    if attn_mask is not None:
        excluded = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, -torch.inf) if excluded else scores + attn_mask
    return torch.matmul(torch.softmax(scores, -1), value)
