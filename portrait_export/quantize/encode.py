"""Compute the stored form of weights.

That is how many bits each gets, and its integers, scales and tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np

from ..errors import QuantizeError
from ..mil.encoded import MIL_TYPES, Compression, EncodedWeight, Part
from ..mil.program import Function
from .assignment import Assignment, Storage
from .channels import in_channels
from .grids import LARGEST, Blocks, Palette
from .layer import Layer
from .layers import Weights, find_weights
from .recipe import Recipe
from .rounding import round_measured, round_nearest, weighted_error
from .scaled import cheapest, in_scaled_palette
from .vectors import in_vectors

SAFE_BITS = 8  # for first, last, grouped and recurrent layers, which few bits harm most, and for small ones
# Of the elements of all weights, for the smallest of the other layers: the narrow early layers of lite0_fpn, of 2,000
# to 10,000 elements each, made most of the error of its masks. On everyday photographs of the evaluate half palette4
# had .971 without and has .983, palette6 .991 and .994, for 0.05 and 0.02 MB more.
SMALL_SHARE = 0.04
# Of the elements of all weights, for first and last layers that stay as they are. A first layer reads pixels, whose
# mean is large, so its rounding errors add up to an offset. segformer_b0's has 4,704 weights; in 8 bits they made most
# of int8's error: on everyday photographs of the calibration set the mean mask IoU was .9940, without them it is .9988.
LIGHT_SHARE = 0.03
LEFT_LIGHT = "first or last, where 8 bits harm more than its bytes are worth"
MOST_LOST = 16.0  # times 4^-bits of a weight's energy: lite0_fpn's and segformer_b0's lose 0 to 4.9
_DENSE = ("conv", "linear", "matmul")  # whose rows can be compensated


def weights_of(function: Function, *, min_elements: int) -> Weights:
    """The weights of more than `min_elements` elements that recipes compress, and why others are left alone."""
    found = find_weights(function, min_elements=min_elements)
    every = tuple(found.layers.values())
    total = sum(layer.elements for layer in every)
    small = _smallest((one for one in every if not sensitive(one)), SMALL_SHARE * total)
    light = light_edges(every, total)
    layers = {n: replace(one, small=n in small, light=n in light) for n, one in found.layers.items()}
    return replace(found, layers=layers)


def light_edges(layers: Iterable[Layer], total: int) -> set[str]:
    """Names of the first and last layers that recipes leave as they are, in a network of so many elements."""
    return _smallest((layer for layer in layers if layer.edge), LIGHT_SHARE * total)


def _smallest(layers: Iterable[Layer], room: float) -> set[str]:
    """Names of the smallest layers, with at most so many elements together."""
    found = set()
    for layer in sorted(layers, key=lambda one: one.elements):
        room -= layer.elements
        if room < 0:
            break
        found.add(layer.name)
    return found


def bits_of(layer: Layer, recipe: Recipe) -> int:
    """The bits per element that a recipe gives a layer."""
    return max(recipe.bits, SAFE_BITS) if sensitive(layer) or layer.small else recipe.bits


def sensitive(layer: Layer) -> bool:
    """Whether few bits harm a layer most, whatever its size: it is first, last, grouped or recurrent."""
    return layer.edge or layer.grouped or not set(layer.operators) <= set(_DENSE)


def assign(weights: Weights, recipe: Recipe) -> Assignment:
    """Store every weight as a recipe says, with more bits where few would harm most and where they cost least."""
    light = {name: LEFT_LIGHT for name, layer in weights.layers.items() if layer.light}
    stored = {
        name: Storage(recipe.form, bits_of(layer, recipe), recipe.block, recipe.vector)
        for name, layer in weights.layers.items()
        if name not in light
    }
    return Assignment(stored, {**weights.left, **light})


def encode(
    weights: Weights,
    recipe: Recipe | Assignment,
    *,
    ios18: bool,
    hessians: Mapping[str, np.ndarray] | None = None,
    on_weight: Callable[[int, int], None] = lambda done, total: None,
) -> Compression:
    """Encode every weight.

    Args:
        weights: from `weights_of`.
        recipe: for all of them, or how each is stored.
        ios18: write the operators of iOS18, which palettes of 3 bits and blocks need.
        hessians: (inputs, inputs) by the weight's name, for error-compensated rounding; None rounds without them.
        on_weight: called with the number of weights that are done, and of all.
    Raises:
        QuantizeError: a weight is not finite.
    """
    assignment = assign(weights, recipe) if isinstance(recipe, Recipe) else recipe
    encoded, left, errors = {}, dict(assignment.left), {}
    for done, (name, storage) in enumerate(assignment.stored.items()):
        on_weight(done, len(assignment.stored))
        hessian = (hessians or {}).get(name)
        result = encode_weight(weights, name, storage, hessian, ios18=ios18)
        if isinstance(result, str):
            left[name] = result
            continue
        encoded[name] = result
        if hessian is not None:
            errors[name] = output_error(weights, name, result, hessian)
    return Compression(encoded, left, errors)


def encode_weight(
    weights: Weights, name: str, storage: Storage, hessian: np.ndarray | None, *, ios18: bool
) -> EncodedWeight | str:
    """The stored form of one weight, or the reason to leave it alone. Raises QuantizeError unless it is finite."""
    layer, weight = weights.layers[name], weights.constants[name].numpy()
    if not np.isfinite(weight).all():
        raise QuantizeError(f"The weight {name} {layer.shape} has values that are NaN or infinite.")
    return _encoded(layer, layer.matrix(weight), weight.dtype, storage, hessian, ios18=ios18)


def output_error(weights: Weights, name: str, encoded: EncodedWeight, hessian: np.ndarray) -> float:
    """The share of the output energy of a weight's layers that its rounding changes."""
    layer = weights.layers[name]
    return weighted_error(layer.matrix(weights.constants[name].numpy()), layer.matrix(encoded.decoded), hessian)


def _encoded(
    layer: Layer, matrix: np.ndarray, dtype: np.dtype, storage: Storage, hessian: np.ndarray | None, *, ios18: bool
) -> EncodedWeight | str:
    """The stored form of one weight, or the reason to leave it alone."""
    bits = storage.bits
    if storage.form == "channels":
        return in_channels(layer, matrix, dtype, hessian, ios18=ios18)
    if storage.form == "blocks":
        return _in_blocks(layer, matrix, dtype, bits, storage.block, hessian)
    if storage.vector > 1 and bits < SAFE_BITS:
        vectors = in_vectors(layer, matrix, dtype, storage.vector, hessian)
        if vectors is not None:
            return vectors
    forms: list[EncodedWeight | None] = [_in_palette(layer, matrix, dtype, bits, hessian, ios18=ios18)]
    if (sensitive(layer) or layer.small) and bits >= SAFE_BITS:
        forms.append(in_channels(layer, matrix, dtype, hessian, ios18=ios18))
    elif ios18:
        forms.append(in_scaled_palette(layer, matrix, dtype, bits, hessian))
    return cheapest([form for form in forms if form is not None], layer, matrix, hessian)


def _in_blocks(
    layer: Layer, matrix: np.ndarray, dtype: np.dtype, bits: int, block: int, hessian: np.ndarray | None
) -> EncodedWeight | str:
    columns = block * layer.block_unit
    if matrix.shape[1] % columns:
        columns = matrix.shape[1]  # inputs that blocks do not divide: one scale per output channel
    grid = Blocks.of(matrix, bits, columns, _importance(matrix, hessian))
    if float(grid.scales.max()) * grid.most > LARGEST:
        return "its values are too large for scales in half precision"
    if _lost(matrix, round_nearest(matrix, grid)) > MOST_LOST / 4**bits:
        return "its values are too small for scales in half precision"
    round_measured(matrix, grid, hessian)
    scales = layer.along_outputs(grid.scales.astype(dtype))
    codes = layer.restore(grid.codes)
    wide = scales.astype(np.float32)
    for axis, (side, blocks) in enumerate(zip(codes.shape, wide.shape, strict=True)):
        wide = np.repeat(wide, side // blocks, axis=axis)
    parts = {"data": Part(f"int{bits}", codes), "scale": Part(MIL_TYPES[dtype], scales)}
    return EncodedWeight("constexpr_blockwise_shift_scale", parts, f"int{bits}", (codes * wide).astype(dtype))


def _lost(matrix: np.ndarray, decoded: np.ndarray) -> float:
    """The share of a weight's energy that rounding changes."""
    return float(((decoded - matrix) ** 2).sum()) / (float((matrix**2).sum()) or 1.0)


def _in_palette(
    layer: Layer, matrix: np.ndarray, dtype: np.dtype, bits: int, hessian: np.ndarray | None, *, ios18: bool
) -> EncodedWeight:
    spread = np.broadcast_to(_importance(matrix, hessian), matrix.shape)
    grid = Palette.of(matrix, spread, bits)
    round_measured(matrix, grid, hessian)
    codes = layer.restore(grid.codes)
    stored = grid.table.astype(dtype)
    decoded = stored[codes]
    if ios18:
        lut = stored.reshape(*[1] * len(layer.shape), -1, 1)
        parts = {"indices": Part(f"uint{bits}", codes), "lut": Part(MIL_TYPES[dtype], lut)}
        return EncodedWeight("constexpr_lut_to_dense", parts, f"uint{bits}", decoded)
    from ..mil.store import packed

    indices = np.frombuffer(packed(Part(f"uint{bits}", codes)), np.uint8)
    parts = {
        "indices": Part("uint8", indices),
        "lut": Part(MIL_TYPES[dtype], stored),
        "shape": Part("uint32", np.array(layer.shape, np.uint32)),
    }
    return EncodedWeight("constexpr_lut_to_dense", parts, f"uint{bits}", decoded)


def _importance(matrix: np.ndarray, hessian: np.ndarray | None) -> np.ndarray:
    """(inputs,): how much the square of an error in each column counts."""
    return np.ones(matrix.shape[1]) if hessian is None else np.diag(hessian)
