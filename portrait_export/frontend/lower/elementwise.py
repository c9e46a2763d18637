"""Lower ONNX arithmetic to MIL, element by element: Add, Pow, Erf, Clip, Mod, Cast …"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..context import MIL_TYPES, QUANTIZED_TYPES, Node, Unsupported
from ..registry import lowers, register_table
from ._common import as_bool, binary, need_float, reduce_tree, unary, xy

ONE_TO_ONE = {
    "Acos": "acos",
    "Asin": "asin",
    "Atan": "atan",
    "Atanh": "atanh",
    "Cos": "cos",
    "Cosh": "cosh",
    "Erf": "erf",
    "Exp": "exp",
    "Log": "log",
    "Sin": "sin",
    "Sinh": "sinh",
    "Sqrt": "sqrt",
    "Tan": "tan",
}
register_table(ONE_TO_ONE, unary, __name__)

ROUNDING = {"Ceil": "ceil", "Floor": "floor", "Round": "round"}
register_table(ROUNDING, unary, __name__)

ARITHMETIC = {"Add": "add", "Sub": "sub", "Mul": "mul"}
register_table(ARITHMETIC, binary, __name__)


@lowers("Abs", "Sign")
def abs_or_sign(node: Node) -> Any:
    """|x|, or −1, 0, 1."""
    return node.emit({"Abs": "abs", "Sign": "sign"}[node.op_type], x=node.var())


@lowers("Neg")
def neg(node: Node) -> Any:
    """−x."""
    return node.emit("mul", x=node.var(), y=node.dtype().type(-1))


@lowers("Reciprocal")
def reciprocal(node: Node) -> Any:
    """1 / x, exactly. (MIL's `inverse` adds an epsilon.)"""
    need_float(node)
    return node.emit("real_div", x=node.float_scalar(1, node.x()), y=node.var())


@lowers("Acosh")
def acosh(node: Node) -> Any:
    """log(x + √(x − 1)·√(x + 1))."""
    need_float(node)
    x, one = node.var(), node.float_scalar(1, node.x())
    roots = [node.emit("sqrt", x=node.emit(op, x=x, y=one)) for op in ("sub", "add")]
    product = node.emit("mul", x=roots[0], y=roots[1])
    return node.emit("log", x=node.emit("add", x=x, y=product))


@lowers("Asinh")
def asinh(node: Node) -> Any:
    """sign(x) · log(|x| + √(x² + 1)), which does not cancel for negative x."""
    need_float(node)
    x, one = node.var(), node.float_scalar(1, node.x())
    size = node.emit("abs", x=x)
    root = node.emit("sqrt", x=node.emit("add", x=node.emit("mul", x=x, y=x), y=one))
    logarithm = node.emit("log", x=node.emit("add", x=size, y=root))
    return node.emit("mul", x=node.emit("sign", x=x), y=logarithm)


@lowers("Div")
def div(node: Node) -> Any:
    """x / y; integers are truncated towards zero, as in C."""
    x, y = node.x(0), node.x(1)
    if node.dtype().kind == "f":
        return node.emit("real_div", **xy(node, x, y))
    sign = node.emit("mul", **xy(node, _sign(node, x), _sign(node, y)))
    size = node.emit("floor_div", **xy(node, _abs(node, x), _abs(node, y)))
    return node.emit("mul", x=size, y=sign)


def _sign(node: Node, value: Any) -> Any:
    return np.sign(value) if isinstance(value, np.ndarray) else node.emit("sign", x=value)


def _abs(node: Node, value: Any) -> Any:
    return np.abs(value) if isinstance(value, np.ndarray) else node.emit("abs", x=value)


@lowers("Pow")
def power(node: Node) -> Any:
    """xʸ in the type of x; small whole exponents by multiplication, which is exact for negative bases, too."""
    x, y = node.var(0), node.x(1)
    kind = node.dtype()
    if isinstance(y, np.ndarray) and y.size == 1 and y.reshape(-1)[0] in (1, 2, 3, 0.5) and y.ndim <= len(x.shape):
        return _small_power(node, x, float(y.reshape(-1)[0]))
    if kind.kind == "i" and not (isinstance(y, np.ndarray) and np.all(y >= 0) and y.dtype.kind == "i"):
        result = node.emit("pow", **xy(node, node.cast(x, np.float32), node.cast(y, np.float32)))
        return node.cast(result, kind)
    return node.emit("pow", x=x, y=node.cast(y, kind))


def _small_power(node: Node, x: Any, exponent: float) -> Any:
    if exponent == 0.5:
        if node.dtype_of(x).kind != "f":
            raise Unsupported("a square root of integers")
        return node.emit("sqrt", x=x)
    if exponent == 1:
        return node.emit("identity", x=x)
    squared = node.emit("square", x=x)
    return squared if exponent == 2 else node.emit("mul", x=squared, y=x)


@lowers("Mod", since=28)
def mod_of_floats(node: Node) -> Any:
    """x − floor(x / y) · y, also of floats; with `fmod` as before."""
    if node.attr("fmod", 0):
        return mod(node)
    return node.emit("mod", **xy(node, node.x(0), node.x(1)))


@lowers("Mod")
def mod(node: Node) -> Any:
    """x mod y; with `fmod` the result has the sign of x, otherwise that of y.

    fmod(x, y) = sign(x) · (|x| mod |y|).
    """
    x, y = node.x(0), node.x(1)
    if not node.attr("fmod", 0):
        if node.dtype().kind == "f":
            raise Unsupported("fmod=0 on floats, which ONNX defines from opset 28 on")
        return node.emit("mod", **xy(node, x, y))
    size = node.emit("mod", **xy(node, _abs(node, x), _abs(node, y)))
    return node.emit("mul", x=size, y=_sign(node, x))


@lowers("Max", "Min", "Sum", "Mean")
def variadic(node: Node) -> Any:
    """Fold any number of operands."""
    op = {"Max": "maximum", "Min": "minimum"}.get(node.op_type, "add")
    values = [node.x(index) for index in range(len(node.inputs))]
    result = reduce_tree(node, values, lambda a, b: node.emit(op, **xy(node, a, b)))
    if node.op_type != "Mean":
        return result
    return node.emit("real_div", x=result, y=node.float_scalar(len(values), result))


@lowers("Clip", since=11)
def clip(node: Node) -> Any:
    """min(max(x, low), high); where low > high, high wins."""
    bounds = [node.x(index) if node.has(index) else None for index in (1, 2)]
    return _clip(node, *bounds)


@lowers("Clip")
def clip_by_attributes(node: Node) -> Any:
    """Before opset 11 the bounds are attributes."""
    low, high = node.attr("min"), node.attr("max")
    kind = node.dtype().type
    return _clip(node, None if low is None else kind(low), None if high is None else kind(high))


def _clip(node: Node, low: Any, high: Any) -> Any:
    x = node.var()
    constants = [b for b in (low, high) if isinstance(b, np.ndarray | np.generic)]
    if len(constants) == 2 and node.dtype().kind == "f" and np.all(low <= high) and np.isfinite([low, high]).all():
        return node.emit("clip", x=x, alpha=np.asarray(low).reshape(()), beta=np.asarray(high).reshape(()))
    if low is not None:
        x = node.emit("maximum", x=x, y=low)
    if high is not None:
        x = node.emit("minimum", x=x, y=high)
    return x if low is not None or high is not None else node.emit("identity", x=x)


@lowers("Cast")
def cast(node: Node) -> Any:
    """Change the type. Floats become integers towards zero; anything but zero becomes True."""
    from onnx import helper

    node.ignore("saturate", "round_mode")  # only about float8 results, which are refused
    wanted = np.dtype(helper.tensor_dtype_to_np_dtype(node.attr("to")))
    return cast_to(node, node.var(), wanted)


@lowers("CastLike")
def cast_like(node: Node) -> Any:
    """Cast to the type of the second input."""
    node.ignore("saturate", "round_mode")
    return cast_to(node, node.var(), np.dtype(node.value(1).dtype) if node.is_const(1) else node.dtype(1))


def cast_to(node: Node, x: Any, wanted: np.dtype) -> Any:
    """A value as another ONNX type, by MIL's nearest. Raises Unsupported where MIL has none."""
    if wanted.name in QUANTIZED_TYPES:
        raise Unsupported(f"a cast to {wanted.name}")
    if wanted.name not in MIL_TYPES:
        raise Unsupported(f"a cast to {wanted.name}; MIL computes in float32, float16, int32 and bool")
    narrow = np.dtype(np.int32) if wanted == np.int64 else wanted
    if node.dtype_of(x) == narrow:
        return x
    if narrow == np.bool_:
        return as_bool(node, x)
    if narrow == np.int32 and node.dtype_of(x).kind == "f":
        return node.cast(x, np.int32)
    return node.cast(x, narrow)


@lowers("IsNaN")
def is_nan(node: Node) -> Any:
    """x ≠ x."""
    need_float(node)
    return node.emit("not_equal", x=node.var(), y=node.var())


@lowers("IsInf")
def is_inf(node: Node) -> Any:
    """Whether x is one of the asked-for infinities."""
    need_float(node)
    x, infinity = node.var(), node.float_scalar(np.inf, node.x())
    positive, negative = node.attr("detect_positive", 1), node.attr("detect_negative", 1)
    if positive and negative:
        return node.emit("equal", x=node.emit("abs", x=x), y=infinity)
    if positive or negative:
        return node.emit("equal", x=x, y=infinity if positive else -infinity)
    return np.zeros(node.shape(), bool)


@lowers("Dropout", since=12)
def dropout(node: Node) -> Any:
    """x: at inference nothing is dropped. The mask says so."""
    node.ignore("seed")
    if node.has(2) and bool(node.const(2, "training_mode")):
        ratio = node.optional_const(1, "ratio")
        if ratio is None or float(ratio) != 0:
            raise Unsupported("training_mode, which drops at random; export the network after model.eval()")
    return node.value(0), np.ones(node.shape(), bool)


@lowers("Dropout")
def dropout_by_attributes(node: Node) -> Any:
    """Before opset 12: always inference."""
    node.ignore("ratio")
    if node.opset < 7 and not node.attr("is_test", 0):
        raise Unsupported("is_test=0, which drops at random; export the network after model.eval()")
    return node.value(0), np.ones(node.shape(), bool)


@lowers("Identity")
def identity(node: Node) -> Any:
    """x itself, without an op."""
    return node.value(0)


@lowers("BitwiseNot", since=18)
def bitwise_not(node: Node) -> Any:
    """−1 − x, in two's complement."""
    if node.dtype() != np.int32:
        raise Unsupported(f"on {node.dtype().name} tensors")
    return node.emit("sub", x=np.int32(-1), y=node.var())
