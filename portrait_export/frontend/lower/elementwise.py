"""Lower ONNX elementwise operators to MIL: Add, Pow, Erf, Clip, Mod, Cast …"""

from __future__ import annotations

import numpy as np

from ..context import NodeContext
from ..refusals import Unsupported
from ..registry import lowers, register_table
from ..values import MIL_TYPES, QUANTIZED_TYPES, Tensor, Value, Var
from ._common import as_bool, binary, combine, require_float, unary, xy

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
def abs_or_sign(node: NodeContext) -> Var:
    """|x|, or −1, 0, 1."""
    return node.emit({"Abs": "abs", "Sign": "sign"}[node.op_type], x=node.var())


@lowers("Neg")
def neg(node: NodeContext) -> Var:
    """−x."""
    return node.emit("mul", x=node.var(), y=node.dtype().type(-1))


@lowers("Reciprocal")
def reciprocal(node: NodeContext) -> Var:
    """1 / x, exactly. (MIL's `inverse` adds an epsilon.)"""
    require_float(node)
    return node.emit("real_div", x=node.float_scalar(1, node.x()), y=node.var())


@lowers("Acosh")
def acosh(node: NodeContext) -> Var:
    """log(x + √(x − 1)·√(x + 1))."""
    require_float(node)
    x, one = node.var(), node.float_scalar(1, node.x())
    roots = [node.emit("sqrt", x=node.emit(op, x=x, y=one)) for op in ("sub", "add")]
    product = node.emit("mul", x=roots[0], y=roots[1])
    return node.emit("log", x=node.emit("add", x=x, y=product))


@lowers("Asinh")
def asinh(node: NodeContext) -> Var:
    """sign(x) · log(|x| + √(x² + 1)), which avoids cancellation for negative x."""
    require_float(node)
    x, one = node.var(), node.float_scalar(1, node.x())
    size = node.emit("abs", x=x)
    root = node.emit("sqrt", x=node.emit("add", x=node.emit("mul", x=x, y=x), y=one))
    logarithm = node.emit("log", x=node.emit("add", x=size, y=root))
    return node.emit("mul", x=node.emit("sign", x=x), y=logarithm)


@lowers("Div")
def div(node: NodeContext) -> Var:
    """x / y; for integers the quotient is truncated towards zero, as in C."""
    x, y = node.x(0), node.x(1)
    if node.dtype().kind == "f":
        return node.emit("real_div", **xy(node, x, y))
    sign = node.emit("mul", **xy(node, _sign(node, x), _sign(node, y)))
    size = node.emit("floor_div", **xy(node, _abs(node, x), _abs(node, y)))
    return node.emit("mul", x=size, y=sign)


def _sign(node: NodeContext, value: Tensor) -> Tensor:
    return np.sign(value) if isinstance(value, np.ndarray) else node.emit("sign", x=value)


def _abs(node: NodeContext, value: Tensor) -> Tensor:
    return np.abs(value) if isinstance(value, np.ndarray) else node.emit("abs", x=value)


@lowers("Pow")
def power(node: NodeContext) -> Var:
    """xʸ in the type of x; small whole exponents by multiplication, which is exact for negative bases too."""
    x, y = node.var(0), node.x(1)
    kind = node.dtype()
    if isinstance(y, np.ndarray) and y.size == 1 and y.reshape(-1)[0] in (1, 2, 3, 0.5) and y.ndim <= len(x.shape):
        return _small_power(node, x, float(y.reshape(-1)[0]))
    if kind.kind == "i" and not (isinstance(y, np.ndarray) and np.all(y >= 0) and y.dtype.kind == "i"):
        result = node.emit("pow", **xy(node, node.cast(x, np.float32), node.cast(y, np.float32)))
        return node.cast(result, kind)
    return node.emit("pow", x=x, y=node.cast(y, kind))


def _small_power(node: NodeContext, x: Tensor, exponent: float) -> Var:
    if exponent == 0.5:
        if node.dtype_of(x).kind != "f":
            raise Unsupported("a square root of integers")
        return node.emit("sqrt", x=x)
    if exponent == 1:
        return node.emit("identity", x=x)
    squared = node.emit("square", x=x)
    return squared if exponent == 2 else node.emit("mul", x=squared, y=x)


@lowers("Mod", since=28)
def mod_of_floats(node: NodeContext) -> Var:
    """x − floor(x / y) · y, for floats too; `fmod` is as in earlier opsets."""
    if node.attr("fmod", 0):
        return _fmod(node)
    return node.emit("mod", **xy(node, node.x(0), node.x(1)))


@lowers("Mod")
def mod(node: NodeContext) -> Var:
    """x mod y; the result has the sign of x with `fmod`, else that of y."""
    x, y = node.x(0), node.x(1)
    if not node.attr("fmod", 0):
        if node.dtype().kind == "f":
            raise Unsupported("fmod=0 on floats, which ONNX defines from opset 28 on")
        return node.emit("mod", **xy(node, x, y))
    return _fmod(node)


def _fmod(node: NodeContext) -> Var:
    """sign(x) · (|x| mod |y|)."""
    x, y = node.x(0), node.x(1)
    size = node.emit("mod", **xy(node, _abs(node, x), _abs(node, y)))
    return node.emit("mul", x=size, y=_sign(node, x))


@lowers("Max", "Min", "Sum", "Mean")
def variadic(node: NodeContext) -> Var:
    """Combine any number of operands."""
    op = {"Max": "maximum", "Min": "minimum"}.get(node.op_type, "add")
    values = [node.x(index) for index in range(len(node.inputs))]
    result = combine(node, values, lambda a, b: node.emit(op, **xy(node, a, b)))
    if node.op_type != "Mean":
        return result
    return node.emit("real_div", x=result, y=node.float_scalar(len(values), result))


@lowers("Clip", since=11)
def clip(node: NodeContext) -> Var:
    """min(max(x, low), high); if low > high the result is high."""
    low, high = (node.x(index) if node.has(index) else None for index in (1, 2))
    return _clip(node, low, high)


@lowers("Clip")
def clip_by_attributes(node: NodeContext) -> Var:
    """Before opset 11: the bounds are attributes."""
    low, high = node.attr("min"), node.attr("max")
    kind = node.dtype().type
    return _clip(node, None if low is None else kind(low), None if high is None else kind(high))


def _clip(node: NodeContext, low: Tensor | None, high: Tensor | None) -> Var:
    x = node.var()
    if isinstance(low, np.ndarray | np.generic) and isinstance(high, np.ndarray | np.generic):
        alpha, beta = np.asarray(low), np.asarray(high)
        if node.dtype().kind == "f" and np.all(alpha <= beta) and np.isfinite([alpha, beta]).all():
            return node.emit("clip", x=x, alpha=alpha.reshape(()), beta=beta.reshape(()))
    if low is not None:
        x = node.emit("maximum", x=x, y=low)
    if high is not None:
        x = node.emit("minimum", x=x, y=high)
    return x if low is not None or high is not None else node.emit("identity", x=x)


@lowers("Cast")
def cast(node: NodeContext) -> Tensor:
    """Convert the type. Floats are truncated towards zero; every number but zero is True."""
    from onnx import helper

    node.ignore("saturate", "round_mode")  # only for float8 results, which are refused
    wanted = np.dtype(helper.tensor_dtype_to_np_dtype(node.attr("to")))
    return cast_to(node, node.var(), wanted)


@lowers("CastLike")
def cast_like(node: NodeContext) -> Tensor:
    """Cast to the type of the second input."""
    node.ignore("saturate", "round_mode")
    like, x = node.value(1), node.value(0)
    wanted = like.dtype if isinstance(like, np.ndarray) else node.dtype(1)
    return x.astype(wanted) if isinstance(x, np.ndarray) else cast_to(node, node.var(), wanted)


def cast_to(node: NodeContext, x: Tensor, wanted: np.dtype) -> Tensor:
    """A value as another ONNX type. Raises Unsupported if MIL does not compute in that type."""
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
def is_nan(node: NodeContext) -> Var:
    """x ≠ x."""
    require_float(node)
    return node.emit("not_equal", x=node.var(), y=node.var())


@lowers("IsInf")
def is_inf(node: NodeContext) -> Tensor:
    """Whether x is one of the infinities that the attributes select."""
    require_float(node)
    x, scalar = node.var(), node.dtype().type
    positive, negative = node.attr("detect_positive", 1), node.attr("detect_negative", 1)
    if positive and negative:
        return node.emit("equal", x=node.emit("abs", x=x), y=scalar(np.inf))
    if positive or negative:
        return node.emit("equal", x=x, y=scalar(np.inf if positive else -np.inf))
    return np.zeros(node.shape(), bool)


@lowers("Dropout", since=12)
def dropout(node: NodeContext) -> tuple[Value, np.ndarray]:
    """x itself, and a mask of ones: nothing is dropped at inference."""
    node.ignore("seed")
    if node.has(2) and bool(node.const(2, "training_mode")):
        ratio = node.optional_const(1, "ratio")
        if ratio is None or float(ratio) != 0:
            raise Unsupported("training_mode, which drops at random; export the network after model.eval()")
    return node.value(0), np.ones(node.shape(), bool)


@lowers("Dropout")
def dropout_by_attributes(node: NodeContext) -> tuple[Value, np.ndarray]:
    """Before opset 12: inference only."""
    node.ignore("ratio")
    if node.opset < 7 and not node.attr("is_test", 0):
        raise Unsupported("is_test=0, which drops at random; export the network after model.eval()")
    return node.value(0), np.ones(node.shape(), bool)


@lowers("Identity")
def identity(node: NodeContext) -> Value:
    """x itself, without a MIL operation."""
    return node.value(0)


@lowers("BitwiseNot", since=18)
def bitwise_not(node: NodeContext) -> Var:
    """−1 − x, in two's complement."""
    if node.dtype() != np.int32:
        raise Unsupported(f"on {node.dtype().name} tensors")
    return node.emit("sub", x=np.int32(-1), y=node.var())
