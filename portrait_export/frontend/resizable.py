"""Make single MIL operations fit every listed input size.

Their constants change with the size.

    reshape             result shape → one -1, or a vector computed from shapes
    resize_bilinear     result size → scale factors if they are the same at every size, else `resize` (iOS17)
    upsample_nearest    factors → `resize` (iOS17), if each pixel is repeated equally often
    slice_by_index      bounds → computed from shapes
    tile, fill          repetitions, shape → computed from shapes
    pad                 the largest amounts at any size, then a slice of what is padded
    avg_pool, max_pool  if the windows divide the map into bins → reductions over each bin

At each listed size, every form gives exactly the result of the fixed operation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np

from .dimensions import Dimensions, Emit, Side, varies
from .refusals import Unsupported
from .values import Constant, Tensor, Var

Input: TypeAlias = Var | Sequence[Var]  # of an operation; several for a variadic parameter
TARGETS_WITH_RESIZE = ("iOS17", "iOS18", "iOS26")  # targets that have the operation to resize to a computed size
UPSAMPLE_FLAGS = {  # sampling_mode of resize_bilinear and resize → the same as flags of upsample_bilinear
    "UNALIGN_CORNERS": {"align_corners": False, "half_pixel_centers": True},
    "STRICT_ALIGN_CORNERS": {"align_corners": True, "half_pixel_centers": False},
    "DEFAULT": {"align_corners": False, "half_pixel_centers": False},
}


@dataclass(frozen=True)
class Resizable:
    """One operation at several input sizes.

    Attributes:
        name: of the operation.
        inputs: its inputs, without the constants that change.
        changing: the constants that change: one value per input size, by the input's name.
        x_sides: sides of its input `x`.
        out_sides: sides of its first output.
        dimensions: computes sides.
        emit: writes one MIL operation; one named like this operation gets exactly its name.
        target: deployment target, such as `iOS17`.
    """

    name: str
    inputs: Mapping[str, Input]
    changing: Mapping[str, Sequence[Constant]]
    x_sides: tuple[Side, ...]
    out_sides: tuple[Side, ...]
    dimensions: Dimensions
    emit: Emit
    target: str

    @property
    def x(self) -> Var:
        """The input `x`."""
        return self.input("x")

    def input(self, name: str) -> Var:
        """An input that is one value."""
        value = self.inputs[name]
        assert not isinstance(value, Sequence)
        return value

    def require_only(self, *names: str) -> None:
        """Raise Unsupported if a constant other than these changes."""
        others = sorted(set(self.changing) - set(names))
        if others:
            raise Unsupported(f"its {', '.join(others)} {'changes' if len(others) == 1 else 'change'} with the size")

    def sides(self, name: str) -> tuple[Side, ...]:
        """A vector of whole numbers, changing or fixed, as one Side per element."""
        if name not in self.changing:
            sizes = len(self.x_sides[0])
            return tuple((int(number),) * sizes for number in np.ravel(self.input(name).val))
        rows = [tuple(int(number) for number in np.ravel(value)) for value in self.changing[name]]
        if len({len(row) for row in rows}) > 1:
            raise Unsupported(f"its {name} has {' or '.join(str(len(row)) for row in rows)} elements")
        return tuple(zip(*rows, strict=True))

    def vector(self, sides: Sequence[Side], parameter: str) -> Tensor:
        """Sides as a vector for one of the operation's parameters."""
        return self.dimensions.vector(sides, f"{self.name}_{parameter}")

    def chosen(self, numbers: Sequence[Side], parameter: str) -> Tensor:
        """The same of whole numbers that need not follow from sides."""
        try:
            return self.vector(numbers, parameter)
        except Unsupported:
            name = f"{self.name}_{parameter}"
            parts = [self.dimensions.chosen(each, name) for each in numbers]
            return self.emit("concat", name, values=parts, axis=0)


def reshape(op: Resizable) -> Var:
    """Reshape to the shape that the result has at each size."""
    op.require_only("shape")
    return _reshaped(op, op.x, op.sides("shape"), op.name)


def _reshaped(op: Resizable, x: Var, sides: Sequence[Side], name: str) -> Var:
    """Reshape; one side that varies, or that cannot be computed, is -1: it follows from the others."""
    changing = [axis for axis, side in enumerate(sides) if varies(side)]
    unknown = [axis for axis in changing if op.dimensions.find(sides[axis]) is None]
    if len(unknown) > 1:
        lengths = " and ".join("/".join(map(str, sides[axis])) for axis in unknown)
        raise Unsupported(f"sides of {lengths} that cannot be computed from other sides")
    inferred = changing if len(changing) == 1 else unknown
    open_side = (-1,) * len(sides[0])
    wanted = [open_side if axis in inferred else side for axis, side in enumerate(sides)]
    return op.emit("reshape", name, x=x, shape=op.dimensions.vector(wanted, f"{name}_shape"))


def resize_bilinear(op: Resizable) -> Var:
    """Resize by a factor if it is the same at every size, else to a computed size."""
    op.require_only("target_size_height", "target_size_width")
    mode = op.input("sampling_mode").val
    height, width = (_factor(old, new) for old, new in zip(op.x_sides[-2:], op.out_sides[-2:], strict=True))
    if height is not None and width is not None and mode in UPSAMPLE_FLAGS:
        scales = {"scale_factor_height": height, "scale_factor_width": width}
        return op.emit("upsample_bilinear", op.name, x=op.x, **scales, **UPSAMPLE_FLAGS[mode])
    return _to_computed_size(op, "LINEAR", mode)


def _factor(old: Side, new: Side) -> Constant | None:
    """new / old if that is the same at every size and exact in half precision, else None."""
    ratios = {Fraction(after, before) for before, after in zip(old, new, strict=True)}
    if len(ratios) > 1:
        return None
    ratio = ratios.pop()
    if ratio.denominator == 1:
        return np.int32(ratio.numerator)
    exact = Fraction(float(np.float16(float(ratio)))) == ratio
    return np.float32(float(ratio)) if exact else None


def _to_computed_size(op: Resizable, interpolation: str, mode: str) -> Var:
    if op.target not in TARGETS_WITH_RESIZE:
        lengths = " or ".join(f"{h}x{w}" for h, w in zip(*op.out_sides[-2:], strict=True))
        raise Unsupported(
            f"a result of {lengths}, which is not a fixed multiple of the input; {op.target} cannot resize to a"
            " computed size, iOS17 can"
        )
    return op.emit(
        "resize",
        op.name,
        x=op.x,
        shape=op.vector(op.out_sides[-2:], "size"),
        resized_dims=np.uint32(2),
        interpolation_mode=interpolation,
        sampling_mode=mode,
    )


def upsample_nearest_neighbor(op: Resizable) -> Var:
    """Repeat each pixel f times: floor(i / f) is the pixel nearest to (i + ½) / f − ½."""
    op.require_only("scale_factor_height", "scale_factor_width")
    for old, new in zip(op.x_sides[-2:], op.out_sides[-2:], strict=True):
        if any(after % before for before, after in zip(old, new, strict=True)):
            raise Unsupported("its factors change with the size and are not whole numbers")
    return _to_computed_size(op, "NEAREST_NEIGHBOR", "UNALIGN_CORNERS")


def slice_by_index(op: Resizable) -> Var:
    """Slice between computed bounds; a bound at the tensor's own end is masked, so it needs no number."""
    op.require_only("begin", "end")
    rank = len(op.x_sides)
    begin, end = op.sides("begin"), op.sides("end")
    starts = [not any(side) or masked for side, masked in zip(begin, _mask(op, "begin_mask", rank), strict=True)]
    ends = [
        side == whole or masked
        for side, whole, masked in zip(end, op.x_sides, _mask(op, "end_mask", rank), strict=True)
    ]
    open_side = (0,) * len(op.x_sides[0])
    begin = tuple(open_side if masked else side for side, masked in zip(begin, starts, strict=True))
    end = tuple(open_side if masked else side for side, masked in zip(end, ends, strict=True))
    bounds = {"begin": op.vector(begin, "begin"), "end": op.vector(end, "end")}
    return op.emit("slice_by_index", op.name, **{**op.inputs, **bounds, "begin_mask": starts, "end_mask": ends})


def _mask(op: Resizable, name: str, rank: int) -> list[bool]:
    if name not in op.inputs:
        return [False] * rank
    return [bool(masked) for masked in np.ravel(op.input(name).val)]


def pad(op: Resizable) -> Var:
    """Pad by the largest amount of any size at each end, and cut off what this size does not have."""
    op.require_only("pad")
    amounts = op.sides("pad")  # before and after, of the last axes
    whole = [max(side) for side in amounts]
    padded = op.emit("pad", f"{op.name}_whole", **{**op.inputs, "pad": np.asarray(whole, np.int32)})
    first = len(op.out_sides) - len(amounts) // 2
    begin = [(0,) * len(op.out_sides[0])] * first
    begin += [tuple(most - n for n in side) for side, most in zip(amounts[::2], whole[::2], strict=True)]
    end = [
        tuple(start + length for start, length in zip(*both, strict=True))
        for both in zip(begin, op.out_sides, strict=True)
    ]
    bounds = {"begin": op.chosen(begin, "begin"), "end": op.chosen(end, "end")}
    return op.emit("slice_by_index", op.name, x=padded, **bounds)


def tile(op: Resizable) -> Var:
    """Repeat as often as at each size."""
    op.require_only("reps")
    return op.emit("tile", op.name, x=op.x, reps=op.vector(op.sides("reps"), "reps"))


def fill(op: Resizable) -> Var:
    """Fill the shape that the result has at each size with one value."""
    op.require_only("shape")
    return op.emit("fill", op.name, shape=op.vector(op.sides("shape"), "shape"), value=op.input("value"))


def avg_pool(op: Resizable) -> Var:
    """The mean of each bin, if the windows divide the map into equal bins."""
    return _binned(op, "reduce_mean")


def max_pool(op: Resizable) -> Var:
    """The maximum of each bin, if the windows divide the map into equal bins."""
    return _binned(op, "reduce_max")


def _binned(op: Resizable, reduce: str) -> Var:
    """(N, C, H, W) → (N·C, h, H/h, W) → (N·C, h, W) → (N·C, h, w, W/w) → (N, C, h, w), reduced once per side.

    The windows must be as wide as their strides, unpadded, and fill the side, so that each element is in exactly one.
    Strips, which span some sides and leave the others as they are, are reduced along the sides that they span.
    """
    op.require_only("kernel_sizes", "strides")
    kernels, strides = op.sides("kernel_sizes"), op.sides("strides")
    bins, maps = op.out_sides[2:], op.x_sides[2:]
    padded = op.input("pad_type").val not in ("valid", "custom") or np.any(op.input("pad").val)
    if (strip := _strip(maps, kernels, strides, bins)) is not None and not padded:
        return op.emit(reduce, op.name, x=op.x, axes=np.asarray(strip, np.int32), keep_dims=True)
    divided = all(
        length == kernel * count
        for side, kernel_side, count_side in zip(maps, kernels, bins, strict=True)
        for length, kernel, count in zip(side, kernel_side, count_side, strict=True)
    )
    if len(maps) != 2 or any(map(varies, bins)) or padded or not divided or kernels != strides:
        raise Unsupported("its windows change, and do not divide the map into the same number of bins at every size")
    channels = tuple(batch * count for batch, count in zip(op.x_sides[0], op.x_sides[1], strict=True))
    rows = _reshaped(op, op.x, (channels, bins[0], kernels[0], maps[1]), f"{op.name}_rows")
    rows = op.emit(reduce, f"{op.name}_of_rows", x=rows, axes=np.asarray([2], np.int32), keep_dims=False)
    columns = _reshaped(op, rows, (channels, bins[0], bins[1], kernels[1]), f"{op.name}_columns")
    columns = op.emit(reduce, f"{op.name}_of_columns", x=columns, axes=np.asarray([3], np.int32), keep_dims=False)
    return _reshaped(op, columns, op.out_sides, op.name)


def _strip(
    maps: Sequence[Side], kernels: Sequence[Side], strides: Sequence[Side], bins: Sequence[Side]
) -> list[int] | None:
    """The axes that one window spans, if windows along the others are single elements; None otherwise."""
    spanned = []
    for axis, sides in enumerate(zip(maps, kernels, strides, bins, strict=True), start=2):
        widths, steps, counts = map(set, sides[1:])
        if counts == {1} and sides[0] == sides[1]:
            spanned.append(axis)
        elif widths | steps != {1}:
            return None
    return spanned


FORMS: Mapping[str, Callable[[Resizable], Var]] = {
    form.__name__: form
    for form in (
        reshape,
        resize_bilinear,
        upsample_nearest_neighbor,
        slice_by_index,
        pad,
        tile,
        fill,
        avg_pool,
        max_pool,
    )
}
