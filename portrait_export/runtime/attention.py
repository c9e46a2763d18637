"""Run attention over some queries at a time.

The scores then stay in the cache.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from .chunks import CHUNK
from .executor import Input, Instruction

SCORES = CHUNK  # elements that are computed at a time: one buffer is written and one is read


@dataclass(frozen=True)
class Attention:
    """softmax(X·Y)·V, or its transpose. X: (*B, L, E), Y: (*B, E, S), V: (*B, S, D).

    Attributes:
        flips: for each of X, Y and V whether the input holds its transpose.
        transposed: the result is (*B, D, L) instead of (*B, L, D).
        rounds_scores, rounds_weights: whether X·Y and the softmax are rounded to half.
    """

    flips: tuple[bool, bool, bool]
    transposed: bool
    rounds_scores: bool
    rounds_weights: bool

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        x, y, v = (one.mT if flip else one for one, flip in zip((query, key, value), self.flips, strict=True))
        if x.ndim == 4 and x.shape[-1] == v.shape[-1] and not (self.rounds_scores or self.rounds_weights):
            result = F.scaled_dot_product_attention(x, y.mT, v, scale=1.0)  # sums over some keys at a time
            return result.mT if self.transposed else result
        *lead, length, _ = x.shape
        # In memory (*B, L, heads, D): the heads of a position lie side by side, as the next layer reads them.
        result = x.new_empty([*lead[:-1], length, *lead[-1:], v.shape[-1]])
        result = result.transpose(-2, -3) if lead else result
        rows, count = min(length, max(1, SCORES // y.shape[-1])), y.shape[-1]
        buffers = x.new_empty(rows, count), x.new_empty(rows, count), x.new_empty(rows, count, dtype=torch.float16)
        for index in product(*map(range, lead)):
            self._one(x[index], y[index].contiguous(), v[index].contiguous(), result[index], buffers)
        return result.mT if self.transposed else result

    def _one(self, x: Tensor, y: Tensor, v: Tensor, result: Tensor, buffers: tuple[Tensor, Tensor, Tensor]) -> None:
        """X·Y, the softmax and its product with V for one matrix of each; `buffers` hold some rows of the scores."""
        rows = len(buffers[0])
        for queries, target in zip(x.split(rows), result.split(rows), strict=True):
            scores, weights, half = (buffer[: len(queries)] for buffer in buffers)
            torch.mm(queries, y, out=scores)
            if self.rounds_scores:
                scores.copy_(half.copy_(scores))
            torch.softmax(scores, -1, out=weights)
            if self.rounds_weights:
                weights.copy_(half.copy_(weights))
            torch.mm(weights, v, out=target)


def with_attention(
    steps: Sequence[Instruction], shapes: Mapping[int, tuple[int, ...]], reads: Mapping[int, int]
) -> list[Instruction]:
    """Replace each matmul, softmax, matmul whose values nothing else reads by one instruction.

    Args:
        shapes: slot → shape, of the float values whose shape is known.
        reads: slot → how often it is read.
    """
    made_by = {step.results[0].slot: index for index, step in enumerate(steps) if len(step.results) == 1}
    done: list[Instruction | None] = list(steps)
    for index, last in enumerate(steps):
        before = _before(last, steps, made_by, reads)
        if before is None:
            continue
        scores, weights = before
        call = _call(last, steps[scores], steps[weights], shapes)
        if call is None:
            continue
        query, key = (_input(steps[scores], name) for name in ("x", "y"))
        value = _input(last, "y" if _input(last, "x").slots == steps[weights].results[0].slot else "x")
        named = zip((query, key, value), ("query", "key", "value"), strict=True)
        inputs = tuple(one._replace(parameter=name) for one, name in named)
        done[scores] = done[weights] = None
        done[index] = replace(last, call=call, inputs=inputs)
    return [step for step in done if step is not None]


def _before(
    last: Instruction, steps: Sequence[Instruction], made_by: Mapping[int, int], reads: Mapping[int, int]
) -> tuple[int, int] | None:
    """The indices of the matmul and the softmax before a matmul, if it reads one."""
    if not _is_product(last):
        return None
    for one in last.inputs:
        weights = made_by.get(one.slots) if isinstance(one.slots, int) and reads[one.slots] == 1 else None
        if weights is None or steps[weights].operation.type != "softmax" or len(steps[weights].inputs) != 1:
            continue
        slot = steps[weights].inputs[0].slots
        scores = made_by.get(slot) if isinstance(slot, int) and reads[slot] == 1 else None
        if scores is not None and _is_product(steps[scores]):
            return scores, weights
    return None


def _is_product(step: Instruction) -> bool:
    """Whether it multiplies two computed matrices."""
    return step.operation.type == "matmul" and {one.parameter for one in step.inputs} == {"x", "y"}


def _call(
    last: Instruction, scores: Instruction, weights: Instruction, shapes: Mapping[int, tuple[int, ...]]
) -> Attention | None:
    """The fused computation; None if the shapes or the softmax's axis are others."""
    values = [one.slots for step in (scores, weights, last) for one in step.inputs]
    if not all(isinstance(slot, int) and slot in shapes for slot in values):
        return None
    if not all(isinstance(step.call, partial) for step in (scores, weights, last)):
        return None
    shape = shapes.get(scores.results[0].slot, ())
    axis = weights.call.keywords.get("axis", -1)  # type: ignore[attr-defined]  # a partial
    if len(shape) < 2 or axis not in (-1, len(shape) - 1) or shape[-2] * shape[-1] < CHUNK:
        return None
    first, transposed = _flips(scores), _input(last, "y").slots == weights.results[0].slot
    flips = _flips(last)
    if flips[transposed] is not transposed:  # the softmax is read as P·V or V·Pᵀ
        return None
    found = Attention(
        (*first, flips[1 - transposed] is not transposed),
        transposed,
        scores.results[0].rounds,
        weights.results[0].rounds,
    )
    return found if _fits(found, scores, last, shapes) else None


def _fits(attention: Attention, scores: Instruction, last: Instruction, shapes: Mapping[int, tuple[int, ...]]) -> bool:
    """Whether X, Y and V have one rank and the same leading axes, and give the declared shapes."""
    inputs = (_input(scores, "x"), _input(scores, "y"), _input(last, "x" if attention.transposed else "y"))
    given = [shapes[one.slots] for one in inputs]  # type: ignore[index]  # `_call` has checked it
    if len({len(shape) for shape in given}) != 1 or len(given[0]) < 2 or len({shape[:-2] for shape in given}) != 1:
        return False
    sides = [shape[:-3:-1] if flip else shape[-2:] for shape, flip in zip(given, attention.flips, strict=True)]
    (length, inner), (inner_y, count), (count_v, size) = sides
    end = (size, length) if attention.transposed else (length, size)
    lead = given[0][:-2]
    return (
        (inner, count) == (inner_y, count_v)
        and shapes[scores.results[0].slot] == (*lead, length, count)
        and shapes.get(last.results[0].slot) == (*lead, *end)
    )


def _flips(step: Instruction) -> tuple[bool, bool]:
    keywords = step.call.keywords  # type: ignore[attr-defined]  # a partial
    return bool(keywords.get("transpose_x", False)), bool(keywords.get("transpose_y", False))


def _input(step: Instruction, parameter: str) -> Input:
    return next(one for one in step.inputs if one.parameter == parameter)
