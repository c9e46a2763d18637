"""Compute operators on complex tensors as operators on pairs of real ones, which ONNX has.

    a + bi times c + di      (ac − bd) + (ad + bc)i
    Fourier transforms       F·x along each direction, F = cos − i·sin of 2π·jk/n
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

aten = torch.ops.aten


class Pair(NamedTuple):
    """A complex tensor."""

    re: Tensor
    im: Tensor


def as_pair(x: Any) -> Pair:
    """A real or complex tensor or number as a pair."""
    if isinstance(x, Pair):
        return x
    if isinstance(x, complex):
        return Pair(torch.tensor(x.real), torch.tensor(x.imag))
    if isinstance(x, Tensor) and x.is_complex():
        return Pair(x.real.contiguous(), x.imag.contiguous())
    real = x if isinstance(x, Tensor) else torch.tensor(float(x))
    return Pair(real, torch.zeros_like(real))


def mul(x: Any, y: Any) -> Pair:
    """x · y; a real factor scales both parts."""
    if not isinstance(x, (Pair, complex)) and not (isinstance(x, Tensor) and x.is_complex()):
        x, y = y, x
    a = as_pair(x)
    if isinstance(y, (int, float)) or (isinstance(y, Tensor) and not y.is_complex()):
        return Pair(a.re * y, a.im * y)
    b = as_pair(y)
    return Pair(a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re)


def div(x: Any, y: Any) -> Pair:
    """x / y = x · ȳ / |y|²."""
    if isinstance(y, (int, float)) or (isinstance(y, Tensor) and not y.is_complex()):
        return Pair(x.re / y, x.im / y)
    b = as_pair(y)
    size = b.re * b.re + b.im * b.im
    return mul(x, Pair(b.re / size, -b.im / size))


def add(x: Any, y: Any, *, alpha: float = 1) -> Pair:
    """x + alpha · y."""
    a, b = as_pair(x), as_pair(y)
    return Pair(a.re + alpha * b.re, a.im + alpha * b.im)


def sub(x: Any, y: Any, *, alpha: float = 1) -> Pair:
    """x - alpha · y."""
    return add(x, y, alpha=-alpha)


def fft_r2c(x: Tensor, dims: list[int], normalization: int, onesided: bool) -> Pair:
    """The transform of a real tensor; one-sided along the last of the dimensions: the first n // 2 + 1 elements."""
    size = _elements(x, dims)
    last = dims[-1]
    length = int(x.shape[last])
    pair = _along(x, last, *_waves(length, length // 2 + 1 if onesided else length))
    for dim in dims[:-1]:
        pair = _turn(pair, dim, forward=True)
    return _normalized(pair, normalization, size)


def fft_c2c(x: Any, dims: list[int], normalization: int, forward: bool) -> Pair:
    """The transform of a complex tensor, or the inverse one."""
    pair = as_pair(x)
    size = _elements(pair.re, dims)
    for dim in dims:
        pair = _turn(pair, dim, forward=forward)
    return _normalized(pair, normalization, size)


def fft_c2r(x: Any, dims: list[int], normalization: int, last_dim_size: int) -> Tensor:
    """The inverse transform to a real tensor from its one-sided half: each inner frequency counts twice."""
    pair = as_pair(x)
    size = last_dim_size * _elements(pair.re, dims[:-1])
    for dim in dims[:-1]:
        pair = _turn(pair, dim, forward=False)
    cosines, sines = _half_waves(last_dim_size)
    real = _product(pair.re, dims[-1], cosines) - _product(pair.im, dims[-1], sines)
    return _normalized(Pair(real, real), normalization, size).re


def _elements(x: Tensor, dims: list[int]) -> int:
    return math.prod(int(x.shape[dim]) for dim in dims)


def _normalized(pair: Pair, normalization: int, size: int) -> Pair:
    """ATen's normalizations: 0 none, 1 by √n, 2 by n."""
    if normalization == 0:
        return pair
    factor = 1 / math.sqrt(size) if normalization == 1 else 1 / size
    return Pair(pair.re * factor, pair.im * factor)


def _turn(pair: Pair, dim: int, *, forward: bool) -> Pair:
    length = int(pair.re.shape[dim])
    cosines, sines = _waves(length, length)
    sines = sines if forward else -sines
    a, b = _along(pair.re, dim, cosines, sines), _along(pair.im, dim, cosines, sines)
    return Pair(a.re - b.im, a.im + b.re)


def _along(x: Tensor, dim: int, cosines: Tensor, sines: Tensor) -> Pair:
    return Pair(_product(x, dim, cosines), _product(x, dim, sines))


def _product(x: Tensor, dim: int, matrix: Tensor) -> Tensor:
    """A matrix times a tensor along one dimension."""
    axis = dim % x.dim()
    if axis == x.dim() - 1:
        return torch.matmul(x, matrix.transpose(0, 1))
    if axis == x.dim() - 2:
        return torch.matmul(matrix, x)
    return torch.matmul(x.transpose(axis, -1), matrix.transpose(0, 1)).transpose(axis, -1)


@cache
def _waves(length: int, frequencies: int) -> tuple[Tensor, Tensor]:
    """cos and -sin of 2π·jk/n, (frequencies, length). Cached, so that a trace holds the numbers."""
    turns = torch.outer(torch.arange(frequencies), torch.arange(length)) % length
    angles = turns.double() * (2 * math.pi / length)
    return angles.cos().float(), (-angles.sin()).float()


@cache
def _half_waves(length: int) -> tuple[Tensor, Tensor]:
    """cos and sin of 2π·jk/n times how often each frequency of the half counts, (length, length // 2 + 1)."""
    half = length // 2 + 1
    turns = torch.outer(torch.arange(length), torch.arange(half)) % length
    angles = turns.double() * (2 * math.pi / length)
    weights = torch.full((half,), 2.0, dtype=torch.float64)
    weights[0] = 1
    if length % 2 == 0:
        weights[-1] = 1
    return (angles.cos() * weights).float(), (angles.sin() * weights).float()


def _view_as_complex(x: Tensor) -> Pair:
    return Pair(x.select(-1, 0), x.select(-1, 1))


COMPLEX: Mapping[str, Callable[..., Any]] = {
    "aten::_fft_r2c": fft_r2c,
    "aten::_fft_c2c": fft_c2c,
    "aten::_fft_c2r": fft_c2r,
    "aten::mul": mul,
    "aten::div": div,
    "aten::add": add,
    "aten::sub": sub,
    "aten::neg": lambda x: Pair(-x.re, -x.im),
    "aten::_conj": lambda x: Pair(x.re, -x.im),
    "aten::conj": lambda x: Pair(x.re, -x.im),
    "aten::abs": lambda x: torch.sqrt(x.re * x.re + x.im * x.im),
    "aten::real": lambda x: x.re,
    "aten::imag": lambda x: x.im,
    "aten::complex": Pair,
    "aten::view_as_real": lambda x: torch.stack(x, -1),
    "aten::view_as_complex": _view_as_complex,
}
ALWAYS = ("aten::_fft_r2c", "aten::complex", "aten::view_as_complex")  # make complex values of real ones
# Operators that move elements: done to each part.
MOVES = frozenset(
    f"aten::{name}"
    for name in (
        *("slice", "view", "reshape", "permute", "transpose", "cat", "stack", "squeeze", "unsqueeze", "expand"),
        *("select", "roll", "clone", "contiguous", "_unsafe_view", "alias", "flip", "repeat", "constant_pad_nd", "sum"),
        *("split", "chunk", "mean", "narrow", "detach", "_reshape_copy", "lift_fresh_copy", "resolve_conj"),
    )
)
