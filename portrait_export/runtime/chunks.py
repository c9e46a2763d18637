"""Run elementwise operations over a value in chunks that stay in a core's cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .kernels.activation import HUGE, gelu

CHUNK = 65536  # elements: 256 KB of float32, so that a value, its half and another value fit a second-level cache


def _gelu_(x: Tensor, mode: str = "EXACT") -> Tensor:
    """gelu over its input, but for the mode that torch has no operator for, and for huge numbers."""
    if mode not in _GELU or not x.amax() <= HUGE:
        return gelu(x, mode)
    done: Tensor = torch.ops.aten.gelu_(x, approximate=_GELU[mode])
    return done


_GELU = {"EXACT": "none", "TANH_APPROXIMATION": "tanh"}

# Operator → its kernel's twin that writes over the value it takes: the same numbers without new memory.
IN_PLACE: dict[str, Callable[..., Tensor]] = {
    "add": lambda x, y: x.add_(y),
    "clip": lambda x, alpha, beta: x.clamp_(alpha, beta),
    "gelu": _gelu_,
    "leaky_relu": lambda x, alpha: F.leaky_relu_(x, alpha),
    "mul": lambda x, y: x.mul_(y),
    "relu": lambda x: x.relu_(),
    "relu6": lambda x: x.clamp_(0, 6),
    "sigmoid": lambda x: x.sigmoid_(),
    "silu": lambda x: F.silu(x, inplace=True),
    "tanh": lambda x: x.tanh_(),
}
COMMUTES = ("add", "mul")


@dataclass(frozen=True)
class Step:
    """One elementwise operation on the value that a chain computes.

    Attributes:
        operator: its MIL type; empty only rounds.
        call: the operator's own kernel.
        constants: bound parameters of the kernel.
        value: the kernel's parameter that takes the chain's value.
        other: the parameter that takes another value of the same shape, or None.
        rounds: whether the result is rounded to half.
        rounds_other: whether the other value is still to be rounded before it is used.
    """

    operator: str = ""
    call: Callable[..., Tensor] | None = None
    constants: Mapping[str, Any] = field(default_factory=dict)
    value: str = "x"
    other: str | None = None
    rounds: bool = True
    rounds_other: bool = False

    def __call__(self, x: Tensor, other: Tensor | None, *, owned: bool) -> Tensor:
        """The result before rounding. If the step owns x, it may write the result over it."""
        if self.call is None:
            return x
        given = {**self.constants, self.value: x} | ({} if self.other is None else {self.other: other})
        if not owned or self.operator not in IN_PLACE:
            return self.call(**given)
        if self.operator in COMMUTES and self.value == "y":
            given = {"x": given["y"], "y": given["x"]}
        return IN_PLACE[self.operator](**given)


def run_steps(x: Tensor, steps: Sequence[Step], others: Sequence[Tensor], *, in_place: bool) -> Tensor:
    """Run steps one after another on each chunk, so that only the last result is written to memory.

    Args:
        others: a value of x's shape for each step that takes one.
        in_place: write the result over x; nothing else may hold x or a view of it.
    """
    in_place = in_place and _flat(x) is not None
    result = x if in_place else torch.empty_like(x)  # dense, in the order of x's axes where x is dense
    target = _flat(result)
    assert target is not None
    one_pass = len(steps) == 1 and not (steps[0].rounds or steps[0].rounds_other)  # needs no chunks
    size = max(1, x.numel() if one_pass else min(CHUNK, x.numel()))
    targets = target.split(size)  # all views at once: making them one by one takes as long as some operations
    sources = targets if in_place else _aligned(x, result).split(size)
    missing = iter([_aligned(other, result).split(size) for other in others])
    operands = [[None] * len(targets) if step.other is None else next(missing) for step in steps]
    buffer = torch.empty(0 if one_pass else size, dtype=torch.float16, device=x.device)
    spare = torch.empty(size if any(step.rounds_other for step in steps) else 0, dtype=x.dtype, device=x.device)
    for index, part in enumerate(targets):
        half = buffer if part.numel() == size else buffer[: part.numel()]
        value, owned = sources[index], in_place
        for step, operand in zip(steps, operands, strict=True):
            other = operand[index]
            if step.rounds_other and other is not None:
                other = spare[: part.numel()].copy_(half.copy_(other))
            value = step(value, other, owned=owned)
            owned = owned or step.call is not None
            if step.rounds:
                rounded = half.copy_(value)
                value = rounded if step is steps[-1] else value.copy_(rounded) if owned else rounded.float()
                owned = True
        if value is not part:
            part.copy_(value)  # back to float32, if it is half
    return result


def _flat(x: Tensor) -> Tensor | None:
    """The elements of x in the order of memory, as a view; None if they are not dense."""
    ordered = x.permute(sorted(range(x.ndim), key=x.stride, reverse=True))
    return ordered.view(-1) if ordered.is_contiguous() else None


def _aligned(x: Tensor, like: Tensor) -> Tensor:
    """The elements of x in the order of memory of another tensor of its shape, copied if its own order differs."""
    if x.stride() != like.stride():
        x = torch.empty_like(like).copy_(x)
    flat = _flat(x)
    assert flat is not None
    return flat
