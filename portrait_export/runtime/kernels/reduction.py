"""Reductions over axes: sums, norms, products, maxima, minima and their indices."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..dtypes import widest
from ..registry import kernel


def _axes(x: Tensor, axes: list[int] | None) -> list[int]:
    return list(range(x.ndim)) if axes is None else list(axes)


def _prod(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
        x = torch.prod(x, axis, keepdim=keep)
    return x


def _mean(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    if x.dtype.is_floating_point:
        return torch.mean(x, axes, keepdim=keep)
    return torch.mean(
        x.to(widest(x.device)), axes, keepdim=keep
    )  # the executor truncates if the declared type is an integer


_SUMS: dict[str, Callable[[Tensor, list[int], bool], Tensor]] = {
    "reduce_l1_norm": lambda x, axes, keep: torch.sum(x.abs(), axes, keepdim=keep),
    "reduce_l2_norm": lambda x, axes, keep: torch.sum(x.square(), axes, keepdim=keep).sqrt(),
    "reduce_log_sum": lambda x, axes, keep: torch.sum(x, axes, keepdim=keep).log(),
    "reduce_log_sum_exp": lambda x, axes, keep: torch.logsumexp(x.float(), axes, keepdim=keep),
    "reduce_mean": _mean,
    "reduce_prod": _prod,
    "reduce_sum": lambda x, axes, keep: torch.sum(x, axes, keepdim=keep),
    "reduce_sum_square": lambda x, axes, keep: torch.sum(x.square(), axes, keepdim=keep),
}
_PICKS: dict[str, Callable[[Tensor, list[int], bool], Tensor]] = {
    "reduce_max": lambda x, axes, keep: torch.amax(x, axes, keepdim=keep),
    "reduce_min": lambda x, axes, keep: torch.amin(x, axes, keepdim=keep),
}


def _register(name: str, function: Callable[[Tensor, list[int], bool], Tensor], exact: bool) -> None:
    def reduce(x: Tensor, axes: list[int] | None = None, keep_dims: bool = False) -> Tensor:
        over = _axes(x, axes)
        return function(x, over, keep_dims) if over else function(x.unsqueeze(0), [0], False)

    reduce.__name__ = reduce.__qualname__ = name
    reduce.__doc__ = f"{name} over the given axes; None is all axes."
    kernel(name, exact=exact)(reduce)


for _name, _function in _SUMS.items():
    _register(_name, _function, exact=False)
for _name, _function in _PICKS.items():
    _register(_name, _function, exact=True)


@kernel("reduce_argmax", exact=True)
def reduce_argmax(x: Tensor, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32") -> Tensor:
    """Index of the largest element along an axis; the first of equal ones."""
    return _first(x, torch.amax(x, axis, keepdim=True), axis, keep_dims)


@kernel("reduce_argmin", exact=True)
def reduce_argmin(x: Tensor, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32") -> Tensor:
    """Index of the smallest element along an axis; the first of equal ones."""
    return _first(x, torch.amin(x, axis, keepdim=True), axis, keep_dims)


def _first(x: Tensor, best: Tensor, axis: int, keep: bool) -> Tensor:
    # torch.argmax may return any of several equal elements; argmax of a mask returns the first. NaN is the largest.
    hits = (x == best) | (torch.isnan(x) if x.dtype.is_floating_point else torch.zeros_like(x, dtype=torch.bool))
    return hits.to(torch.uint8).argmax(axis, keepdim=keep)
