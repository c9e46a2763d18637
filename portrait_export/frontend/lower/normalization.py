"""Lower ONNX normalizations to MIL: BatchNormalization, LayerNormalization, InstanceNormalization, LRN …"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..context import NodeContext
from ..refusals import Unsupported
from ..registry import lowers
from ..values import Tensor, Var, axis_of, shape_of
from ._common import require_float, select

BATCH_NORM_RANKS = (3, 4, 5)  # of MIL's batch_norm


@lowers("BatchNormalization")
def batch_normalization(node: NodeContext) -> Var:
    """(x − mean) / √(var + ε) · scale + B per channel, with stored statistics."""
    require_float(node)
    node.ignore("momentum", "spatial", "consumed_inputs")
    if node.attr("training_mode", 0) or (node.opset < 7 and not node.attr("is_test", 0)):
        raise Unsupported("training_mode, which updates its statistics; export the network after model.eval()")
    if node.attr("spatial", 1) != 1:
        raise Unsupported("spatial=0")
    x, epsilon = node.var(0), node.attr("epsilon", 1e-5)
    stats = [node.x(index) for index in range(1, 5)]
    scale, bias, mean, variance = stats
    if all(isinstance(v, np.ndarray) for v in stats) and len(shape_of(x)) in BATCH_NORM_RANKS:
        small = node.float_scalar(epsilon, mean)
        return node.emit("batch_norm", x=x, gamma=scale, beta=bias, mean=mean, variance=variance, epsilon=small)
    per_channel = (1, -1, *[1] * (len(shape_of(x)) - 2)) if len(shape_of(x)) > 1 else (-1,)
    scale, bias, mean, variance = (_channels(node, v, per_channel) for v in stats)
    return _standardise(node, x, mean, variance, epsilon, scale, bias)


def _channels(node: NodeContext, value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """One value per channel, reshaped to broadcast along the channels."""
    sizes = [shape_of(value)[0] if size == -1 else size for size in shape]
    return node.reshape(value, sizes)


def _standardise(
    node: NodeContext, x: Tensor, mean: Tensor, variance: Tensor, epsilon: float, scale: Tensor, bias: Tensor
) -> Var:
    """(x − mean) / √(variance + ε) · scale + bias."""
    centred = node.emit("sub", x=x, y=mean)
    deviation: Tensor
    if isinstance(variance, np.ndarray):
        deviation = np.sqrt(variance + variance.dtype.type(epsilon))
    else:
        deviation = node.emit("sqrt", x=node.emit("add", x=variance, y=node.float_scalar(epsilon, x)))
    result = node.emit("real_div", x=centred, y=deviation)
    return node.emit("add", x=node.emit("mul", x=result, y=scale), y=bias)


@lowers("LayerNormalization", since=17)
def layer_normalization(node: NodeContext) -> Var | tuple[Var, ...]:
    """Zero mean and unit variance over the dimensions from `axis` on, times scale, plus bias."""
    require_float(node)
    if node.attr("stash_type", 1) != 1:
        raise Unsupported("a stash_type other than float32")
    x, epsilon = node.var(0), node.attr("epsilon", 1e-5)
    shape = shape_of(x)
    axes = list(range(axis_of(node.attr("axis", -1), len(shape)), len(shape)))
    scale, bias = node.x(1), node.x(2) if node.has(2) else None
    if node.wants(1) or node.wants(2):
        return _with_statistics(node, x, axes, epsilon, scale, bias)
    tail = tuple(shape[axis] for axis in axes)
    if isinstance(scale, np.ndarray) and (bias is None or isinstance(bias, np.ndarray)):
        gamma = np.ascontiguousarray(np.broadcast_to(scale, tail))
        beta = None if bias is None else np.ascontiguousarray(np.broadcast_to(bias, tail))
        return _layer_norm(node, x, axes, epsilon, gamma, beta)
    y = node.emit("mul", x=_layer_norm(node, x, axes, epsilon), y=scale)
    return y if bias is None else node.emit("add", x=y, y=bias)


def _layer_norm(
    node: NodeContext,
    x: Var,
    axes: list[int],
    epsilon: float,
    gamma: np.ndarray | None = None,
    beta: np.ndarray | None = None,
) -> Var:
    before = x.op
    if axes == [3] and before is not None and before.op_type == "transpose":
        perm: list[int] = before.inputs["perm"].val.tolist()
        if perm == [0, 2, 3, 1]:
            # Channels were moved last only to be normalised: normalise them at axis 1 and move the result. The
            # transpose before is then unused, and the one that moves the channels back cancels against this one.
            return node.transpose(_layer_norm(node, before.inputs["x"], [1], epsilon, gamma, beta), perm)
    return node.emit(
        "layer_norm",
        x=x,
        axes=np.asarray(axes, np.int32),
        gamma=gamma,
        beta=beta,
        epsilon=node.float_scalar(epsilon, x),
    )


def _with_statistics(
    node: NodeContext, x: Var, axes: list[int], epsilon: float, scale: Tensor, bias: Tensor | None
) -> tuple[Var, ...]:
    """The result, the mean and 1 / standard deviation."""
    over = np.asarray(axes, np.int32)
    mean = node.emit("reduce_mean", x=x, axes=over, keep_dims=True)
    centred = node.emit("sub", x=x, y=mean)
    variance = node.emit("reduce_mean", x=node.emit("square", x=centred), axes=over, keep_dims=True)
    deviation = node.emit("sqrt", x=node.emit("add", x=variance, y=node.float_scalar(epsilon, x)))
    inverse = node.emit("real_div", x=node.float_scalar(1, x), y=deviation)
    y = node.emit("mul", x=node.emit("mul", x=centred, y=inverse), y=scale)
    return (y if bias is None else node.emit("add", x=y, y=bias)), mean, inverse


@lowers("RMSNormalization", since=23)
def rms_normalization(node: NodeContext) -> Var:
    """x / √(mean(x²) + ε) · scale over the dimensions from `axis` on."""
    require_float(node)
    if node.attr("stash_type", 1) != 1:
        raise Unsupported("a stash_type other than float32")
    x, rank = node.var(0), len(node.shape())
    axes = np.arange(axis_of(node.attr("axis", -1), rank), rank, dtype=np.int32)
    power = node.emit("reduce_mean", x=node.emit("square", x=x), axes=axes, keep_dims=True)
    root = node.emit("sqrt", x=node.emit("add", x=power, y=node.float_scalar(node.attr("epsilon", 1e-5), x)))
    return node.emit("mul", x=node.emit("real_div", x=x, y=root), y=node.x(1))


@lowers("InstanceNormalization")
def instance_normalization(node: NodeContext) -> Var:
    """Zero mean and unit variance in each channel of each image, times scale, plus bias."""
    require_float(node)
    node.ignore("consumed_inputs")
    x, scale, bias, epsilon = node.var(0), node.x(1), node.x(2), node.attr("epsilon", 1e-5)
    shape = shape_of(x)
    constant = isinstance(scale, np.ndarray) and isinstance(bias, np.ndarray)
    if constant and len(shape) in (3, 4):
        return node.emit("instance_norm", x=x, gamma=scale, beta=bias, epsilon=node.float_scalar(epsilon, x))
    y = _layer_norm(node, x, list(range(2, len(shape))), epsilon)
    sizes = (1, shape[1], *[1] * (len(shape) - 2))
    y = node.emit("mul", x=y, y=node.reshape(scale, sizes))
    return node.emit("add", x=y, y=node.reshape(bias, sizes))


@lowers("GroupNormalization", since=21)
def group_normalization(node: NodeContext) -> Var:
    """Zero mean and unit variance in each group of channels, times scale and plus bias per channel."""
    if node.attr("stash_type", 1) != 1:
        raise Unsupported("a stash_type other than float32")
    channels = node.shape()[1]
    sizes = (1, channels, *[1] * (len(node.shape()) - 2))
    return _group_norm(node, lambda value: node.reshape(value, sizes))


@lowers("GroupNormalization", since=18)
def group_normalization_by_group(node: NodeContext) -> Var:
    """Opsets 18 to 20: scale and bias are per group."""
    shape, groups = node.shape(), node.attr("num_groups")
    group_size = shape[1] // groups

    def per_channel(value: Tensor) -> np.ndarray:
        if not isinstance(value, np.ndarray):
            raise Unsupported("a scale or bias that the model computes")
        return np.repeat(value, group_size).reshape(1, shape[1], *[1] * (len(shape) - 2))

    return _group_norm(node, per_channel)


def _group_norm(node: NodeContext, per_channel: Callable[[Tensor], Tensor]) -> Var:
    """Group normalization; `per_channel` reshapes scale and bias to broadcast along the channels."""
    require_float(node)
    x, groups, shape = node.var(0), node.attr("num_groups"), node.shape()
    if shape[1] % groups:
        raise Unsupported(f"{shape[1]} channels in {groups} groups")
    grouped = node.reshape(x, (shape[0], groups, int(np.prod(shape[1:], dtype=np.int64)) // groups))
    y = node.reshape(_layer_norm(node, grouped, [2], node.attr("epsilon", 1e-5)), shape)
    y = node.emit("mul", x=y, y=per_channel(node.x(1)))
    return node.emit("add", x=y, y=per_channel(node.x(2)))


@lowers("LRN")
def local_response_normalization(node: NodeContext) -> Var:
    """x / (bias + alpha/size · Σ x² of neighbouring channels)^beta.

    For an even size ONNX sums ⌊(size−1)/2⌋ channels before and ⌈(size−1)/2⌉ after.
    """
    require_float(node)
    x, size = node.var(), int(node.attr("size"))
    alpha, beta, k = node.attr("alpha", 1e-4), node.attr("beta", 0.75), node.attr("bias", 1.0)
    scalar = {name: node.float_scalar(value, x) for name, value in (("alpha", alpha), ("beta", beta), ("k", k))}
    if size % 2 and len(shape_of(x)) in (3, 4):
        return node.emit("local_response_norm", x=x, size=np.int32(size), **scalar)
    total = _window_sum(node, node.emit("square", x=x), size)
    scaled = node.emit("mul", x=total, y=node.float_scalar(alpha / size, x))
    base = node.emit("add", x=scaled, y=scalar["k"])
    return node.emit("real_div", x=x, y=node.emit("pow", x=base, y=scalar["beta"]))


def _window_sum(node: NodeContext, x: Tensor, size: int) -> Var:
    """Sum over a window of channels, as a product with a constant band matrix."""
    shape = shape_of(x)
    channels = np.arange(shape[1])
    distance = channels[None, :] - channels[:, None]
    band = ((distance >= -((size - 1) // 2)) & (distance <= size // 2)).astype(node.dtype_of(x))
    flat = node.reshape(x, (shape[0], shape[1], int(np.prod(shape[2:], dtype=np.int64))))
    return node.reshape(node.emit("matmul", x=np.broadcast_to(band, (1, *band.shape)).copy(), y=flat), shape)


@lowers("LpNormalization")
def lp_normalization(node: NodeContext) -> Var:
    """x divided by its p-norm along an axis; 0 where the norm is 0."""
    require_float(node)
    x, p = node.var(), node.attr("p", 2)
    if p not in (1, 2):
        raise Unsupported(f"p={p}")
    axis = axis_of(node.attr("axis", -1), len(node.shape()))
    op = "reduce_l1_norm" if p == 1 else "reduce_l2_norm"
    norm = node.emit(op, x=x, axes=np.asarray([axis], np.int32), keep_dims=True)
    zero, one = node.float_scalar(0, x), node.float_scalar(1, x)
    safe = select(node, node.emit("equal", x=norm, y=zero), one, norm)
    return node.emit("real_div", x=x, y=safe)


@lowers("MeanVarianceNormalization", since=9)
def mean_variance_normalization(node: NodeContext) -> Var:
    """(x − mean) / (standard deviation + 1e-9) over some axes."""
    require_float(node)
    x = node.var()
    axes = np.asarray([axis_of(a, len(node.shape())) for a in node.attr("axes", [0, 2, 3])], np.int32)
    mean = node.emit("reduce_mean", x=x, axes=axes, keep_dims=True)
    centred = node.emit("sub", x=x, y=mean)
    variance = node.emit("reduce_mean", x=node.emit("square", x=centred), axes=axes, keep_dims=True)
    deviation = node.emit("add", x=node.emit("sqrt", x=variance), y=node.float_scalar(1e-9, x))
    return node.emit("real_div", x=centred, y=deviation)
