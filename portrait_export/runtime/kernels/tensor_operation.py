"""Create, sort and scan tensors: fill, range, one-hot, top-k, cumulative sums, box suppression."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ...errors import ExecutionError
from ..dtypes import CARRIERS
from ..environment import Environment
from ..limits import claim
from ..registry import OpInfo, kernel
from .tensor_transformation import axis_of


@kernel("shape", exact=True)
def shape(x: Tensor) -> Tensor:
    """The sides of x as a vector of int32."""
    return torch.tensor(list(x.shape), dtype=torch.int32, device=x.device)


@kernel("fill", exact=True)
def fill(shape: list[int], op: OpInfo, env: Environment, value: float = 0.0) -> Tensor:
    """A tensor filled with one value."""
    claim(shape)
    return torch.full(shape, value, dtype=CARRIERS[op.dtype], device=env.device)


@kernel("fill_like", exact=True)
def fill_like(ref_tensor: Tensor, op: OpInfo, value: float = 0.0) -> Tensor:
    """A tensor of the same shape as `ref_tensor`, filled with one value."""
    return torch.full(ref_tensor.shape, value, dtype=CARRIERS[op.dtype], device=ref_tensor.device)


@kernel("range_1d")
def range_1d(start: Tensor, end: Tensor, step: Tensor, op: OpInfo, env: Environment) -> Tensor:
    """start, start + step, … up to but excluding end: max(0, ceil((end − start)/step)) values."""
    first, last, by = float(start), float(end), float(step)
    if by == 0 or not all(map(math.isfinite, (first, last, by))):
        raise ExecutionError(f"a range from {first} to {last} by {by} is endless")
    count = _range_length(first, last, by, op.dtype)
    claim([count])
    return (first + torch.arange(count, dtype=torch.float64) * by).to(CARRIERS[op.dtype]).to(env.device)


def _range_length(first: float, last: float, by: float, dtype: str) -> int:
    """ceil((last − first)/by) computed in the range's own type, as MIL's type inference does."""
    own = {"fp16": np.float16, "fp32": np.float32}.get(dtype, np.float64)
    with np.errstate(over="ignore"):
        length = float((own(last) - own(first)) / own(by))
    if not math.isfinite(length):
        raise ExecutionError(f"a range from {first} to {last} by {by} is endless in {dtype}")
    return max(0, math.ceil(length))


@kernel("one_hot", exact=True)
def one_hot(
    indices: Tensor,
    one_hot_vector_size: int,
    op: OpInfo,
    axis: int = -1,
    on_value: float = 1.0,
    off_value: float = 0.0,
) -> Tensor:
    """on_value where the position on the new axis equals the index, else off_value. An index may be outside."""
    where = axis_of(axis, indices.ndim + 1)
    claim([*indices.shape, one_hot_vector_size])
    places = torch.arange(one_hot_vector_size, device=indices.device)
    hits = (indices.unsqueeze(-1) == places).movedim(-1, where)
    on, off = (torch.full((), v, dtype=CARRIERS[op.dtype], device=indices.device) for v in (on_value, off_value))
    return torch.where(hits, on, off)


@kernel("non_zero", exact=True)
def non_zero(x: Tensor) -> Tensor:
    """(count, rank): the positions of nonzero elements, in row-major order."""
    return torch.nonzero(x)


@kernel("cumsum")
def cumsum(x: Tensor, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> Tensor:
    """Cumulative sums; exclusive leaves out the element itself; reverse starts at the end."""
    if reverse:
        x = x.flip(axis)
    total = torch.cumsum(x, axis)
    if exclusive:
        total = total - x if not x.dtype.is_floating_point else _shifted(total, axis_of(axis, x.ndim))
    return total.flip(axis) if reverse else total


def _shifted(total: Tensor, axis: int) -> Tensor:
    """Sums shifted by one element, with zero first. (Subtracting x would lose digits and turn ∞ into NaN.)"""
    head = torch.zeros_like(total.narrow(axis, 0, min(1, total.shape[axis])))
    return torch.cat([head, total.narrow(axis, 0, max(0, total.shape[axis] - 1))], axis)


@kernel("band_part", exact=True)
def band_part(x: Tensor, lower: int = -1, upper: int = -1) -> Tensor:
    """Zero outside a band around the diagonal of the last two axes; a negative width keeps the whole triangle."""
    rows = torch.arange(x.shape[-2], device=x.device).unsqueeze(1)
    columns = torch.arange(x.shape[-1], device=x.device)
    keep = ((lower < 0) | (rows - columns <= lower)) & ((upper < 0) | (columns - rows <= upper))
    return torch.where(keep, x, torch.zeros((), dtype=x.dtype, device=x.device))


@kernel("argsort", exact=True)
def argsort(x: Tensor, axis: int = -1, ascending: bool = False) -> Tensor:
    """Indices that sort an axis; equal elements keep their order."""
    return torch.argsort(x, dim=axis, descending=not ascending, stable=True)


@kernel("topk", exact=True)
def topk(
    x: Tensor,
    op: OpInfo,
    k: int = 1,
    axis: int = -1,
    ascending: bool = False,
    sort: bool = True,
    return_indices: bool = True,
    output_indices_dtype: str = "int32",
) -> Tensor | tuple[Tensor, Tensor]:
    """The k largest (or smallest) elements along an axis, sorted, and their indices; equal ones keep their order."""
    side = x.shape[axis_of(axis, x.ndim)]
    count = side if k == -1 else k
    if not 0 <= count <= side:
        raise ExecutionError(f"k is {k}, but the axis has {side} elements")
    order = torch.argsort(x, dim=axis, descending=not ascending, stable=True).narrow(axis, 0, count)
    values = torch.gather(x, axis, order)
    return (values, order) if return_indices else values


# ---------------------------------------------------------------------------------------------------------------------
# Non-maximum suppression


def _overlaps(boxes: Tensor) -> Tensor:
    """(B, 4) boxes as (centre x, centre y, width, height) → (B, B) intersection over union."""
    half = boxes[:, 2:] / 2
    low, high = boxes[:, :2] - half, boxes[:, :2] + half
    sides = (torch.minimum(high[:, None], high[None]) - torch.maximum(low[:, None], low[None])).clamp(min=0)
    shared = sides[..., 0] * sides[..., 1]
    area = (boxes[:, 2] * boxes[:, 3]).clamp(min=0)
    union = area[:, None] + area[None] - shared
    return torch.where(union > 0, shared / union, torch.zeros_like(union))


def _suppress(overlaps: Tensor, order: list[int], groups: Tensor | None, threshold: float, limit: int) -> list[int]:
    """Greedy: keep the next box in order unless it overlaps a kept one (of its group) by more than the threshold."""
    taken: list[int] = []
    dropped = torch.zeros(overlaps.shape[0], dtype=torch.bool, device=overlaps.device)
    for index in order:
        if len(taken) == limit:
            break
        if bool(dropped[index]):
            continue
        taken.append(index)
        close = overlaps[index] > threshold
        dropped |= close if groups is None else close & (groups == groups[index])
    return taken


@kernel("non_maximum_suppression", exact=True)
def non_maximum_suppression(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    max_boxes: int,
    op: OpInfo,
    score_threshold: float | None = None,
    per_class_suppression: bool = False,
) -> tuple[Tensor, ...]:
    """The boxes that do not overlap a better one too much, in descending order of their best score.

    iOS15/16: boxes (n, B, 4), scores (n, B, K) → boxes, scores, indices, count. iOS17: boxes (n, 4, B), scores
    (n, K, B), and no count. Unused entries hold zeros, and −1 as index.
    """
    last_is_boxes = len(op.outputs) == 3
    if last_is_boxes:
        boxes, scores = boxes.transpose(1, 2), scores.transpose(1, 2)
    if boxes.ndim != 3 or scores.ndim != 3 or boxes.shape[-1] != 4 or boxes.shape[:2] != scores.shape[:2]:
        raise ExecutionError(f"boxes {list(boxes.shape)} and scores {list(scores.shape)} do not match")
    batch, count, classes = scores.shape
    claim([count, count])
    claim([batch, max(0, max_boxes), max(4, classes)])
    out_boxes = boxes.new_zeros(batch, max_boxes, 4)
    out_scores = scores.new_zeros(batch, max_boxes, classes)
    out_index = torch.full((batch, max_boxes), -1, dtype=torch.int32, device=boxes.device)
    out_count = torch.zeros(batch, dtype=torch.int32, device=boxes.device)
    for i in range(batch):
        best, which = scores[i].max(1)
        order = torch.argsort(best, descending=True, stable=True).tolist()
        if score_threshold is not None:
            order = [index for index in order if float(best[index]) >= score_threshold]
        groups = which if per_class_suppression else None
        taken = _suppress(_overlaps(boxes[i]), order, groups, iou_threshold, max_boxes)
        if taken:
            out_boxes[i, : len(taken)] = boxes[i, taken]
            out_scores[i, : len(taken)] = scores[i, taken]
            out_index[i, : len(taken)] = torch.tensor(taken, dtype=torch.int32, device=boxes.device)
        out_count[i] = len(taken)
    if last_is_boxes:
        return out_boxes.transpose(1, 2), out_scores.transpose(1, 2), out_index
    return out_boxes, out_scores, out_index, out_count
