"""Compute operators on complex tensors as operators on pairs of real ones, which ONNX has.

a + bi times c + di      (ac − bd) + (ad + bc)i
Fourier transforms       F·x along each direction, F = cos − i·sin of 2π·jk/n, normalized
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
        return Pair(torch.tensor(x.real), torch.tensor(x.imag))  # numbers, not operators, in a trace too
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
    length = int(x.shape[dims[-1]])
    kept = length // 2 + 1 if onesided else length
    pair = _along(x, dims[-1], _waves(length, kept, normalization), sign=1)
    for dim in dims[:-1]:
        pair = _turn(pair, dim, normalization, sign=1)
    return pair


def fft_c2c(x: Any, dims: list[int], normalization: int, forward: bool) -> Pair:
    """The transform of a complex tensor, or the inverse one."""
    pair = as_pair(x)
    for dim in dims:
        pair = _turn(pair, dim, normalization, sign=1 if forward else -1)
    return pair


def fft_c2r(x: Any, dims: list[int], normalization: int, last_dim_size: int) -> Tensor:
    """The inverse transform to a real tensor from its one-sided half: each inner frequency counts twice."""
    pair = as_pair(x)
    for dim in dims[:-1]:
        pair = _turn(pair, dim, normalization, sign=-1)
    cosines, sines = _half_waves(int(last_dim_size), normalization)
    half = int(last_dim_size) // 2 + 1
    re, im = (part.narrow(dims[-1], 0, half) for part in pair)
    return _product(re, dims[-1], cosines) - _product(im, dims[-1], sines)


def _turn(pair: Pair, dim: int, normalization: int, *, sign: int) -> Pair:
    length = int(pair.re.shape[dim])
    waves = _waves(length, length, normalization)
    a, b = _along(pair.re, dim, waves, sign=sign), _along(pair.im, dim, waves, sign=sign)
    return Pair(a.re - b.im, a.im + b.re)


def _along(x: Tensor, dim: int, waves: tuple[Tensor, Tensor], *, sign: int) -> Pair:
    cosines, sines = waves
    return Pair(_product(x, dim, cosines), _product(x, dim, -sines if sign > 0 else sines))


def _product(x: Tensor, dim: int, matrix: Tensor) -> Tensor:
    """A matrix times a tensor along one dimension."""
    axis = dim % x.dim()
    if axis == x.dim() - 1:
        return torch.matmul(x, matrix.transpose(0, 1))
    if axis == x.dim() - 2:
        return torch.matmul(matrix, x)
    return torch.matmul(x.transpose(axis, -1), matrix.transpose(0, 1)).transpose(axis, -1)


def _factor(length: int, normalization: int) -> float:
    """ATen's normalizations: 0 none, 1 by √n, 2 by n. Done along each direction, so that no sum overflows in half."""
    return (1.0, 1 / math.sqrt(length), 1 / length)[normalization]


@cache
def _waves(length: int, frequencies: int, normalization: int) -> tuple[Tensor, Tensor]:
    """cos and sin of 2π·jk/n, normalized, (frequencies, length). Cached, so that a trace holds the numbers."""
    turns = torch.outer(torch.arange(frequencies), torch.arange(length)) % length
    angles = turns.double() * (2 * math.pi / length)
    factor = _factor(length, normalization)
    return (angles.cos() * factor).float(), (angles.sin() * factor).float()


@cache
def _half_waves(length: int, normalization: int) -> tuple[Tensor, Tensor]:
    """The same, times how often each frequency of the half counts, (length, length // 2 + 1)."""
    weights = torch.full((length // 2 + 1,), 2.0)
    weights[0] = 1
    if length % 2 == 0:
        weights[-1] = 1
    cosines, sines = _waves(length, length // 2 + 1, normalization)
    return (cosines.transpose(0, 1) * weights).contiguous(), (sines.transpose(0, 1) * weights).contiguous()


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
