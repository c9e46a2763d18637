"""Follow pixels through the operators that keep them affine per channel.

It starts at a graph's image input.

Each channel k of such a value is gain[k] · x[source[k]] + offset[k], x being a channel of the input: a flip of channels
permutes `source`, arithmetic and batch norms change gain and offset, a transpose moves the channels' axis, and what
moves or averages pixels (resize, crop, pad) changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from onnx import TensorProto

from ..onnx.graph import Graph, Node
from .computed import computed
from .interface import ImageInput

_LARGEST_CONSTANT = 2**24  # elements; a larger one is not looked into
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
_LARGEST_PATCH = 2**12  # pixels that are joined into one axis of channels
_MEASURES = ("Shape", "Size")  # they read how large a value is, not what it holds


@dataclass(frozen=True, eq=False)
class Pixels:
    """A value that is affine in the pixels, channel by channel.

    Attributes:
        source: the input's channel that each channel comes from.
        gain, offset: (C,) float64.
        axis: of the channels; None where there is one channel and no axis for it.
        rank: number of dimensions.
        ops: the operators that changed channels or numbers, in order.
        mean, std: (C,) of the input's channels as a batch norm was trained on them; None where none was passed.
    """

    source: tuple[int, ...]
    gain: np.ndarray
    offset: np.ndarray
    axis: int | None
    rank: int
    ops: tuple[str, ...] = ()
    mean: np.ndarray | None = None
    std: np.ndarray | None = None

    @property
    def channels(self) -> int:
        """C."""
        return len(self.source)

    def scaled(self, gain: np.ndarray, offset: np.ndarray, op: str) -> Pixels:
        """gain · value + offset, both (C,)."""
        return replace(self, gain=gain * self.gain, offset=gain * self.offset + offset, ops=(*self.ops, op))

    def chosen(self, channels: tuple[int, ...], op: str) -> Pixels:
        """Some of the channels, in this order."""
        index = list(channels)
        mean, std = (None if array is None else array[index] for array in (self.mean, self.std))
        same = channels == tuple(range(self.channels))
        return replace(
            self,
            source=tuple(self.source[k] for k in channels),
            gain=self.gain[index],
            offset=self.offset[index],
            ops=self.ops if same else (*self.ops, op),
            mean=mean,
            std=std,
        )


Results = tuple[Pixels, ...]  # of a node's outputs; empty where they are not affine in the pixels


@dataclass(frozen=True)
class _Reading:
    """A node and what is known of its operands: None for those that are not affine in the pixels."""

    graph: Graph
    node: Node
    operands: tuple[Pixels | None, ...]

    def array(self, index: int) -> np.ndarray | None:
        """An input that is stored, or computed from constants; None for any other, and where it is large."""
        name = self.node.input(index)
        if not name or np.prod(self.graph.shape(name) or ()) > _LARGEST_CONSTANT:
            return None
        return self.graph.constant(name) if self.graph.is_constant(name) else computed(self.graph, name)

    def integers(self, index: int, attribute: str) -> list[int] | None:
        """Whole numbers in a stored input, or in the attribute that held them in older opsets."""
        array = self.array(index)
        if array is not None:
            return [int(value) for value in np.ravel(array)]
        stored = self.node.attrs.get(attribute)
        return None if stored is None else [int(value) for value in np.ravel(stored)]

    def per_channel(self, index: int, like: Pixels) -> np.ndarray | None:
        """(C,) of a stored input that broadcasts to a value and is the same at all of its pixels; else None."""
        array = self.array(index)
        if array is None or array.size == 0 or array.dtype.kind not in "fiu" or array.ndim > like.rank:
            return None
        wide = array.reshape((1,) * (like.rank - array.ndim) + array.shape).astype(np.float64)
        for axis in range(like.rank):
            if axis != like.axis:
                first = wide.take([0], axis)
                if wide.shape[axis] != 1 and not (wide == first).all():
                    return None
                wide = first
        numbers = wide.reshape(-1)
        return np.broadcast_to(numbers, (like.channels,)) if numbers.size in (1, like.channels) else None


def follow(graph: Graph, image: ImageInput) -> Mapping[str, Pixels]:
    """Every value that is affine in the pixels, the input first."""
    found = {
        image.name: Pixels(
            tuple(range(image.channels)),
            np.ones(image.channels),
            np.zeros(image.channels),
            image.layout.index("C"),
            len(image.layout),
        ),
    }
    for node in graph.nodes:
        operands = tuple(found.get(name) for name in node.inputs)
        if node.domain not in ("", "ai.onnx") or node.op not in _RULES or not any(operands):
            continue
        results = _RULES[node.op](_Reading(graph, node, operands))
        found.update(zip(node.outputs, results, strict=False))
    return found


def ends(graph: Graph, found: Mapping[str, Pixels]) -> list[Pixels]:
    """The values at which pixels stop to be affine: those that the network's own layers read."""
    last: dict[str, Pixels] = {}
    for name, pixels in found.items():
        readers = [node for node in graph.uses(name) if node.op not in _MEASURES]
        if name in graph.outputs or any(node.output not in found for node in readers):
            last[name] = pixels
    return list(last.values())


# What moves channels or pixels


def _same(reading: _Reading) -> Results:
    first = reading.operands[0]
    return () if first is None else (first,)


def _cast(reading: _Reading) -> Results:
    """A cast to whole numbers rounds, unless they are whole already."""
    to, before = reading.node.attrs.get("to"), reading.graph.dtype(reading.node.input(0))
    return _same(reading) if to in _FLOATS or before not in (*_FLOATS, TensorProto.UNDEFINED) else ()


def _transpose(reading: _Reading) -> Results:
    first = reading.operands[0]
    if first is None:
        return ()
    order = list(reading.node.attrs.get("perm") or reversed(range(first.rank)))
    return (replace(first, axis=None if first.axis is None else order.index(first.axis)),)


def _unsqueeze(reading: _Reading) -> Results:
    first, axes = reading.operands[0], reading.integers(1, "axes")
    if first is None or not axes:
        return ()
    rank = first.rank + len(axes)
    new = sorted(axis % rank for axis in axes)
    rest = [axis for axis in range(rank) if axis not in new]
    return (replace(first, axis=new[0] if first.axis is None else rest[first.axis], rank=rank),)


def _squeeze(reading: _Reading) -> Results:
    first, axes = reading.operands[0], reading.integers(1, "axes")
    if first is None or not axes:
        return ()
    gone = {axis % first.rank for axis in axes}
    rest = [axis for axis in range(first.rank) if axis not in gone]
    if first.axis in gone:
        return (replace(first, axis=None, rank=len(rest)),) if first.channels == 1 else ()
    return (replace(first, axis=None if first.axis is None else rest.index(first.axis), rank=len(rest)),)


def _reshape(reading: _Reading) -> Results:
    """An axis of channels stays one where it is kept, or joined with pixels beside it (patches, pixel unshuffle)."""
    first = reading.operands[0]
    old, new = reading.graph.shape(reading.node.input(0)), reading.graph.shape(reading.node.output)
    if first is None or first.axis is None or old is None or new is None:
        return ()
    count, before = first.channels, int(np.prod(old[: first.axis], dtype=np.int64))
    for axis, length in enumerate(new):
        outer = int(np.prod(new[:axis], dtype=np.int64))
        if not outer or before % outer or (outer * length) % (before * count):
            continue
        lead, tail = before // outer, outer * length // (before * count)  # pixels before and after each channel
        if tail and lead * tail <= _LARGEST_PATCH:
            channels = tuple(k for _ in range(lead) for k in range(count) for _ in range(tail))
            return (replace(first.chosen(channels, "Reshape"), axis=axis, rank=len(new)),)
    return ()


def _space_to_depth(reading: _Reading) -> Results:
    """Each block of pixels becomes channels: all channels of its first pixel, then of its second, …"""
    first = reading.operands[0]
    if first is None or first.axis != 1:
        return ()
    pixels = int(reading.node.attrs["blocksize"]) ** 2
    if pixels > _LARGEST_PATCH:
        return ()
    return (first.chosen(tuple(range(first.channels)) * pixels, "SpaceToDepth"),)


def _gather(reading: _Reading) -> Results:
    first, index = reading.operands[0], reading.array(1)
    if first is None or index is None or index.ndim > 1:
        return ()
    if int(reading.node.attrs.get("axis", 0)) % first.rank != first.axis:
        return (first,) if index.ndim == 1 else ()
    channels = tuple(int(k) % first.channels for k in np.ravel(index))
    taken = first.chosen(channels, "Gather")
    return (taken if index.ndim == 1 else replace(taken, axis=None, rank=first.rank - 1),)


def _slice(reading: _Reading) -> Results:
    first = reading.operands[0]
    starts, stops = reading.integers(1, "starts"), reading.integers(2, "ends")
    if first is None or starts is None or stops is None:
        return ()
    axes = reading.integers(3, "axes") or list(range(len(starts)))
    steps = reading.integers(4, "steps") or [1] * len(starts)
    for start, stop, axis, step in zip(starts, stops, axes, steps, strict=True):
        if axis % first.rank == first.axis:
            channels = tuple(range(first.channels))[slice(start, _end(stop, first.channels, step), step)]
            return (first.chosen(channels, "Slice"),) if channels else ()
    return (first,)


def _end(stop: int, length: int, step: int) -> int | None:
    """Where a slice ends: before the first element for anything far below zero, as ONNX says it."""
    return None if step < 0 and stop < -length else stop


def _split(reading: _Reading) -> Results:
    first, node = reading.operands[0], reading.node
    if first is None or int(node.attrs.get("axis", 0)) % first.rank != first.axis:
        return ()
    parts = len(node.outputs)
    sizes = reading.integers(1, "split") or [-(-first.channels // parts)] * parts
    begins = np.cumsum([0, *sizes]).tolist()
    if begins[-1] < first.channels or len(sizes) != parts:
        return ()
    ranges = (tuple(range(begin, min(end, first.channels))) for begin, end in pairwise(begins))
    return tuple(first.chosen(channels, "Split") for channels in ranges)


def _concat(reading: _Reading) -> Results:
    parts = [part for part in reading.operands if part is not None]
    if len(parts) != len(reading.operands) or len({(part.axis, part.rank) for part in parts}) != 1:
        return ()
    first = parts[0]
    if first.axis is None or int(reading.node.attrs["axis"]) % first.rank != first.axis:
        return ()
    whole = all(part.mean is not None for part in parts)
    return (
        replace(
            first,
            source=tuple(k for part in parts for k in part.source),
            gain=np.concatenate([part.gain for part in parts]),
            offset=np.concatenate([part.offset for part in parts]),
            ops=(*dict.fromkeys(op for part in parts for op in part.ops), "Concat"),
            mean=np.concatenate([part.mean for part in parts if part.mean is not None]) if whole else None,
            std=np.concatenate([part.std for part in parts if part.std is not None]) if whole else None,
        ),
    )


def _pad(reading: _Reading) -> Results:
    """Padded pixels: the frame may be another number, which is not looked at."""
    first, pads = reading.operands[0], reading.integers(1, "pads")
    if first is None or pads is None or reading.node.input(3):
        return ()
    around = [] if first.axis is None else [pads[first.axis], pads[first.axis + first.rank]]
    return () if any(around) else (first,)


def _resize(reading: _Reading) -> Results:
    """Interpolation weights sum to 1, so what is affine stays so."""
    mode = reading.node.attrs.get("coordinate_transformation_mode")
    return () if mode == "tf_crop_and_resize" else _same(reading)


def _average_pool(reading: _Reading) -> Results:
    return () if any(reading.node.attrs.get("pads", ())) else _same(reading)


# What changes numbers


def _arithmetic(reading: _Reading) -> Results:
    """Add, Sub, Mul and Div of the pixels and a number per channel, in either order."""
    op = reading.node.op
    left, right = (*reading.operands, None)[:2]
    if left is not None and right is not None:
        return _of_two(reading, left, right)
    pixels = left if left is not None else right
    assert pixels is not None  # one of the operands is affine
    number = reading.per_channel(1 if left is not None else 0, pixels)
    if number is None or (op == "Div" and (left is None or not number.all())):
        return ()
    one, zero = np.ones(pixels.channels), np.zeros(pixels.channels)
    gain, offset = {
        "Add": lambda: (one, number),
        "Sub": lambda: (one, -number) if left is not None else (-one, number),
        "Mul": lambda: (number, zero),
        "Div": lambda: (1 / number, zero),
    }[op]()
    return (pixels.scaled(gain, offset, op),)


def _of_two(reading: _Reading, left: Pixels, right: Pixels) -> Results:
    """The sum or the difference of two values with the same channels."""
    alike = (left.source, left.axis, left.rank) == (right.source, right.axis, right.rank)
    if reading.node.op not in ("Add", "Sub") or not alike:
        return ()
    sign = 1 if reading.node.op == "Add" else -1
    gain, offset = left.gain + sign * right.gain, left.offset + sign * right.offset
    ops = tuple(dict.fromkeys((*left.ops, *right.ops, reading.node.op)))
    return (replace(left, gain=gain, offset=offset, ops=ops),) if gain.all() else ()


def _neg(reading: _Reading) -> Results:
    first = reading.operands[0]
    return () if first is None else (first.scaled(-np.ones(first.channels), np.zeros(first.channels), "Neg"),)


def _batch_norm(reading: _Reading) -> Results:
    """y = g·(x − m)/√(v + ε) + b. Its m and v are those of the pixels it was trained on: x is m ± √v there."""
    first = reading.operands[0]
    arrays = [reading.array(index) for index in range(1, 5)]
    if first is None or first.axis != 1 or any(array is None or array.size != first.channels for array in arrays):
        return ()
    gain, offset, mean, variance = (np.asarray(array, np.float64) for array in arrays)
    spread = np.sqrt(np.maximum(variance, 0) + float(reading.node.attrs.get("epsilon", 1e-5)))
    slope = gain / spread
    passed = first.scaled(slope, offset - mean * slope, "BatchNormalization")
    trained = not (np.allclose(mean, 0) and np.allclose(variance, 1))
    if not trained or first.mean is not None or not first.gain.all():
        return (passed,)
    return (replace(passed, mean=(mean - first.offset) / first.gain, std=np.sqrt(variance) / abs(first.gain)),)


def _conv(reading: _Reading) -> Results:
    """A 1x1 convolution each of whose outputs has one input."""
    first, weight, node = reading.operands[0], reading.array(1), reading.node
    bias = reading.array(2)
    if first is None or first.axis != 1 or weight is None or (bias is None and node.input(2)):
        return ()
    group = int(node.attrs.get("group", 1))
    if weight.size != len(weight) * weight.shape[1] or weight.shape[1] * group != first.channels:
        return ()
    if any(node.attrs.get("pads", ())) or len(weight) % group:
        return ()
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    begins = np.arange(len(rows)) // (len(rows) // group) * weight.shape[1]
    return _of_one_channel_each(first, rows, begins, bias, "Conv")


def _of_one_channel_each(
    first: Pixels, rows: np.ndarray, begins: np.ndarray, bias: np.ndarray | None, op: str
) -> Results:
    """Sums over channels of which each has a single term.

    Args:
        rows: (K, n) weights. begins: (K,) the channel of a row's first weight.
    """
    if (np.count_nonzero(rows, axis=1) != 1).any():
        return ()
    places = np.argmax(rows != 0, axis=1)
    channels = tuple(int(k) for k in begins + places)
    if set(channels) != set(range(first.channels)):
        return ()  # a layer: what prepares pixels leaves none out
    taken = first.chosen(channels, op)
    gain = rows[np.arange(len(rows)), places]
    offset = np.zeros(len(rows)) if bias is None else np.broadcast_to(bias, gain.shape)
    return (replace(taken.scaled(gain, np.asarray(offset, np.float64), op), ops=(*first.ops, op)),)


def _mat_mul(reading: _Reading) -> Results:
    """A product with a stored matrix over the channels, from the right (their axis is last) or from the left."""
    left, right = (*reading.operands, None)[:2]
    first, weight = (left, reading.array(1)) if left is not None else (right, reading.array(0))
    if first is None or first.axis is None or weight is None or weight.ndim != 2:
        return ()
    if first.axis != first.rank - (1 if left is not None else 2):
        return ()
    rows = (weight.T if left is not None else weight).astype(np.float64)
    return _product(first, rows, None, "MatMul")


def _gemm(reading: _Reading) -> Results:
    """alpha · A·B + beta · C, whose rows A are pixels."""
    first, weight, bias, attrs = reading.operands[0], reading.array(1), reading.array(2), reading.node.attrs
    if first is None or first.axis != 1 or weight is None or (bias is None and reading.node.input(2)):
        return ()
    rows = (weight if attrs.get("transB", 0) else weight.T) * float(attrs.get("alpha", 1.0))
    if attrs.get("transA", 0) or (bias is not None and bias.size not in (1, len(rows))):
        return ()
    offset = None if bias is None else bias.reshape(-1) * float(attrs.get("beta", 1.0))
    return _product(first, rows.astype(np.float64), offset, "Gemm")


def _einsum(reading: _Reading) -> Results:
    """A number per channel, or a stored matrix over the channels, beside pixels whose axes may be transposed."""
    terms, _, result = str(reading.node.attrs["equation"]).replace(" ", "").partition("->")
    place = 0 if reading.operands[0] is not None else 1
    first, weight = reading.operands[place], reading.array(1 - place)
    if first is None or first.axis is None or weight is None or terms.count(",") != 1 or "." in terms:
        return ()
    own, stored = terms.split(",")[place], terms.split(",")[1 - place]
    if len(own) != first.rank or len(set(own)) != len(own) or len(stored) != weight.ndim:
        return ()
    channel, numbers = own[first.axis], weight.astype(np.float64)
    new = stored.replace(channel, "") or channel
    if sorted(result) != sorted(own.replace(channel, new)):
        return ()
    if stored == channel:
        found: Results = (first.scaled(numbers, np.zeros(first.channels), "Einsum"),)
    elif len(stored) == 2 and channel in stored and len(new) == 1 and new not in own:
        found = _product(first, numbers if stored[0] == new else numbers.T, None, "Einsum")
    else:
        return ()
    return tuple(replace(one, axis=result.index(new)) for one in found)


def _product(first: Pixels, rows: np.ndarray, bias: np.ndarray | None, op: str) -> Results:
    if rows.shape[1] != first.channels:
        return ()
    return _of_one_channel_each(first, rows, np.zeros(len(rows), np.int64), bias, op)


_RULES: dict[str, Callable[[_Reading], Results]] = {
    **dict.fromkeys(("Identity", "Dropout", "Clip", "QuantizeLinear", "DequantizeLinear", "Upsample"), _same),
    **dict.fromkeys(("Cast", "CastLike"), _cast),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _arithmetic),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "SpaceToDepth": _space_to_depth,
    "Reshape": _reshape,
    "Gather": _gather,
    "Slice": _slice,
    "Split": _split,
    "Concat": _concat,
    "Pad": _pad,
    "Resize": _resize,
    "AveragePool": _average_pool,
    "Neg": _neg,
    "BatchNormalization": _batch_norm,
    "Conv": _conv,
    "MatMul": _mat_mul,
    "Gemm": _gemm,
    "Einsum": _einsum,
}
