"""Lower ONNX activations to MIL: Relu, Gelu, HardSwish, Softmax, PRelu …"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..context import NodeContext
from ..refusals import Unsupported
from ..registry import lowers, register_table
from ..values import Tensor, Var, axis_of, shape_of
from ._common import require_float, select, unary

ONE_TO_ONE = {
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Softplus": "softplus",
    "Softsign": "softsign",
}
register_table(ONE_TO_ONE, unary, __name__)


@lowers("Relu")
def relu(node: NodeContext) -> Var:
    """max(x, 0), on integers too."""
    if node.dtype().kind == "i":
        return node.emit("maximum", x=node.var(), y=np.int32(0))
    return unary("relu")(node)


@lowers("LeakyRelu")
def leaky_relu(node: NodeContext) -> Var:
    """x where x ≥ 0, alpha·x elsewhere."""
    require_float(node)
    return node.emit("leaky_relu", x=node.var(), alpha=node.float_scalar(node.attr("alpha", 0.01), node.x()))


@lowers("PRelu")
def prelu(node: NodeContext) -> Var:
    """max(x, 0) + slope·min(x, 0), by MIL's own prelu if there is one constant slope per channel."""
    require_float(node)
    x, slope = node.var(), node.x(1)
    channels = _per_channel(slope, shape_of(x))
    if channels is not None:
        return node.emit("prelu", x=x, alpha=channels)
    zero = node.float_scalar(0, x)
    positive = node.emit("maximum", x=x, y=zero)
    negative = node.emit("minimum", x=x, y=zero)
    return node.emit("add", x=positive, y=node.emit("mul", x=negative, y=slope))


def _per_channel(slope: Tensor, shape: tuple[int, ...]) -> np.ndarray | None:
    """The slope as (C,) if it is constant and varies only along the channels of an (N, C, …) tensor, else None."""
    if not isinstance(slope, np.ndarray) or not 3 <= len(shape) <= 5:
        return None
    if slope.size == 1:
        return np.full(shape[1], slope.reshape(()), slope.dtype)
    if len(shape) != 4 and np.any(slope != slope.reshape(-1)[0]):
        return None  # MIL has several slopes only for images
    full_rank = (1,) * (len(shape) - slope.ndim) + slope.shape
    return slope.reshape(-1) if full_rank == (1, shape[1], *[1] * (len(shape) - 2)) else None


@lowers("Elu")
def elu(node: NodeContext) -> Var:
    """x where x > 0, alpha·(eˣ − 1) elsewhere."""
    require_float(node)
    return node.emit("elu", x=node.var(), alpha=node.float_scalar(node.attr("alpha", 1.0), node.x()))


@lowers("Selu")
def selu(node: NodeContext) -> Var:
    """gamma · elu(x, alpha)."""
    require_float(node)
    x = node.var()
    alpha, gamma = node.attr("alpha", 1.67326319217681884765625), node.attr("gamma", 1.05070102214813232421875)
    inner = node.emit("elu", x=x, alpha=node.float_scalar(alpha, x))
    return node.emit("mul", x=inner, y=node.float_scalar(gamma, x))


@lowers("Celu")
def celu(node: NodeContext) -> Var:
    """max(x, 0) + min(0, alpha·(e^(x/alpha) − 1)) = alpha · elu(x / alpha, 1)."""
    require_float(node)
    x, alpha = node.var(), node.attr("alpha", 1.0)
    scaled = node.emit("real_div", x=x, y=node.float_scalar(alpha, x))
    inner = node.emit("elu", x=scaled, alpha=node.float_scalar(1, x))
    return node.emit("mul", x=inner, y=node.float_scalar(alpha, x))


@lowers("HardSigmoid")
def hard_sigmoid(node: NodeContext) -> Var:
    """max(0, min(1, alpha·x + beta))."""
    require_float(node)
    return _hard_sigmoid(node, node.attr("alpha", 0.2), node.attr("beta", 0.5))


def _hard_sigmoid(node: NodeContext, alpha: float, beta: float) -> Var:
    x = node.var()
    return node.emit("sigmoid_hard", x=x, alpha=node.float_scalar(alpha, x), beta=node.float_scalar(beta, x))


@lowers("HardSwish", since=14)
def hard_swish(node: NodeContext) -> Var:
    """x · hard_sigmoid(x, 1/6, 1/2)."""
    require_float(node)
    return node.emit("mul", x=node.var(), y=_hard_sigmoid(node, 1 / 6, 0.5))


@lowers("Mish", since=18)
def mish(node: NodeContext) -> Var:
    """x · tanh(softplus(x))."""
    require_float(node)
    x = node.var()
    return node.emit("mul", x=x, y=node.emit("tanh", x=node.emit("softplus", x=x)))


@lowers("Gelu", since=20)
def gelu(node: NodeContext) -> Var:
    """x · Φ(x), exact or with the tanh approximation."""
    require_float(node)
    modes = {"none": "EXACT", "tanh": "TANH_APPROXIMATION"}
    approximate = node.attr("approximate", "none")
    if approximate not in modes:
        raise Unsupported(f"approximate={approximate!r}")
    return node.emit("gelu", x=node.var(), mode=modes[approximate])


@lowers("Swish", since=24)
def swish(node: NodeContext) -> Var:
    """x · sigmoid(alpha·x)."""
    require_float(node)
    x, alpha = node.var(), node.attr("alpha", 1.0)
    if alpha == 1.0:
        return node.emit("silu", x=x)
    inner = node.emit("sigmoid", x=node.emit("mul", x=x, y=node.float_scalar(alpha, x)))
    return node.emit("mul", x=x, y=inner)


@lowers("ThresholdedRelu")
def thresholded_relu(node: NodeContext) -> Var:
    """x where x > alpha, 0 elsewhere. (MIL's own operation also keeps x = alpha.)"""
    require_float(node)
    x = node.var()
    above = node.emit("greater", x=x, y=node.float_scalar(node.attr("alpha", 1.0), x))
    return select(node, above, x, node.float_scalar(0, x))


@lowers("Shrink")
def shrink(node: NodeContext) -> Var:
    """x + bias where x < −lambd, x − bias where x > lambd, 0 elsewhere."""
    require_float(node)
    x, lambd, bias = node.var(), node.attr("lambd", 0.5), node.attr("bias", 0.0)
    scalar = lambda value: node.float_scalar(value, x)  # noqa: E731  three short uses in one formula
    below = node.emit("less", x=x, y=scalar(-lambd))
    above = node.emit("greater", x=x, y=scalar(lambd))
    inner = select(node, above, node.emit("sub", x=x, y=scalar(bias)), scalar(0))
    return select(node, below, node.emit("add", x=x, y=scalar(bias)), inner)


@lowers("Softmax", since=13)
def softmax(node: NodeContext) -> Var:
    """eˣ / Σ eˣ along one axis."""
    require_float(node)
    return node.emit("softmax", x=node.var(), axis=axis_of(node.attr("axis", -1), len(node.shape())))


@lowers("Softmax")
def softmax_2d(node: NodeContext) -> Var:
    """Before opset 13: over all dimensions from `axis` on, as one."""
    return _flattened(node, lambda x: node.emit("softmax", x=x, axis=-1))


@lowers("LogSoftmax", since=13)
def log_softmax(node: NodeContext) -> Var:
    """x − max − log Σ e^(x − max) along one axis."""
    require_float(node)
    return _log_softmax(node, node.var(), axis_of(node.attr("axis", -1), len(node.shape())))


@lowers("LogSoftmax")
def log_softmax_2d(node: NodeContext) -> Var:
    """Before opset 13: over all dimensions from `axis` on, as one."""
    return _flattened(node, lambda x: _log_softmax(node, x, 1))


def _log_softmax(node: NodeContext, x: Tensor, axis: int) -> Var:
    shifted = node.emit("sub", x=x, y=node.emit("reduce_max", x=x, axes=[axis], keep_dims=True))
    total = node.emit("reduce_sum", x=node.emit("exp", x=shifted), axes=[axis], keep_dims=True)
    return node.emit("sub", x=shifted, y=node.emit("log", x=total))


@lowers("Hardmax", since=13)
def hardmax(node: NodeContext) -> Var:
    """1 at the first maximum along one axis, 0 elsewhere."""
    require_float(node)
    return _hardmax(node, node.var(), axis_of(node.attr("axis", -1), len(node.shape())))


@lowers("Hardmax")
def hardmax_2d(node: NodeContext) -> Var:
    """Before opset 13: over all dimensions from `axis` on, as one."""
    return _flattened(node, lambda x: _hardmax(node, x, 1))


def _hardmax(node: NodeContext, x: Tensor, axis: int) -> Var:
    shape = shape_of(x)
    first = node.emit("reduce_argmax", x=x, axis=axis, keep_dims=True)
    ramp = np.arange(shape[axis], dtype=np.int32).reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return node.cast(node.emit("equal", x=first, y=ramp), node.dtype_of(x))


def _flattened(node: NodeContext, apply: Callable[[Var], Var]) -> Var:
    """Apply along the last axis of the tensor reshaped to a matrix: dimensions before `axis` × the rest."""
    require_float(node)
    shape = node.shape()
    axis = axis_of(node.attr("axis", 1), len(shape))
    rows = int(np.prod(shape[:axis], dtype=np.int64))
    flat = node.reshape(node.var(), (rows, int(np.prod(shape[axis:], dtype=np.int64))))
    return node.reshape(apply(flat), shape)
