"""Resize, crop and resample images: compute a sampling grid, then interpolate."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import ExecutionError
from ..dtypes import widest
from ..limits import claim
from ..registry import kernel

SAMPLING_MODES = ("DEFAULT", "STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "OFFSET_CORNERS", "UNALIGN_CORNERS")


def sampling_grid(size: Tensor, count: int, mode: str) -> Tensor:
    """The input coordinate, in pixels, of each output pixel on one axis. Formulas: MIL, `resize_bilinear`.

    Args:
        size: (…, 1) sizes of the input axis, float.
        count: size of the output axis.
    Returns:
        (…, count) coordinates of size's type, on its device, not clamped to 0..size−1.
    """
    if mode not in SAMPLING_MODES:
        raise ExecutionError(f"sampling_mode {mode!r} is not one of {', '.join(SAMPLING_MODES)}")
    i = torch.arange(count, dtype=size.dtype, device=size.device)
    if mode == "UNALIGN_CORNERS":  # (i + ½)·size/count − ½
        return (i + 0.5) * size / count - 0.5
    if mode == "OFFSET_CORNERS":  # (i + ½)·max(1, size − 1)/count
        return (i + 0.5) * (size - 1).clamp(min=1) / count
    if mode == "DEFAULT":  # i·(size − size/count)/(count − 1) = i·size/count
        return i * size / count
    if count == 1:
        return i + ((size - 1) / 2 if mode == "ALIGN_CORNERS" else torch.zeros_like(size))
    return i * (size - 1) / (count - 1)


def _axis_grid(size: int, count: int, mode: str) -> Tensor:
    """(count,) sampling grid of one axis, in float64 on the CPU, because not every device has float64."""
    return sampling_grid(torch.tensor([size], dtype=torch.float64), count, mode)


def _linear_axis(x: Tensor, axis: int, grid: Tensor) -> Tensor:
    """Interpolate linearly along one axis, at the grid clamped to it: x[⌊g⌋]·(1 − f) + x[⌊g⌋ + 1]·f."""
    last = x.shape[axis] - 1
    grid = grid.clamp(0, last)
    low = grid.floor()
    share = (grid - low).to(torch.float32).to(x.device)
    below = low.long().to(x.device)
    above = (below + 1).clamp(max=last)
    weights = share.reshape(-1, *[1] * (x.ndim - 1 - axis % x.ndim))
    return torch.lerp(x.index_select(axis, below), x.index_select(axis, above), weights)


def _check_sides(x: Tensor, height: int, width: int) -> None:
    if x.ndim < 3:
        raise ExecutionError(f"x has {x.ndim} dimensions; at least 3 are needed")
    if 0 in x.shape[-2:] or height < 1 or width < 1:
        raise ExecutionError(f"{list(x.shape[-2:])} cannot be resized to {[height, width]}")
    claim([*x.shape[:-2], height, width])


def resize_linear(x: Tensor, height: int, width: int, mode: str) -> Tensor:
    """Bilinear resize of the last two axes."""
    _check_sides(x, height, width)
    aligned = mode == "STRICT_ALIGN_CORNERS" or (mode == "ALIGN_CORNERS" and min(height, width) > 1)
    if mode == "UNALIGN_CORNERS" or aligned:  # the two modes that torch has
        planes = x.reshape(1, -1, *x.shape[-2:]) if x.ndim != 4 else x
        result = F.interpolate(planes, (height, width), mode="bilinear", align_corners=aligned)
        return result.reshape(*x.shape[:-2], height, width)
    rows = _linear_axis(x, x.ndim - 2, _axis_grid(x.shape[-2], height, mode))
    return _linear_axis(rows, x.ndim - 1, _axis_grid(x.shape[-1], width, mode))


def _nearest_index(size: int, count: int, mode: str, device: torch.device) -> Tensor:
    """The index nearest to each grid coordinate. Ties round down for DEFAULT, so that ×2 repeats each pixel."""
    if mode == "DEFAULT":  # ceil(i·size/count − ½), exact in integers
        doubled = 2 * size * torch.arange(count, device=device) - count
        return (-torch.div(-doubled, 2 * count, rounding_mode="floor")).clamp(0, size - 1)
    return (_axis_grid(size, count, mode) + 0.5).floor().clamp(0, size - 1).long().to(device)


def resize_floor(x: Tensor, height: int, width: int) -> Tensor:
    """Resize the last two axes; output pixel i is input pixel ⌊i·size/count⌋."""
    _check_sides(x, height, width)
    for axis, count in ((-2, height), (-1, width)):
        index = torch.div(torch.arange(count, device=x.device) * x.shape[axis], count, rounding_mode="floor")
        x = x.index_select(axis, index)
    return x


def _scaled(size: int, factor: float) -> int:
    """⌊size·factor⌋ computed in float32, as MIL's type inference does: 10·1.3 is 13, not 12.99…"""
    wanted = float(np.float32(size) * np.float32(factor))
    if not math.isfinite(wanted) or wanted < 0:
        raise ExecutionError(f"the scale factor {factor} is not a positive number")
    return math.floor(wanted)


@kernel("upsample_nearest_neighbor", exact=True)
def upsample_nearest_neighbor(x: Tensor, scale_factor_height: float = 1.0, scale_factor_width: float = 1.0) -> Tensor:
    """(…, H, W) → (…, ⌊H·s_h⌋, ⌊W·s_w⌋). The grid spacing follows from the two sizes, not from the factor."""
    height, width = _scaled(x.shape[-2], scale_factor_height), _scaled(x.shape[-1], scale_factor_width)
    return resize_floor(x, height, width)


@kernel("upsample_bilinear")
def upsample_bilinear(
    x: Tensor,
    scale_factor_height: float = 1.0,
    scale_factor_width: float = 1.0,
    align_corners: bool = True,
    half_pixel_centers: bool | None = None,
) -> Tensor:
    """(…, H, W) → (…, ⌊H·s_h⌋, ⌊W·s_w⌋). The grid spacing follows from the two sizes, not from the factor."""
    height, width = _scaled(x.shape[-2], scale_factor_height), _scaled(x.shape[-1], scale_factor_width)
    half = not align_corners if half_pixel_centers is None else half_pixel_centers
    if align_corners and half:
        raise ExecutionError("align_corners and half_pixel_centers cannot both be true")
    mode = "STRICT_ALIGN_CORNERS" if align_corners else "UNALIGN_CORNERS" if half else "DEFAULT"
    return resize_linear(x, height, width, mode)


@kernel("resize_bilinear")
def resize_bilinear(
    x: Tensor, target_size_height: int = 1, target_size_width: int = 1, sampling_mode: str = "DEFAULT"
) -> Tensor:
    """(…, H, W) → (…, target_size_height, target_size_width)."""
    return resize_linear(x, target_size_height, target_size_width, sampling_mode)


@kernel("resize_nearest_neighbor", exact=True)
def resize_nearest_neighbor(x: Tensor, target_size_height: int, target_size_width: int) -> Tensor:
    """(…, H, W) → (…, target_size_height, target_size_width); output row i is row ⌊i·H/H'⌋."""
    return resize_floor(x, target_size_height, target_size_width)


@kernel("resize")
def resize(
    x: Tensor,
    shape: list[int],
    resized_dims: int,
    interpolation_mode: str = "LINEAR",
    sampling_mode: str = "DEFAULT",
) -> Tensor:
    """Resize the last `resized_dims` axes to the last entries of `shape`; 0 keeps the size of an axis.

    NEAREST_NEIGHBOR takes the pixel nearest to each coordinate of the sampling grid.
    """
    if interpolation_mode not in ("LINEAR", "NEAREST_NEIGHBOR"):
        raise ExecutionError(f"interpolation_mode {interpolation_mode!r} is not LINEAR or NEAREST_NEIGHBOR")
    if not 0 <= resized_dims <= len(shape) <= x.ndim:
        raise ExecutionError(f"resized_dims {resized_dims} does not match {len(shape)} sizes and {x.ndim} dimensions")
    targets = shape[len(shape) - resized_dims :]
    wanted = list(x.shape)
    for axis, target in zip(range(x.ndim - resized_dims, x.ndim), targets, strict=True):
        wanted[axis] = target or x.shape[axis]
    claim(wanted)
    if 0 in x.shape or min(wanted, default=1) < 1:
        raise ExecutionError(f"{list(x.shape)} cannot be resized to {wanted}")
    values = x if x.dtype == torch.float32 or interpolation_mode == "NEAREST_NEIGHBOR" else x.float()
    if interpolation_mode == "LINEAR" and wanted[:-2] == list(x.shape[:-2]) and x.ndim >= 3:
        return resize_linear(values, wanted[-2], wanted[-1], sampling_mode)
    for axis in range(x.ndim - resized_dims, x.ndim):
        if wanted[axis] == x.shape[axis]:
            continue
        if interpolation_mode == "LINEAR":
            values = _linear_axis(values, axis, _axis_grid(x.shape[axis], wanted[axis], sampling_mode))
        else:
            values = values.index_select(axis, _nearest_index(x.shape[axis], wanted[axis], sampling_mode, x.device))
    return values


@kernel("crop", exact=True)
def crop(x: Tensor, crop_height: list[int], crop_width: list[int]) -> Tensor:
    """Remove (top, bottom) rows and (left, right) columns."""
    height, width = x.shape[-2] - sum(crop_height), x.shape[-1] - sum(crop_width)
    return x.narrow(-2, crop_height[0], height).narrow(-1, crop_width[0], width)


# ---------------------------------------------------------------------------------------------------------------------
# Sampling at arbitrary coordinates


BOX_MODES = ("CORNERS_HEIGHT_FIRST", "CORNERS_WIDTH_FIRST", "CENTER_SIZE_HEIGHT_FIRST", "CENTER_SIZE_WIDTH_FIRST")


def _corners(boxes: Tensor, mode: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(N, 4) boxes as (y1, x1, y2, x2)."""
    a, b, c, d = boxes.unbind(-1)
    if mode == "CORNERS_HEIGHT_FIRST":
        return a, b, c, d
    if mode == "CORNERS_WIDTH_FIRST":
        return b, a, d, c
    if mode == "CENTER_SIZE_HEIGHT_FIRST":
        return a - c / 2, b - d / 2, a + c / 2, b + d / 2
    if mode == "CENTER_SIZE_WIDTH_FIRST":
        return b - d / 2, a - c / 2, b + d / 2, a + c / 2
    raise ExecutionError(f"box_coordinate_mode {mode!r} is not one of {', '.join(BOX_MODES)}")


def _box_grid(start: Tensor, end: Tensor, count: int, mode: str) -> Tensor:
    """(N, count) coordinates on one axis of N boxes: the sampling grid of an axis of size end − start + 1."""
    return start.unsqueeze(1) + sampling_grid((end - start + 1).unsqueeze(1), count, mode)


@kernel("crop_resize")
def crop_resize(
    x: Tensor,
    roi: Tensor | None = None,
    boxes: Tensor | None = None,
    box_indices: Tensor | None = None,
    target_height: int = 1,
    target_width: int = 1,
    normalized_coordinates: bool = False,
    spatial_scale: float = 1.0,
    box_coordinate_mode: str = "CORNERS_HEIGHT_FIRST",
    sampling_mode: str = "DEFAULT",
    pad_value: float = 0.0,
) -> Tensor:
    """Crop boxes from (B, C, H, W) and resize each bilinearly.

    iOS15/16: `roi` (N, 1, 4 or 5, 1, 1) → (N, B or 1, C, h, w); of five numbers, the first selects the image.
    iOS17: `boxes` (N, 4), `box_indices` (N,) → (N, C, h, w). Coordinates outside the image give `pad_value`.
    """
    if (roi is None) == (boxes is None) or x.ndim != 4:
        raise ExecutionError("x must have 4 dimensions, and exactly one of roi and boxes must be given")
    flat = (boxes if roi is None else roi.reshape(roi.shape[0], -1)) if boxes is not None or roi is not None else None
    assert flat is not None
    flat = flat.to(widest(x.device))
    count, images = flat.shape[0], x.shape[0]
    if flat.ndim != 2 or flat.shape[1] not in (4, 5):
        raise ExecutionError(f"boxes have shape {list(flat.shape)}; 4 or 5 numbers per box are needed")
    if flat.shape[1] == 5:
        which, flat = flat[:, 0].long(), flat[:, 1:]
    elif boxes is not None:
        which = torch.arange(count, device=x.device) if box_indices is None else box_indices.long()
    else:  # crop every box from every image
        which = torch.arange(images, device=x.device).repeat(count)
        flat = flat.repeat_interleave(images, 0)
    if which.numel() and (int(which.min()) < 0 or int(which.max()) >= images):
        raise ExecutionError(f"a box refers to an image outside 0..{images - 1}")
    claim([flat.shape[0], x.shape[1], target_height, target_width])
    y1, x1, y2, x2 = _corners(flat * spatial_scale, box_coordinate_mode)
    if normalized_coordinates:
        y1, y2 = y1 * (x.shape[2] - 1), y2 * (x.shape[2] - 1)
        x1, x2 = x1 * (x.shape[3] - 1), x2 * (x.shape[3] - 1)
    ys, xs = _box_grid(y1, y2, target_height, sampling_mode), _box_grid(x1, x2, target_width, sampling_mode)
    grid_y = ys.unsqueeze(2).expand(-1, -1, target_width)
    grid_x = xs.unsqueeze(1).expand(-1, target_height, -1)
    crops = sample_bilinear(x[which], grid_x, grid_y, "constant", pad_value, whole_pixels=True)
    return crops if boxes is not None else crops.reshape(count, -1, *crops.shape[1:])


def _reflect(grid: Tensor, low: float, high: float) -> Tensor:
    """Reflect coordinates at low and high until they are between them."""
    span = high - low
    if span <= 0:
        return torch.full_like(grid, low)
    turned = torch.remainder(grid - low, 2 * span)
    return low + torch.where(turned > span, 2 * span - turned, turned)


def _inside(grid: Tensor, size: int, padding_mode: str) -> Tensor:
    """Map coordinates outside the image to those that the padding mode reads instead."""
    if padding_mode == "border":
        return grid.clamp(0, size - 1)
    if padding_mode == "reflection":
        return _reflect(grid, 0, size - 1).clamp(0, size - 1)
    if padding_mode == "symmetric":
        return _reflect(grid, -0.5, size - 0.5).clamp(0, size - 1)
    if padding_mode != "constant":
        raise ExecutionError(f"padding_mode {padding_mode!r} is not constant, border, reflection or symmetric")
    return grid


def _pick(x: Tensor, column: Tensor, row: Tensor, fill: float) -> Tensor:
    """Read x (N, C, H, W) at whole-number (N, h, w) coordinates, `fill` outside → (N, C, h, w)."""
    height, width = x.shape[-2:]
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    index = row.clamp(0, height - 1).long() * width + column.clamp(0, width - 1).long()
    flat = x.flatten(2).gather(2, index.flatten(1).unsqueeze(1).expand(-1, x.shape[1], -1))
    values = flat.reshape(*x.shape[:2], *column.shape[1:])
    return torch.where(inside.unsqueeze(1), values, torch.full((), fill, device=x.device))


def sample_bilinear(
    x: Tensor, grid_x: Tensor, grid_y: Tensor, padding_mode: str, fill: float, *, whole_pixels: bool = False
) -> Tensor:
    """Bilinear samples of (N, C, H, W) at (N, h, w) pixel coordinates.

    Args:
        whole_pixels: a coordinate outside 0..size−1 gives `fill`; otherwise it interpolates between pixels and `fill`.
    """
    height, width = x.shape[-2:]
    outside = (grid_x < 0) | (grid_x > width - 1) | (grid_y < 0) | (grid_y > height - 1)
    grid_x, grid_y = _inside(grid_x, width, padding_mode), _inside(grid_y, height, padding_mode)
    # All coordinates more than a pixel outside give `fill`; clamping keeps NaN and huge ones out of integer conversion.
    grid_x = torch.nan_to_num(grid_x, nan=-2.0).clamp(-2, width + 1)
    grid_y = torch.nan_to_num(grid_y, nan=-2.0).clamp(-2, height + 1)
    left, top = grid_x.floor(), grid_y.floor()
    across, down = (grid_x - left).float().unsqueeze(1), (grid_y - top).float().unsqueeze(1)
    upper = torch.lerp(_pick(x, left, top, fill), _pick(x, left + 1, top, fill), across)
    lower = torch.lerp(_pick(x, left, top + 1, fill), _pick(x, left + 1, top + 1, fill), across)
    result = torch.lerp(upper, lower, down)
    return torch.where(outside.unsqueeze(1), torch.full((), fill, device=x.device), result) if whole_pixels else result


def _pixels(values: Tensor, size: int, mode: str, align_corners: bool) -> Tensor:
    """Convert coordinates of any mode to pixels 0..size−1."""
    if mode == "unnormalized":
        return values
    if mode not in ("normalized_minus_one_to_one", "normalized_zero_to_one"):
        raise ExecutionError(
            f"coordinates_mode {mode!r} is not unnormalized, normalized_minus_one_to_one or normalized_zero_to_one"
        )
    unit = values if mode == "normalized_zero_to_one" else (values + 1) / 2
    return unit * (size - 1) if align_corners else unit * size - 0.5


@kernel("resample")
def resample(
    x: Tensor,
    coordinates: Tensor,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> Tensor:
    """Read (B, C, H, W) at coordinates (B, h, w, 2), in the order (x, y) → (B, C, h, w)."""
    if x.ndim != 4 or coordinates.ndim != 4 or coordinates.shape[-1] != 2 or coordinates.shape[0] != x.shape[0]:
        raise ExecutionError(f"x {list(x.shape)} and coordinates {list(coordinates.shape)} do not match")
    claim([*x.shape[:2], *coordinates.shape[1:3]])
    places = coordinates.to(widest(x.device))
    grid_x = _pixels(places[..., 0], x.shape[3], coordinates_mode, align_corners)
    grid_y = _pixels(places[..., 1], x.shape[2], coordinates_mode, align_corners)
    if sampling_mode == "bilinear":
        return sample_bilinear(x, grid_x, grid_y, padding_mode, padding_value)
    if sampling_mode != "nearest":
        raise ExecutionError(f"sampling_mode {sampling_mode!r} is not bilinear or nearest")
    column = torch.nan_to_num(_inside(grid_x, x.shape[3], padding_mode), nan=-1.0).round()  # ties to even, like torch
    row = torch.nan_to_num(_inside(grid_y, x.shape[2], padding_mode), nan=-1.0).round()
    return _pick(x, column, row, padding_value)


@kernel("affine")
def affine(
    x: Tensor,
    transform_matrix: Tensor,
    output_height: int,
    output_width: int,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> Tensor:
    """Read (B, C, H, W) at x' = a0·x + a1·y + a2, y' = b0·x + b1·y + b2; the matrix is (B or 1, 6)."""
    if x.ndim != 4 or transform_matrix.ndim != 2 or transform_matrix.shape[1] != 6:
        raise ExecutionError(f"x {list(x.shape)} and transform_matrix {list(transform_matrix.shape)} do not match")
    claim([*x.shape[:2], output_height, output_width])
    normal = coordinates_mode != "unnormalized"
    axes = []
    for count in (output_width, output_height):
        i = torch.arange(count, dtype=widest(x.device), device=x.device)
        if normal:
            low, high = (-1.0, 1.0) if coordinates_mode == "normalized_minus_one_to_one" else (0.0, 1.0)
            unit = (i / (count - 1) if count > 1 else i + 0.5) if align_corners else (i + 0.5) / count
            i = low + (high - low) * unit
        axes.append(i)
    across, down = axes[0].unsqueeze(0), axes[1].unsqueeze(1)
    a = transform_matrix.to(widest(x.device)).expand(x.shape[0], 6).reshape(-1, 6, 1, 1)
    places = torch.stack([a[:, 0] * across + a[:, 1] * down + a[:, 2], a[:, 3] * across + a[:, 4] * down + a[:, 5]], -1)
    return resample(x, places, sampling_mode, padding_mode, padding_value, coordinates_mode, align_corners)
