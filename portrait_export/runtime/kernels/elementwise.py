"""Elementwise arithmetic, comparison and logic."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...errors import ExecutionError
from ..dtypes import CARRIERS, convert, widest
from ..limits import broadcast, claim
from ..registry import kernel

# ---------------------------------------------------------------------------------------------------------------------
# One input. Operators whose results are integers or copies need no rounding.

_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "acos": torch.acos,
    "asin": torch.asin,
    "atan": torch.atan,
    "atanh": torch.atanh,
    "cos": torch.cos,
    "cosh": torch.cosh,
    "erf": torch.erf,
    "exp": torch.exp,
    "sin": torch.sin,
    "sinh": torch.sinh,
    "sqrt": torch.sqrt,
    "square": torch.square,
    "tan": torch.tan,
    "tanh": torch.tanh,
}
_UNARY_EXACT: dict[str, Callable[[Tensor], Tensor]] = {
    "abs": torch.abs,
    "logical_not": torch.logical_not,
}


def _register_unary(name: str, function: Callable[[Tensor], Tensor], exact: bool) -> None:
    def unary(x: Tensor) -> Tensor:
        return function(x)

    unary.__name__ = unary.__qualname__ = name
    unary.__doc__ = f"{name}(x), elementwise."
    kernel(name, exact=exact)(unary)


for _name, _function in _UNARY.items():
    _register_unary(_name, _function, exact=False)
for _name, _function in _UNARY_EXACT.items():
    _register_unary(_name, _function, exact=True)


@kernel("sign", exact=True)
def sign(x: Tensor) -> Tensor:
    """−1, 0 or 1; NaN stays NaN."""
    return torch.where(x != x, x, torch.sign(x))


@kernel("ceil", exact=True)
def ceil(x: Tensor) -> Tensor:
    """The smallest integer that is at least x."""
    return torch.ceil(x)


@kernel("floor", exact=True)
def floor(x: Tensor) -> Tensor:
    """The largest integer that is at most x."""
    return torch.floor(x)


@kernel("round", exact=True)
def round_(x: Tensor) -> Tensor:
    """The nearest integer, ties to even."""
    return torch.round(x)


@kernel("exp2")
def exp2(x: Tensor) -> Tensor:
    """2ˣ."""
    return torch.exp2(x.float())


@kernel("clip")
def clip(x: Tensor, alpha: float, beta: float) -> Tensor:
    """min(max(x, alpha), beta)."""
    return x.clamp(alpha, beta)


@kernel("threshold")
def threshold(x: Tensor, alpha: float) -> Tensor:
    """max(x, alpha)."""
    return x.clamp(min=alpha)


@kernel("inverse")
def inverse(x: Tensor, epsilon: float = 1e-4) -> Tensor:
    """1 / (x + epsilon)."""
    return torch.reciprocal(x + epsilon)


@kernel("log")
def log(x: Tensor, epsilon: float = 1e-45) -> Tensor:
    """log(x + epsilon)."""
    return torch.log(x + epsilon)


@kernel("rsqrt")
def rsqrt(x: Tensor, epsilon: float = 1e-12) -> Tensor:
    """1 / √(x + epsilon)."""
    return torch.rsqrt(x + epsilon)


@kernel("cast")
def cast(x: Tensor, dtype: str) -> Tensor:
    """Convert x to another type. If the type is fp16, the executor rounds the result."""
    if dtype not in CARRIERS:
        raise ExecutionError(f"dtype {dtype!r} is not one of {', '.join(sorted(CARRIERS))}")
    return convert(x, dtype)


# ---------------------------------------------------------------------------------------------------------------------
# Two inputs


def _claim_broadcast(x: Tensor, y: Tensor) -> None:
    if x.shape != y.shape and x.numel() > 1 and y.numel() > 1:
        claim(broadcast(x.shape, y.shape))


def _pow(x: Tensor, y: Tensor) -> Tensor:
    if x.dtype == torch.float32:
        return torch.pow(x, y)
    wide = widest(x.device)
    return torch.pow(x.to(wide), y.to(wide))  # integers can have negative exponents


def _floor_div(x: Tensor, y: Tensor) -> Tensor:
    _refuse_zero(y)
    return torch.floor_divide(x, y)


def _mod(x: Tensor, y: Tensor) -> Tensor:
    _refuse_zero(y)
    return torch.remainder(x, y)  # the sign of the divisor, like Python's %


def _real_div(x: Tensor, y: Tensor) -> Tensor:
    if x.dtype.is_floating_point:
        return torch.div(x, y)
    _refuse_zero(y)
    wide = widest(x.device)
    return torch.div(x.to(wide), y.to(wide)).trunc()  # the declared type is an integer


def _refuse_zero(y: Tensor) -> None:
    if not y.dtype.is_floating_point and bool((y == 0).any()):
        raise ExecutionError("division of integers by zero")


_BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "floor_div": _floor_div,
    "mod": _mod,
    "mul": torch.mul,
    "pow": _pow,
    "real_div": _real_div,
    "sub": torch.sub,
}
_BINARY_EXACT: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "equal": torch.eq,
    "greater": torch.gt,
    "greater_equal": torch.ge,
    "less": torch.lt,
    "less_equal": torch.le,
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "logical_xor": torch.logical_xor,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "not_equal": torch.ne,
}


def _register_binary(name: str, function: Callable[[Tensor, Tensor], Tensor], exact: bool) -> None:
    def binary(x: Tensor, y: Tensor) -> Tensor:
        _claim_broadcast(x, y)
        return function(x, y)

    binary.__name__ = binary.__qualname__ = name
    binary.__doc__ = f"{name}(x, y), elementwise with broadcasting."
    kernel(name, exact=exact)(binary)


for _name, _operator in _BINARY.items():
    _register_binary(_name, _operator, exact=False)
for _name, _operator in _BINARY_EXACT.items():
    _register_binary(_name, _operator, exact=True)


@kernel("select", exact=True)
def select(cond: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """a where cond is true, else b; all three broadcast."""
    claim(broadcast(cond.shape, a.shape, b.shape))
    return torch.where(cond, a, b)


@kernel("identity", exact=True)
def identity(x: Tensor) -> Tensor:
    """x unchanged."""
    return x
