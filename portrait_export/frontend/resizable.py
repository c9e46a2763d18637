"""A MIL operation whose constants change with the input's size in; the same operation for every size out.

    reshape           sides of the result → one -1, or a vector computed from shapes
    resize_bilinear   size of the result → the factor, where it is the same at every size; else `resize` (iOS17)
    upsample_nearest  factors → `resize` (iOS17), where each pixel is repeated equally often
    slice_by_index    bounds → computed from shapes
    tile, fill        repetitions, sides → computed from shapes
    avg_pool, max_pool, where the windows cut the map into bins → the mean, the largest, of each bin

Every form gives exactly what the fixed operation gives at each of the listed sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from .context import Unsupported
from .dimensions import Dimensions, Side, varies

NEEDS_RESIZE = ("iOS17", "iOS18")  # targets with the operation that resizes to a computed size
SAMPLING = {  # sampling_mode of resize_bilinear and resize → how upsample_bilinear says the same
    "UNALIGN_CORNERS": {"align_corners": False, "half_pixel_centers": True},
    "STRICT_ALIGN_CORNERS": {"align_corners": True, "half_pixel_centers": False},
    "DEFAULT": {"align_corners": False, "half_pixel_centers": False},
}


@dataclass(frozen=True)
class Resizable:
    """One operation at several input sizes.

    Attributes:
        name: of the operation.
        inputs: what it takes, without the constants that change.
        changing: the constants that change: one value per input size, by the input's name.
        x: sides of its input `x`.
        out: sides of its first output.
        dimensions: computes sides.
        emit: writes one MIL operation: its type, the name that is wanted for it, its inputs.
        target: deployment target, such as `iOS17`.
    """

    name: str
    inputs: Mapping[str, Any]
    changing: Mapping[str, Sequence[Any]]
    x: tuple[Side, ...]
    out: tuple[Side, ...]
    dimensions: Dimensions
    emit: Callable[..., Any]
    target: str

    def only(self, *names: str) -> None:
        """Raise Unsupported if another constant than these changes."""
        others = sorted(set(self.changing) - set(names))
        if others:
            raise Unsupported(f"its {', '.join(others)} changes")

    def sides(self, name: str) -> tuple[Side, ...]:
        """A changing vector of whole numbers as one Side per element."""
        rows = [tuple(int(number) for number in np.ravel(value)) for value in self.changing[name]]
        if len({len(row) for row in rows}) > 1:
            raise Unsupported(f"its {name} has {' or '.join(str(len(row)) for row in rows)} numbers")
        return tuple(zip(*rows, strict=True))

    def vector(self, sides: Sequence[Side], what: str) -> Any:
        """Sides as what the operation takes as its input `what`."""
        return self.dimensions.vector(sides, f"{self.name}_{what}")


def reshape(op: Resizable) -> Any:
    """The same elements in the shape that they have at each size."""
    op.only("shape")
    return _reshaped(op, op.inputs["x"], op.sides("shape"), op.name)


def _reshaped(op: Resizable, x: Any, sides: Sequence[Side], name: str) -> Any:
    """Reshape; the one side that varies, or that cannot be computed, is left to follow from the others."""
    changing = [axis for axis, side in enumerate(sides) if varies(side)]
    unknown = [axis for axis in changing if op.dimensions.find(sides[axis]) is None]
    if len(unknown) > 1:
        lengths = " and ".join("/".join(map(str, sides[axis])) for axis in unknown)
        raise Unsupported(f"sides of {lengths}, which no other sides determine")
    left = changing if len(changing) == 1 else unknown
    open_side = (-1,) * len(sides[0])
    wanted = [open_side if axis in left else side for axis, side in enumerate(sides)]
    return op.emit("reshape", name, x=x, shape=op.dimensions.vector(wanted, f"{name}_shape"))


def resize_bilinear(op: Resizable) -> Any:
    """Bilinear, by a factor that is the same at every size, or else to a computed size."""
    op.only("target_size_height", "target_size_width")
    mode = op.inputs["sampling_mode"].val
    factors = [_factor(have, want) for have, want in zip(op.x[-2:], op.out[-2:], strict=True)]
    height, width = factors
    if height is not None and width is not None and mode in SAMPLING:
        scales = {"scale_factor_height": height, "scale_factor_width": width}
        return op.emit("upsample_bilinear", op.name, x=op.inputs["x"], **scales, **SAMPLING[mode])
    return _to_computed_size(op, "LINEAR", mode)


def _factor(have: Side, want: Side) -> Any:
    """want / have where that is one number at every size, exact in half precision; else None."""
    ratios = {Fraction(after, before) for before, after in zip(have, want, strict=True)}
    if len(ratios) > 1:
        return None
    ratio = ratios.pop()
    if ratio.denominator == 1:
        return np.int32(ratio.numerator)
    exact = Fraction(float(np.float16(float(ratio)))) == ratio
    return np.float32(float(ratio)) if exact else None


def _to_computed_size(op: Resizable, interpolation: str, mode: str) -> Any:
    if op.target not in NEEDS_RESIZE:
        lengths = " or ".join(f"{h}x{w}" for h, w in zip(*op.out[-2:], strict=True))
        raise Unsupported(f"a result of {lengths}, in no fixed proportion; {op.target} cannot resize to it, iOS17 can")
    return op.emit(
        "resize",
        op.name,
        x=op.inputs["x"],
        shape=op.vector(op.out[-2:], "size"),
        resized_dims=np.uint32(2),
        interpolation_mode=interpolation,
        sampling_mode=mode,
    )


def upsample_nearest_neighbor(op: Resizable) -> Any:
    """Each pixel repeated f times: floor(i / f) is the pixel nearest to (i + ½) / f − ½."""
    op.only("scale_factor_height", "scale_factor_width")
    for have, want in zip(op.x[-2:], op.out[-2:], strict=True):
        if any(after % before for before, after in zip(have, want, strict=True)):
            raise Unsupported("its factors change, and are no whole numbers")
    return _to_computed_size(op, "NEAREST_NEIGHBOR", "UNALIGN_CORNERS")


def slice_by_index(op: Resizable) -> Any:
    """From a computed place to a computed place; a bound at the tensor's own end is masked and needs no number."""
    op.only("begin", "end")
    sizes, rank = len(op.x[0]), len(op.x)
    begin, end = (op.sides(name) if name in op.changing else _fixed(op, name, sizes) for name in ("begin", "end"))
    starts = [not any(side) or masked for side, masked in zip(begin, _mask(op, "begin_mask", rank), strict=True)]
    ends = [side == whole or masked for side, whole, masked in zip(end, op.x, _mask(op, "end_mask", rank), strict=True)]
    open_side = (0,) * sizes
    begin = tuple(open_side if masked else side for side, masked in zip(begin, starts, strict=True))
    end = tuple(open_side if masked else side for side, masked in zip(end, ends, strict=True))
    bounds = {"begin": op.vector(begin, "begin"), "end": op.vector(end, "end")}
    return op.emit("slice_by_index", op.name, **{**op.inputs, **bounds, "begin_mask": starts, "end_mask": ends})


def _mask(op: Resizable, name: str, rank: int) -> list[bool]:
    given = op.inputs.get(name)
    return [False] * rank if given is None else [bool(masked) for masked in np.ravel(given.val)]


def tile(op: Resizable) -> Any:
    """Repeated as often as at each size."""
    op.only("reps")
    return op.emit("tile", op.name, x=op.inputs["x"], reps=op.vector(op.sides("reps"), "reps"))


def fill(op: Resizable) -> Any:
    """One value in the shape that it has at each size."""
    op.only("shape")
    return op.emit("fill", op.name, shape=op.vector(op.sides("shape"), "shape"), value=op.inputs["value"])


def avg_pool(op: Resizable) -> Any:
    """The mean of each bin of a map that the windows cut evenly."""
    return _binned(op, "reduce_mean")


def max_pool(op: Resizable) -> Any:
    """The largest element of each bin of a map that the windows cut evenly."""
    return _binned(op, "reduce_max")


def _binned(op: Resizable, reduce: str) -> Any:
    """(N, C, H, W) → (N·C, h, H/h, W) → (N·C, h, W) → (N·C, h, w, W/w) → (N, C, h, w), reduced once per side.

    Windows as wide as their steps, without padding, and as many as fill the side: each element is in one of them.
    """
    op.only("kernel_sizes", "strides")
    sizes = len(op.x[0])
    kernels = op.sides("kernel_sizes") if "kernel_sizes" in op.changing else _fixed(op, "kernel_sizes", sizes)
    strides = op.sides("strides") if "strides" in op.changing else _fixed(op, "strides", sizes)
    bins, maps = op.out[2:], op.x[2:]
    cut = all(
        length == kernel * count
        for side, kernel_side, count_side in zip(maps, kernels, bins, strict=True)
        for length, kernel, count in zip(side, kernel_side, count_side, strict=True)
    )
    one_window = all(count == 1 for side in bins for count in side)
    padded = op.inputs["pad_type"].val not in ("valid", "custom") or np.any(op.inputs["pad"].val)
    if len(maps) != 2 or any(map(varies, bins)) or padded or not cut or not (one_window or kernels == strides):
        raise Unsupported("its windows change, and do not cut the map into as many equal bins at every size")
    if one_window:
        return op.emit(reduce, op.name, x=op.inputs["x"], axes=np.asarray([2, 3], np.int32), keep_dims=True)
    channels = tuple(batch * count for batch, count in zip(op.x[0], op.x[1], strict=True))
    along = {"axes": np.asarray([2], np.int32), "keep_dims": False}
    rows = _reshaped(op, op.inputs["x"], (channels, bins[0], kernels[0], maps[1]), f"{op.name}_rows")
    rows = op.emit(reduce, f"{op.name}_of_rows", x=rows, **along)
    columns = _reshaped(op, rows, (channels, bins[0], bins[1], kernels[1]), f"{op.name}_columns")
    columns = op.emit(reduce, f"{op.name}_of_columns", x=columns, **{**along, "axes": np.asarray([3], np.int32)})
    return _reshaped(op, columns, op.out, op.name)


def _fixed(op: Resizable, name: str, sizes: int) -> tuple[Side, ...]:
    return tuple((int(number),) * sizes for number in np.ravel(op.inputs[name].val))


FORMS: Mapping[str, Callable[[Resizable], Any]] = {
    form.__name__: form
    for form in (
        reshape,
        resize_bilinear,
        upsample_nearest_neighbor,
        slice_by_index,
        tile,
        fill,
        avg_pool,
        max_pool,
    )
}
