"""Lower ONNX resizing to MIL: Resize, Upsample.

Every Resize is linear in its input and separable: out = W_h · x · W_wᵀ with constant W. One of MIL's own resizing
operations is used if it has exactly these weights; else the weights themselves: as a gather if each row selects one
element, otherwise as a matrix product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..context import NodeContext
from ..refusals import Unsupported
from ..registry import lowers
from ..values import Tensor, Var, axis_of, shape_of
from ._common import select
from .linear import product

SAMPLING_MODES = {  # coordinate transformation → sampling_mode of MIL's resize_bilinear
    "half_pixel": "UNALIGN_CORNERS",
    "pytorch_half_pixel": "UNALIGN_CORNERS",
    "half_pixel_symmetric": "UNALIGN_CORNERS",
    "align_corners": "STRICT_ALIGN_CORNERS",
    "asymmetric": "DEFAULT",
}
INTEGRAL = 1e-4  # elements; a float32 scale times a size is this close to the intended whole number
ROUNDING = 1e-5  # elements; the error of a few roundings in float32
TRANSFORMATIONS = (*SAMPLING_MODES, "tf_crop_and_resize", "tf_half_pixel_for_nn")
NEAREST: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


@dataclass(frozen=True)
class AxisResize:
    """The resizing of one dimension.

    Attributes:
        size, out: elements before and after.
        scale: as ONNX uses it in coordinates: out / size, or the given scale, which may differ after rounding.
        roi: start and end as fractions, for tf_crop_and_resize.
    """

    size: int
    out: int
    scale: float
    roi: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True)
class Method:
    """How to interpolate.

    Attributes:
        mode: nearest, linear or cubic.
        transformation: from output index to input coordinate.
        nearest: rounding, for mode nearest.
        cubic: coefficient a of the cubic kernel.
        exclude_outside: whether elements beyond the border have weight 0; otherwise the border is repeated.
        antialias: whether the kernel is widened when downsampling.
    """

    mode: str
    transformation: str
    nearest: str = "round_prefer_floor"
    cubic: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False


def coordinates(axis: AxisResize, transformation: str, dtype: type = np.float64) -> np.ndarray:
    """The input coordinate of each output element, (out,). ONNX operator specification, Resize."""
    i: np.ndarray = np.arange(axis.out, dtype=dtype)
    size, out, scale = axis.size, axis.out, dtype(axis.scale)
    if transformation == "pytorch_half_pixel":
        return (i + 0.5) / scale - 0.5 if out > 1 else np.zeros(1)
    if transformation == "half_pixel":
        return (i + 0.5) / scale - 0.5
    if transformation == "half_pixel_symmetric":
        return size / 2 * (1 - out / (scale * size)) + (i + 0.5) / scale - 0.5
    if transformation == "tf_half_pixel_for_nn":
        return (i + 0.5) / scale
    if transformation == "asymmetric":
        return i / scale
    if transformation == "align_corners":
        if abs(axis.scale * size - out) > INTEGRAL:
            raise Unsupported(
                f"align_corners with {size} · {axis.scale:g} elements; ONNX's implementations disagree on it"
            )
        return i * (size - 1) / (out - 1) if out > 1 else np.zeros(1)
    start, end = axis.roi
    if out == 1:
        return np.asarray([0.5 * (start + end) * (size - 1)])
    return start * (size - 1) + i * (end - start) * (size - 1) / (out - 1)


def weights(axis: AxisResize, method: Method) -> np.ndarray:
    """The (out, size) float64 matrix that resizes one dimension."""
    x = coordinates(axis, method.transformation)
    if method.mode == "nearest":
        return np.eye(axis.size)[_nearest(axis, method)]
    shrink = min(axis.scale, 1.0) if method.antialias else 1.0
    reach = int(np.ceil((1 if method.mode == "linear" else 2) / shrink))
    taps = np.floor(x)[:, None] + np.arange(-reach, reach + 2)[None]  # (out, taps)
    distance = shrink * (taps - x[:, None])
    kernel = _linear(distance) if method.mode == "linear" else _cubic(distance, method.cubic)
    if method.exclude_outside:
        kernel = np.where((taps < 0) | (taps >= axis.size), 0.0, kernel)
    if method.exclude_outside or method.antialias:
        kernel = kernel / kernel.sum(1, keepdims=True)
    matrix = np.zeros((axis.out, axis.size))
    np.add.at(matrix, (np.arange(axis.out)[:, None], np.clip(taps, 0, axis.size - 1).astype(int)), kernel)
    return matrix


def _nearest(axis: AxisResize, method: Method) -> np.ndarray:
    """The index of the element that each output copies.

    Implementations compute in float32 or float64. Raises Unsupported if the results would differ.
    """

    def rounded(dtype: type, shift: float = 0.0) -> np.ndarray:
        position = coordinates(axis, method.transformation, dtype) + shift
        return np.clip(NEAREST[method.nearest](position), 0, axis.size - 1).astype(int)

    picked = rounded(np.float64)
    others = [rounded(np.float32)]
    if method.transformation == "half_pixel_symmetric" and axis.scale * axis.size != axis.out:
        # the offset is a difference of rounded numbers, and implementations compute it in different orders
        others += [rounded(np.float64, -ROUNDING), rounded(np.float64, ROUNDING)]
    if not all(np.array_equal(picked, other) for other in others):
        raise Unsupported(f"nearest elements of {axis.size} → {axis.out} that depend on rounding errors")
    return picked


def _linear(t: np.ndarray) -> np.ndarray:
    return np.clip(1 - np.abs(t), 0, 1)


def _cubic(t: np.ndarray, a: float) -> np.ndarray:
    """Keys' kernel. R. Keys, "Cubic convolution interpolation for digital image processing", 1981."""
    t = np.abs(t)
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


@lowers("Resize", since=11)
def resize(node: NodeContext) -> Tensor:
    """Resize any dimensions by scales or to sizes."""
    method = Method(
        mode=node.attr("mode", "nearest"),
        transformation=node.attr("coordinate_transformation_mode", "half_pixel"),
        nearest=node.attr("nearest_mode", "round_prefer_floor"),
        cubic=node.attr("cubic_coeff_a", -0.75),
        exclude_outside=bool(node.attr("exclude_outside", 0)),
        antialias=bool(node.attr("antialias", 0)),
    )
    if method.mode not in ("nearest", "linear", "cubic") or method.nearest not in NEAREST:
        raise Unsupported(f"mode={method.mode!r} nearest_mode={method.nearest!r}")
    if method.transformation not in TRANSFORMATIONS:
        raise Unsupported(f"coordinate_transformation_mode={method.transformation!r}")
    return _resized(node, _axes(node, method), method, node.attr("extrapolation_value", 0.0))


@lowers("Resize", since=10)
def resize_10(node: NodeContext) -> Tensor:
    """Opset 10: scales only, with asymmetric coordinates."""
    return _upsample(node, node.const(1, "scales"))


@lowers("Upsample")
def upsample(node: NodeContext) -> Tensor:
    """Scales (an input since opset 9, an attribute before), with asymmetric coordinates."""
    return _upsample(node, node.const(1, "scales") if node.has(1) else np.asarray(node.attr("scales")))


def _upsample(node: NodeContext, scales: np.ndarray) -> Tensor:
    mode = {"bilinear": "linear"}.get(node.attr("mode", "nearest"), node.attr("mode", "nearest"))
    if mode not in ("nearest", "linear"):
        raise Unsupported(f"mode={mode!r}")
    axes = {
        axis: AxisResize(size=size, out=int(np.floor(np.float32(size) * np.float32(scale))), scale=float(scale))
        for axis, (size, scale) in enumerate(zip(node.shape(), scales.reshape(-1), strict=True))
    }
    return _resized(node, axes, Method(mode=mode, transformation="asymmetric", nearest="floor"), 0.0)


def _axes(node: NodeContext, method: Method) -> dict[int, AxisResize]:
    """The resizing of each dimension, by axis."""
    shape = node.shape()
    axes = [axis_of(a, len(shape)) for a in node.attr("axes", list(range(len(shape))))]
    given = [node.optional_const(index, name) for index, name in ((1, "roi"), (2, "scales"), (3, "sizes"))]
    roi, scales, sizes = (None if v is None or not v.size else v.reshape(-1) for v in given)
    policy = node.attr("keep_aspect_ratio_policy", "stretch")
    if sizes is not None:
        outs, factors = _by_sizes([shape[a] for a in axes], [int(v) for v in sizes], policy)
    elif scales is not None:
        factors = [float(v) for v in scales]
        outs = [int(np.floor(np.float32(shape[a]) * np.float32(f))) for a, f in zip(axes, factors, strict=True)]
    else:
        raise Unsupported("neither scales nor sizes")
    fractions = [(0.0, 1.0)] * len(axes)
    if method.transformation == "tf_crop_and_resize":
        if roi is None:
            raise Unsupported("tf_crop_and_resize without a roi")
        fractions = list(zip(map(float, roi[: len(axes)]), map(float, roi[len(axes) :]), strict=True))
    return {
        axis: AxisResize(size=shape[axis], out=out, scale=factor, roi=fraction)
        for axis, out, factor, fraction in zip(axes, outs, factors, fractions, strict=True)
    }


def _by_sizes(old: list[int], sizes: list[int], policy: str) -> tuple[list[int], list[float]]:
    """Output sizes and scales for requested sizes; a policy other than stretch uses one scale for all dimensions."""
    if policy == "stretch":
        return sizes, [new / size for new, size in zip(sizes, old, strict=True)]
    choose = {"not_larger": min, "not_smaller": max}.get(policy)
    if choose is None:
        raise Unsupported(f"keep_aspect_ratio_policy={policy!r}")
    scale = choose(new / size for new, size in zip(sizes, old, strict=True))
    return [int(np.floor(scale * size + 0.5)) for size in old], [scale] * len(old)


def _resized(node: NodeContext, axes: dict[int, AxisResize], method: Method, extrapolation: float) -> Tensor:
    """Resize each dimension that changes; outside a crop region is the extrapolation value."""
    x = node.x()
    if any(axis.out < 1 for axis in axes.values()):
        raise Unsupported(f"an empty result, {[axis.out for axis in axes.values()]}")
    matrices = {index: weights(axis, method) for index, axis in axes.items()}
    changing = {index: matrix for index, matrix in matrices.items() if not _is_identity(matrix)}
    _require_defined(axes, changing, method)
    result: Tensor | None = _native(node, x, {index: axes[index] for index in changing}, changing, method)
    if result is None:
        result = x
        for index, matrix in changing.items():
            result = _by_matrix(node, result, matrix, index)
    if method.transformation != "tf_crop_and_resize":
        return result
    return _with_extrapolation(node, result, axes, extrapolation)


def _is_identity(matrix: np.ndarray) -> bool:
    return matrix.shape[0] == matrix.shape[1] and np.array_equal(matrix, np.eye(len(matrix)))


def _require_defined(axes: dict[int, AxisResize], changing: dict[int, np.ndarray], method: Method) -> None:
    """Raise Unsupported for a resize that ONNX's implementations compute differently."""
    crop = method.transformation == "tf_crop_and_resize"
    for index in changing:
        if axes[index].out == axes[index].size and not crop:
            raise Unsupported(
                f"a scale of {axes[index].scale:g} that does not change the size; ONNX's implementations disagree on it"
            )
    crops_to_same_size = any(axis.out == axis.size and axis.roi != (0.0, 1.0) for axis in axes.values())
    crops_with_antialias = crop and method.antialias and bool(changing)
    if crops_to_same_size or crops_with_antialias:
        raise Unsupported(
            "tf_crop_and_resize with antialias, or to the same size; ONNX's implementations disagree on it"
        )


def _native(
    node: NodeContext, x: Tensor, axes: dict[int, AxisResize], matrices: dict[int, np.ndarray], method: Method
) -> Var | None:
    """MIL's own operation if its weights are the same, else None."""
    rank = len(shape_of(x))
    if not axes or rank not in (3, 4) or min(axes) < rank - 2 or node.dtype_of(x).kind != "f":
        return None
    factors = [matrices[a].shape[0] / matrices[a].shape[1] if a in matrices else 1.0 for a in (rank - 2, rank - 1)]
    if method.mode == "nearest":
        if any(f != int(f) for f in factors) or not all(map(_repeats, matrices.values())):
            return None
        height, width = (np.int32(f) for f in factors)
        return node.emit(
            "upsample_nearest_neighbor", x=node.as_var(x), scale_factor_height=height, scale_factor_width=width
        )
    sampling = SAMPLING_MODES.get(method.transformation)
    if method.mode != "linear" or sampling is None:
        return None
    same = Method(
        mode="linear", transformation="half_pixel" if sampling == "UNALIGN_CORNERS" else method.transformation
    )
    for axis, matrix in matrices.items():
        plain = AxisResize(size=axes[axis].size, out=axes[axis].out, scale=axes[axis].out / axes[axis].size)
        if plain.out < 2 or not np.allclose(matrix, weights(plain, same), rtol=0, atol=1e-6):
            return None
    shape = shape_of(x)
    height, width = (axes[a].out if a in axes else shape[a] for a in (rank - 2, rank - 1))
    if min(height, width) < 2 and sampling != "UNALIGN_CORNERS":
        return None
    return node.emit(
        "resize_bilinear",
        x=node.as_var(x),
        target_size_height=np.int32(height),
        target_size_width=np.int32(width),
        sampling_mode=sampling,
    )


def _repeats(matrix: np.ndarray) -> bool:
    """Whether the matrix repeats each element equally often, in order."""
    out, size = matrix.shape
    return out % size == 0 and np.array_equal(matrix.argmax(1), np.arange(out) // (out // size))


def _by_matrix(node: NodeContext, x: Tensor, matrix: np.ndarray, axis: int) -> Var:
    """Multiply one dimension by a constant matrix."""
    if _selects(matrix):
        return _select_indices(node, node.as_var(x), matrix.argmax(1), axis)
    shape = shape_of(x)
    if node.dtype_of(x).kind != "f":
        raise Unsupported(f"interpolation of {node.dtype_of(x).name} tensors")
    constant = matrix.astype(node.dtype_of(x))
    if axis == len(shape) - 1 and len(shape) > 1:
        return product(node, x, np.ascontiguousarray(constant.T))
    before, after = (int(np.prod(part, dtype=np.int64)) for part in (shape[:axis], shape[axis + 1 :]))
    flat = node.reshape(node.as_var(x), (before, shape[axis], after))
    left = np.ascontiguousarray(np.broadcast_to(constant, (1, *constant.shape)))
    moved = node.emit("matmul", x=left, y=flat)
    return node.reshape(moved, (*shape[:axis], matrix.shape[0], *shape[axis + 1 :]))


def _selects(matrix: np.ndarray) -> bool:
    """Whether each row of the matrix selects one element."""
    return bool(np.all((matrix == 0) | (matrix == 1)) and np.all(matrix.sum(1) == 1))


def _select_indices(node: NodeContext, x: Var, indices: np.ndarray, axis: int) -> Var:
    """Elements at constant indices; evenly spaced ones are a strided slice."""
    steps = np.diff(indices)
    if len(indices) > 1 and steps[0] > 1 and np.all(steps == steps[0]):
        shape = shape_of(x)
        begin, end, stride = [0] * len(shape), list(shape), [1] * len(shape)
        begin[axis], end[axis], stride[axis] = int(indices[0]), int(indices[-1]) + 1, int(steps[0])
        bounds = {"begin": begin, "end": end, "stride": stride}
        return node.emit("slice_by_index", x=x, **{k: np.asarray(v, np.int32) for k, v in bounds.items()})
    return node.take(x, indices, axis)


def _with_extrapolation(node: NodeContext, x: Tensor, axes: dict[int, AxisResize], value: float) -> Tensor:
    """Replace elements by the extrapolation value where the crop region leaves the input."""
    shape = shape_of(x)
    outside = np.zeros((1,) * len(shape), bool)
    for axis, resize in axes.items():
        beyond = _beyond(resize)
        outside = outside | beyond.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    if not outside.any():
        return x
    return select(node, np.broadcast_to(outside, shape).copy(), node.float_scalar(value, x), x)


def _beyond(axis: AxisResize) -> np.ndarray:
    """Which elements of a crop are outside the input, (out,). Raises Unsupported if float32 and float64 disagree."""
    masks = []
    for dtype in (np.float32, np.float64):
        position = coordinates(axis, "tf_crop_and_resize", dtype)
        outwards = np.maximum(-position, position - (axis.size - 1))
        masks.append(outwards > 0)
        if np.any((outwards != 0) & (np.abs(outwards) < INTEGRAL)):
            raise Unsupported(f"a crop of {axis.size} → {axis.out} whose border depends on rounding errors")
    if not np.array_equal(*masks):
        raise Unsupported(f"a crop of {axis.size} → {axis.out} whose border depends on rounding errors")
    return masks[1]
