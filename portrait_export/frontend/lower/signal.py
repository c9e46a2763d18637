"""Lower ONNX Fourier transforms to MIL: DFT, STFT, as products with constant matrices of cosines and sines.

MIL has no complex numbers. ONNX has a last dimension of 1 (real) or 2 (real and imaginary part), so a transform is one
matrix over samples and parts together.
"""

from __future__ import annotations

import numpy as np

from ..context import NodeContext
from ..refusals import Unsupported
from ..registry import lowers
from ..values import Var, axis_of, shape_of
from ._common import require_float
from .linear import product

MAX_ELEMENTS = 2**24  # of a transform's matrix: 2048 complex samples; in float16 it is 32 MB of the package


def matrix(samples: int, length: int, parts: int, *, inverse: bool, bins: int) -> np.ndarray:
    """The (samples, parts, bins, 2) float64 matrix of a transform over `length` samples, truncated or zero-padded.

    X_k = Σ_n x_n · e^(∓2πi·kn/length), the inverse over length.
    """
    if samples * parts * bins * 2 > MAX_ELEMENTS:
        raise Unsupported(f"a transform of {samples} samples to {bins} bins, whose matrix has too many elements")
    n, k = np.arange(samples)[:, None], np.arange(bins)[None]
    angle = 2 * np.pi * ((n * k) % length) / length
    cosine, sine = np.cos(angle), np.sin(angle) * (1 if inverse else -1)
    real, imaginary = np.stack([cosine, sine], -1), np.stack([-sine, cosine], -1)
    both = np.stack([real, imaginary][:parts], 1)
    return (both / length if inverse else both) * (n < length)[:, :, None, None]


@lowers("DFT", since=20)
def dft(node: NodeContext) -> Var:
    """The transform along one dimension; the axis is an input, by default the last one before the parts."""
    return _dft(node, int(node.const(2, "axis").reshape(-1)[0]) if node.has(2) else -2)


@lowers("DFT", since=17)
def dft_by_attribute(node: NodeContext) -> Var:
    """Opsets 17 to 19: the axis is an attribute."""
    return _dft(node, node.attr("axis", 1))


def _dft(node: NodeContext, axis: int) -> Var:
    require_float(node)
    x, shape = node.var(0), node.shape()
    axis, parts = axis_of(axis, len(shape)), shape[-1]
    inverse, onesided = bool(node.attr("inverse", 0)), bool(node.attr("onesided", 0))
    if axis == len(shape) - 1 or parts not in (1, 2):
        raise Unsupported(f"axis {axis} of shape {shape}; the last dimension must be 1 (real) or 2 (complex)")
    if onesided and inverse != (parts == 2):
        raise Unsupported(f"onesided with inverse={int(inverse)} and a last dimension of {parts}")
    whole = 2 * (shape[axis] - 1) if onesided and inverse else shape[axis]
    length = int(node.const(1, "dft_length").reshape(-1)[0]) if node.has(1) else whole
    if onesided and inverse:
        table = _real_inverse(shape[axis], length)
    else:
        bins = length // 2 + 1 if onesided else length
        table = matrix(shape[axis], length, parts, inverse=inverse, bins=bins)
    order = [i for i in range(len(shape) - 1) if i != axis] + [axis, len(shape) - 1]
    before, columns = [shape[i] for i in order[:-2]], table.shape[2:]
    rows = node.reshape(node.transpose(x, order), (int(np.prod(before, dtype=np.int64)), shape[axis] * parts))
    flat = table.reshape(shape[axis] * parts, -1).astype(node.dtype())
    result = node.reshape(product(node, rows, flat), (*before, *columns))
    return node.transpose(result, np.argsort(order).tolist())


def _real_inverse(bins: int, length: int) -> np.ndarray:
    """The (bins, 2, length, 1) matrix from a one-sided spectrum to real samples.

    The other side is the conjugate: each bin counts twice, except the first and, for an even length, the middle one.
    """
    table = matrix(bins, length, 2, inverse=True, bins=length)[..., :1]
    k = np.arange(bins)
    twice = np.where((k == 0) | (2 * k == length), 1.0, 2.0) * (2 * k <= length)
    return table * twice.reshape(-1, 1, 1, 1)


@lowers("STFT", since=17)
def stft(node: NodeContext) -> Var:
    """Transforms of windows of a signal, (N, L, 1 or 2) to (N, frames, bins, 2), as a strided convolution."""
    require_float(node)
    batch, samples, parts = node.shape() if len(node.shape()) == 3 else (*node.shape(), 1)
    step, window = node.ints(1, "frame_step")[0], node.optional_const(2, "window")
    if node.has(3):
        length = node.ints(3, "frame_length")[0]
    elif window is not None:
        length = len(window)
    else:
        raise Unsupported("neither a window nor a frame_length")
    if window is not None and len(window) != length:
        raise Unsupported(f"a window of {len(window)} for frames of {length}")
    onesided = bool(node.attr("onesided", 1))
    if onesided and parts == 2:
        raise Unsupported("onesided with complex numbers; ONNX's implementations disagree on it")
    bins = length // 2 + 1 if onesided else length
    table = matrix(length, length, parts, inverse=False, bins=bins)
    if window is not None:
        table = table * window.reshape(-1, 1, 1, 1)
    signal = node.transpose(node.reshape(node.var(0), (batch, samples, parts)), [0, 2, 1])
    weight = np.ascontiguousarray(table.reshape(length, parts, bins * 2).transpose(2, 1, 0)).astype(node.dtype())
    found = node.emit("conv", x=signal, weight=weight, strides=np.asarray([step], np.int32), pad_type="valid")
    return node.reshape(node.transpose(found, [0, 2, 1]), (batch, shape_of(found)[2], bins, 2))
