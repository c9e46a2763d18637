"""Prove which values of a plan are never NaN.

The bounds of all values are computed, for inputs of a bounded size."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..errors import ExecutionError
from .executor import Instruction, Plan

HALF_MAX = torch.finfo(torch.float16).max
INPUT = 1024.0  # the largest magnitude of an input that the bounds hold for; pictures reach 255
LARGEST = 1e37  # a sum whose terms may be larger together is not bounded: in float32 it may overflow on the way
SQUARES = 1e15  # numbers whose squares do not overflow when some millions are added
SLACK = 1.001  # sums and halves are rounded

# The bound of a result from those of its inputs by parameter, which are finite, and the instruction's constants.
Rule = Callable[[Mapping[str, float], Mapping[str, Any]], float]


def _conv(given: Mapping[str, float], bound: Mapping[str, Any]) -> float:
    """|W·x + b| ≤ Σ|W|·|x| + |b|, the largest over the channels."""
    weight, bias = bound["weight"], bound.get("bias")
    sums = weight.double().abs().flatten(1).sum(1) * given["x"]
    return float((sums if bias is None else sums + bias.double().abs()).max())


def _layer_norm(given: Mapping[str, float], bound: Mapping[str, Any]) -> float:
    """Of n numbers with mean 0 and variance 1, none is beyond √n; γ has n elements."""
    gamma, beta = bound["gamma"], bound["beta"]
    if given["x"] > SQUARES or bound.get("epsilon", 1.0) <= 0:  # the variance may overflow, or be divided by as 0
        return math.nan
    return math.sqrt(gamma.numel()) * _largest(gamma) + _largest(beta)


def _clip(given: Mapping[str, float], bound: Mapping[str, Any]) -> float:
    return max(abs(bound["alpha"]), abs(bound["beta"]))


def _same(given: Mapping[str, float], bound: Mapping[str, Any]) -> float:
    return given["x"]


def _one(given: Mapping[str, float], bound: Mapping[str, Any]) -> float:
    return 1.0


RULES: dict[str, Rule] = {
    "add": lambda given, bound: given["x"] + given["y"],
    "cast": _same,
    "clip": _clip,
    "conv": _conv,
    "expand_dims": _same,
    "gelu": _same,
    "identity": _same,
    "layer_norm": _layer_norm,
    "linear": _conv,
    "mul": lambda given, bound: given["x"] * given["y"],
    "relu": _same,
    "relu6": lambda given, bound: 6.0,
    "reshape": _same,
    "resize_bilinear": _same,
    "sigmoid": _one,
    "silu": _same,
    "softmax": _one,
    "squeeze": _same,
    "sub": lambda given, bound: given["x"] + given["y"],
    "tanh": _one,
    "transpose": _same,
    "upsample_bilinear": _same,
}
TAKE_INFINITY = frozenset({"clip", "relu", "relu6", "sigmoid"})  # their result is no NaN for an infinite input either


def bounds_of(plan: Plan) -> dict[int, float]:
    """Slot → the largest magnitude of its elements, for inputs of at most INPUT.

    The bound may be infinity; a value that may hold a NaN has none.
    """
    found = {slot: INPUT for _, kind, slot in plan.inputs if getattr(kind, "dtype", "") in ("fp16", "fp32")}
    for step in plan.block.instructions:
        bound = _bound(step, found)
        if bound is not None:
            found[step.results[0].slot] = bound
    return found


def check_inputs(inputs: Mapping[str, Any]) -> None:
    """Raise ExecutionError if an input has an element beyond INPUT, or one that is not a number."""
    for name, value in inputs.items():
        if isinstance(value, Tensor) and value.dtype == torch.float32 and not _largest(value) <= INPUT:
            raise ExecutionError(f"input {name!r} has elements beyond {INPUT:g} or that are not finite")


def _bound(step: Instruction, found: Mapping[int, float]) -> float | None:
    kind = step.operation.type
    if kind not in RULES or len(step.results) != 1 or not isinstance(step.call, partial):
        return None
    bound = step.call.keywords
    given = {name: _largest(value) for name, value in bound.items() if name in ("x", "y") and isinstance(value, Tensor)}
    for one in step.inputs:
        if not isinstance(one.slots, int) or one.slots not in found:
            return None
        given[one.parameter] = found[one.slots]
    if kind not in TAKE_INFINITY and not all(map(math.isfinite, given.values())):
        return None
    try:
        result = RULES[kind](given, bound) * SLACK
    except (LookupError, TypeError, ValueError, RuntimeError):  # a constant is missing, or one that the kernel refuses
        return None
    if math.isnan(result) or (result > LARGEST and kind not in TAKE_INFINITY):
        return None
    return math.inf if step.results[0].rounds and result > HALF_MAX else result


def _largest(value: Tensor) -> float:
    """The largest magnitude of the elements; NaN if one of them is."""
    return max(-float(value.min()), float(value.max())) if value.numel() else 0.0
