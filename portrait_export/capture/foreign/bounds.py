"""Bound the values of a graph by interval arithmetic, whatever its input is.

A sigmoid is within 0..1 and a convolution anywhere; what follows keeps, moves or scales those bounds:
    [a, b] + [c, d] = [a+c, b+d];   [a, b] · [c, d] = the hull of ac, ad, bc, bd;   f([a, b]) = [f(a), f(b)], f rising
Two values that depend on one another are bounded as if they did not, so bounds may be wider than the truth.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from ..onnx.graph import Graph, Node

CUBIC = (1.375**2 - 1) / 2  # by which share of its range a cubic resize of two axes can leave it: Σ|w| = 1.375 an axis
LARGEST_CONSTANT = 2**24  # elements; the range of a larger one is not looked up


@dataclass(frozen=True)
class Bounds:
    """The least and the largest that a value can be."""

    low: float = -math.inf
    high: float = math.inf

    def within(self, low: float, high: float) -> bool:
        """Whether no value is outside of low..high."""
        return low <= self.low and self.high <= high

    @property
    def finite(self) -> bool:
        """Whether both are known."""
        return math.isfinite(self.low) and math.isfinite(self.high)


ANY = Bounds()
UNIT = Bounds(0.0, 1.0)
_SPANS: dict[int, Bounds] = {TensorProto.UINT8: Bounds(0.0, 255.0), TensorProto.INT8: Bounds(-128.0, 127.0)}


def bounds_of(graph: Graph) -> Mapping[str, Bounds]:
    """Bounds of every value that has some. The graph's inputs have none."""
    found: dict[str, Bounds] = {}
    for node in graph.nodes:
        result = _of_node(_Operands(graph, node, found))
        if result != ANY:
            found.update(dict.fromkeys(node.outputs if node.op == "Split" else node.outputs[:1], result))
    return found


@dataclass(frozen=True)
class _Operands:
    """What a node reads."""

    graph: Graph
    node: Node
    found: Mapping[str, Bounds]

    def of(self, index: int) -> Bounds:
        """Bounds of an input."""
        name = self.node.input(index)
        if name in self.found or not self.graph.is_constant(name):
            return self.found.get(name, ANY)
        if math.prod(self.graph.shape(name) or ()) > LARGEST_CONSTANT:
            return ANY
        array = self.graph.constant(name)
        if array is None or array.size == 0 or array.dtype.kind not in "fiub" or not np.isfinite(array).all():
            return ANY
        return Bounds(float(array.min()), float(array.max()))

    def all(self, begin: int = 0) -> list[Bounds]:
        """Bounds of all inputs from one on."""
        return [self.of(index) for index in range(begin, len(self.node.inputs)) if self.node.inputs[index]]

    def array(self, index: int) -> np.ndarray | None:
        """A stored input."""
        return self.graph.constant(self.node.input(index))

    def scalar(self, index: int, otherwise: float) -> float:
        """The number in a stored input; `otherwise` where it is left out; NaN where it is computed."""
        name = self.node.input(index)
        if not name:
            return otherwise
        found = self.graph.scalar(name)
        return math.nan if found is None else found

    def attribute(self, name: str, otherwise: float) -> float:
        """A number among the node's attributes."""
        return float(self.node.attrs.get(name, otherwise))


def _of_node(operands: _Operands) -> Bounds:
    op = operands.node.op
    if operands.node.domain not in ("", "ai.onnx"):
        return ANY
    if op in _KEEP:
        return operands.of(0)
    if op in _FIXED:
        return _FIXED[op]
    if op in _RISING:
        bounds = operands.of(0)
        return _ordered(_RISING[op](bounds.low), _RISING[op](bounds.high))
    return _RULES[op](operands) if op in _RULES else ANY


def _ordered(*ends: float) -> Bounds:
    """The hull of some numbers; ANY where one is not a number."""
    return ANY if any(math.isnan(end) for end in ends) else Bounds(min(ends), max(ends))


def _hull(bounds: list[Bounds]) -> Bounds:
    return Bounds(min(b.low for b in bounds), max(b.high for b in bounds)) if bounds else ANY


def _with_zero(bounds: Bounds) -> Bounds:
    return Bounds(min(bounds.low, 0.0), max(bounds.high, 0.0))


# Arithmetic


def _add(operands: _Operands) -> Bounds:
    a, b = operands.of(0), operands.of(1)
    return _ordered(a.low + b.low, a.high + b.high)


def _sub(operands: _Operands) -> Bounds:
    a, b = operands.of(0), operands.of(1)
    return _ordered(a.low - b.high, a.high - b.low)


def _product(a: float, b: float) -> float:
    return 0.0 if a == 0 or b == 0 else a * b


def _mul(operands: _Operands) -> Bounds:
    a, b = operands.of(0), operands.of(1)
    ends = [_product(x, y) for x in (a.low, a.high) for y in (b.low, b.high)]
    if operands.node.input(0) == operands.node.input(1):
        return Bounds(0.0 if a.low <= 0 <= a.high else min(ends), max(ends))
    return _ordered(*ends)


def _div(operands: _Operands) -> Bounds:
    a, b = operands.of(0), operands.of(1)
    if _is_share(operands):
        return UNIT if a.low >= 0 else Bounds(-1.0, 1.0)
    if b.low <= 0 <= b.high and not b.low == 0 < a.low:
        return Bounds(0.0, math.inf) if a.low >= 0 and b.low >= 0 else ANY
    return _ordered(*(_quotient(x, y) for x in (a.low, a.high) for y in (b.low, b.high)))


def _is_share(operands: _Operands) -> bool:
    """Whether a quotient is a / (a + b) or a / Σa with a, b ≥ 0, or a / (|a| + b), as a softmax written out has it."""
    part, whole = operands.node.input(0), operands.graph.maker(operands.node.input(1))
    if whole is None:
        return False
    summands = _Operands(operands.graph, whole, operands.found)
    if whole.op == "ReduceSum":
        return part == whole.input(0) and summands.of(0).low >= 0
    makers = [operands.graph.maker(name) for name in whole.inputs]
    sizes = [node.input(0) for node in makers if node is not None and node.op == "Abs"]
    return whole.op == "Add" and part in (*whole.inputs, *sizes) and all(each.low >= 0 for each in summands.all())


def _quotient(a: float, b: float) -> float:
    if b == 0:
        return math.copysign(math.inf, a)
    return 0.0 if a == 0 or math.isinf(b) else a / b


def _reciprocal(operands: _Operands) -> Bounds:
    bounds = operands.of(0)
    return _ordered(_quotient(1, bounds.high), _quotient(1, bounds.low)) if bounds.low >= 0 else ANY


def _neg(operands: _Operands) -> Bounds:
    bounds = operands.of(0)
    return Bounds(-bounds.high, -bounds.low)


def _abs(operands: _Operands) -> Bounds:
    bounds = operands.of(0)
    low = 0.0 if bounds.low <= 0 <= bounds.high else min(abs(bounds.low), abs(bounds.high))
    return Bounds(low, max(abs(bounds.low), abs(bounds.high)))


def _pow(operands: _Operands) -> Bounds:
    bounds, exponent = operands.of(0), operands.scalar(1, math.nan)
    if exponent == 2 and bounds.low < 0:
        return Bounds(0.0, max(bounds.low**2, bounds.high**2))
    if not exponent > 0 or bounds.low < 0:
        return ANY
    return Bounds(bounds.low**exponent, bounds.high**exponent)


def _clip(operands: _Operands) -> Bounds:
    bounds = operands.of(0)
    low = operands.scalar(1, operands.attribute("min", -math.inf))
    high = operands.scalar(2, operands.attribute("max", math.inf))
    if math.isnan(low) or math.isnan(high):
        return ANY
    return Bounds(min(max(bounds.low, low), high), max(min(bounds.high, high), low))


def _min(operands: _Operands) -> Bounds:
    bounds = operands.all()
    return Bounds(min(b.low for b in bounds), min(b.high for b in bounds))


def _max(operands: _Operands) -> Bounds:
    bounds = operands.all()
    return Bounds(max(b.low for b in bounds), max(b.high for b in bounds))


def _cast(operands: _Operands) -> Bounds:
    bounds, to = operands.of(0), operands.node.attrs.get("to")
    if to == TensorProto.BOOL:
        return UNIT
    if to == TensorProto.UINT8:  # anything else wraps around
        return Bounds(math.floor(bounds.low), math.floor(bounds.high)) if bounds.within(0, 255.99) else Bounds(0, 255)
    if to in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE) or not bounds.finite:
        return bounds
    return Bounds(math.trunc(bounds.low), math.trunc(bounds.high))


def _mean(operands: _Operands) -> Bounds:
    bounds = operands.all()
    return _ordered(sum(b.low for b in bounds) / len(bounds), sum(b.high for b in bounds) / len(bounds))


# Sums over several elements


def _reduce_sum(operands: _Operands) -> Bounds:
    before, after = operands.graph.shape(operands.node.input(0)), operands.graph.shape(operands.node.output)
    if before is None or after is None or not math.prod(after):
        return ANY
    count, bounds = math.prod(before) // math.prod(after), operands.of(0)
    return Bounds(_product(bounds.low, count), _product(bounds.high, count))


def _weighted_sum(bounds: Bounds, weights: np.ndarray, bias: np.ndarray, *, padded: bool) -> Bounds:
    """Of values within bounds; `weights` (outputs, summands)."""
    if not bounds.finite or not weights.size:
        return ANY
    reach = _with_zero(bounds) if padded else bounds
    up, down = np.maximum(weights, 0).sum(1), np.minimum(weights, 0).sum(1)
    low = up * reach.low + down * reach.high + bias
    high = up * reach.high + down * reach.low + bias
    return Bounds(float(low.min()), float(high.max()))


def _conv(operands: _Operands) -> Bounds:
    weights, bias = operands.array(1), operands.array(2)
    if not operands.of(0).finite or weights is None or (bias is None and operands.node.input(2)):
        return ANY
    flat = weights.reshape(len(weights), -1).astype(np.float64)
    padded = any(operands.node.attrs.get("pads", ())) or operands.node.attrs.get("auto_pad", "NOTSET") != "NOTSET"
    return _weighted_sum(operands.of(0), flat, np.zeros(len(flat)) if bias is None else bias, padded=padded)


def _conv_transpose(operands: _Operands) -> Bounds:
    """Each output pixel reads the taps of its phase: every s-th one, s being the stride."""
    weights, bias, attrs = operands.array(1), operands.array(2), operands.node.attrs
    if not operands.of(0).finite or weights is None or (bias is None and operands.node.input(2)):
        return ANY
    strides = attrs.get("strides") or [1] * (weights.ndim - 2)
    group = int(attrs.get("group", 1))
    if set(attrs.get("dilations") or [1]) != {1} or len(weights) % group:
        return ANY
    offsets = np.zeros(group * weights.shape[1]) if bias is None else bias
    found = []
    for block, offset in zip(np.split(weights.astype(np.float64), group), np.split(offsets, group), strict=True):
        for phase in itertools.product(*map(range, strides)):
            steps = [slice(begin, None, stride) for begin, stride in zip(phase, strides, strict=True)]
            index = (slice(None), slice(None), *steps)
            taps = np.moveaxis(block[index], 1, 0).reshape(block.shape[1], -1)
            rows = taps if taps.size else np.zeros((block.shape[1], 1))
            found.append(_weighted_sum(operands.of(0), rows, offset, padded=True))
    return _hull(found)


def _mat_mul(operands: _Operands) -> Bounds:
    """x·B sums each column of B, A·x each row of A."""
    for index, other in ((1, 0), (0, 1)):
        weights = operands.array(index)
        if weights is not None and weights.ndim >= 2 and operands.of(other).finite:
            rows = (weights.swapaxes(-1, -2) if index == 1 else weights).astype(np.float64)
            rows = rows.reshape(-1, rows.shape[-1])
            return _weighted_sum(operands.of(other), rows, np.zeros(len(rows)), padded=False)
    return ANY


def _quantize(operands: _Operands) -> Bounds:
    """q = round(x / s) + z, within its type."""
    span = _SPANS.get(operands.graph.dtype(operands.node.output), ANY)
    bounds, scale, zero = operands.of(0), operands.scalar(1, math.nan), operands.scalar(2, 0.0)
    if not bounds.finite or not scale > 0 or math.isnan(zero):
        return span
    low, high = (min(max(round(end / scale) + zero, span.low), span.high) for end in (bounds.low, bounds.high))
    return Bounds(low, high)


def _dequantize(operands: _Operands) -> Bounds:
    """x = (q - z)·s."""
    name = operands.node.input(0)
    bounds = operands.found.get(name, _SPANS.get(operands.graph.dtype(name), ANY))
    scale, zero = operands.scalar(1, math.nan), operands.scalar(2, 0.0)
    if operands.graph.is_constant(name) or not bounds.finite or not scale > 0 or math.isnan(zero):
        return ANY
    return Bounds((bounds.low - zero) * scale, (bounds.high - zero) * scale)


def _batch_norm(operands: _Operands) -> Bounds:
    arrays = [operands.array(index) for index in range(1, 5)]
    if not operands.of(0).finite or any(array is None for array in arrays):
        return ANY
    gain, offset, mean, variance = (np.asarray(array, np.float64) for array in arrays)
    slope = gain / np.sqrt(variance + operands.attribute("epsilon", 1e-5))
    return _weighted_sum(operands.of(0), slope[:, None], offset - mean * slope, padded=False)


# Pictures


def _resize(operands: _Operands) -> Bounds:
    bounds = operands.of(0)
    if operands.node.attrs.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        bounds = _hull([bounds, Bounds(*2 * (operands.attribute("extrapolation_value", 0.0),))])
    if operands.node.attrs.get("mode", "nearest") != "cubic" or not bounds.finite:
        return bounds if operands.node.attrs.get("mode", "nearest") != "cubic" else ANY
    slack = CUBIC * (bounds.high - bounds.low)
    return Bounds(bounds.low - slack, bounds.high + slack)


def _pad(operands: _Operands) -> Bounds:
    if operands.node.attrs.get("mode", "constant") != "constant":
        return operands.of(0)
    value = operands.scalar(2, operands.attribute("value", 0.0))
    return ANY if math.isnan(value) else _hull([operands.of(0), Bounds(value, value)])


def _average_pool(operands: _Operands) -> Bounds:
    zeros = operands.node.attrs.get("count_include_pad") and any(operands.node.attrs.get("pads", ()))
    return _with_zero(operands.of(0)) if zeros else operands.of(0)


def _arg_max(operands: _Operands) -> Bounds:
    shape = operands.graph.shape(operands.node.input(0))
    if not shape:
        return Bounds(0.0, math.inf)
    return Bounds(0.0, float(shape[int(operands.node.attrs.get("axis", 0)) % len(shape)] - 1))


def _sigmoid(x: float) -> float:
    return 0.5 + 0.5 * math.tanh(0.5 * x)


def _exp(x: float) -> float:
    return math.exp(x) if x < 700 else math.inf


_KEEP = frozenset(
    {*("Identity", "Dropout", "Squeeze", "Unsqueeze", "Reshape", "Transpose", "Flatten", "Slice", "Gather", "GatherND")}
    | {*("GatherElements", "Split", "Expand", "Tile", "DepthToSpace", "SpaceToDepth", "MaxPool", "GlobalMaxPool")}
    | {*("GlobalAveragePool", "ReduceMax", "ReduceMin", "ReduceMean", "Upsample", "TopK", "Compress")}
)
_FIXED = {
    **dict.fromkeys(("Softmax", "Hardmax", "HardSigmoid"), UNIT),
    **dict.fromkeys(("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "Not", "And", "Or", "Xor"), UNIT),
    **dict.fromkeys(("IsNaN", "IsInf"), UNIT),
    **dict.fromkeys(("Softsign", "Sign", "Sin", "Cos", "Erf", "LpNormalization"), Bounds(-1.0, 1.0)),
    "Atan": Bounds(-math.pi / 2, math.pi / 2),
    "LogSoftmax": Bounds(high=0.0),
    **dict.fromkeys(("ReduceL1", "ReduceL2", "ReduceSumSquare"), Bounds(low=0.0)),
    **dict.fromkeys(("HardSwish", "Gelu", "Mish", "Swish"), Bounds(low=-0.375)),
}
_RISING: dict[str, Callable[[float], float]] = {
    "Sigmoid": _sigmoid,
    "Tanh": math.tanh,
    "Relu": lambda x: max(x, 0.0),
    "Softplus": lambda x: x if x > 30 else math.log1p(math.exp(max(x, -700))) if x > -math.inf else 0.0,
    "Exp": _exp,
    "Sqrt": lambda x: math.sqrt(x) if x > 0 else 0.0,
    "Log": lambda x: math.log(x) if x > 0 else -math.inf,
    "Floor": lambda x: float(math.floor(x)) if math.isfinite(x) else x,
    "Ceil": lambda x: float(math.ceil(x)) if math.isfinite(x) else x,
    "Round": lambda x: float(round(x)) if math.isfinite(x) else x,
}
_RULES: dict[str, Callable[[_Operands], Bounds]] = {
    "Add": _add,
    "Sub": _sub,
    "Mul": _mul,
    "Div": _div,
    "Neg": _neg,
    "Abs": _abs,
    "Reciprocal": _reciprocal,
    "Pow": _pow,
    "Clip": _clip,
    "Min": _min,
    "Max": _max,
    "Concat": lambda operands: _hull(operands.all()),
    "Where": lambda operands: _hull(operands.all(1)),
    "GridSample": lambda operands: _with_zero(operands.of(0)),
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
    "Cast": _cast,
    "Sum": lambda operands: _ordered(sum(b.low for b in operands.all()), sum(b.high for b in operands.all())),
    "Mean": _mean,
    "ReduceSum": _reduce_sum,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "MatMul": _mat_mul,
    "BatchNormalization": _batch_norm,
    "Resize": _resize,
    "Pad": _pad,
    "AveragePool": _average_pool,
    "ArgMax": _arg_max,
}
