"""Inspect linear operators for the rules: convolutions, per-channel affine maps, resizes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..onnx.graph import Graph, Node

# Coordinate modes in which every output number is an average of input numbers: the weights sum to 1.
AVERAGING = frozenset({"half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"})


def kernel_of(graph: Graph, node: Node | None) -> np.ndarray | None:
    """The stored weight (D, C/group, …) of a float convolution with stored or no bias; None for anything else."""
    if node is None or node.op != "Conv" or node.domain or not graph.is_float(node.output):
        return None
    if node.input(2) and graph.constant(node.input(2)) is None:
        return None
    return graph.constant(node.input(1))


def bias_of(graph: Graph, node: Node) -> np.ndarray:
    """A convolution's bias (D,), zeros where it has none; float64."""
    stored = graph.constant(node.input(2)) if node.input(2) else None
    weight = graph.constant(node.input(1))
    return np.zeros(0 if weight is None else weight.shape[0]) if stored is None else stored.astype(np.float64)


def group_of(node: Node) -> int:
    """How many groups a convolution has."""
    return int(node.attrs.get("group", 1))


def is_padded(node: Node) -> bool:
    """Whether a convolution's windows may reach beyond the image."""
    automatic = node.attrs.get("auto_pad", "NOTSET")
    return automatic in ("SAME_UPPER", "SAME_LOWER") or (automatic != "VALID" and any(node.attrs.get("pads", [])))


def is_pointwise(graph: Graph, node: Node | None) -> bool:
    """Whether a node is a 1x1 convolution of one group, stride 1 and stored weights: a linear map of the channels."""
    weight = kernel_of(graph, node)
    return (
        node is not None
        and weight is not None
        and weight.ndim == 4
        and math.prod(weight.shape[2:]) == 1
        and group_of(node) == 1
        and all(stride == 1 for stride in node.attrs.get("strides", [1]))
        and not any(node.attrs.get("pads", []))
        and graph.shape(node.output) is not None
    )


def set_kernel(graph: Graph, node: Node, weight: np.ndarray, bias: np.ndarray) -> None:
    """Give a convolution other stored numbers (float64 is rounded once, here)."""
    named = node.input(2) or f"{node.name}.bias"
    inputs = [node.input(0), graph.add_constant(weight.astype(np.float32), name=node.input(1))]
    if node.input(2) or bias.any():
        inputs.append(graph.add_constant(bias.astype(np.float32), name=named))
    graph.set_inputs(node, inputs)
    if "kernel_shape" in node.attrs:
        node.attrs["kernel_shape"] = list(weight.shape[2:])


@dataclass(frozen=True)
class Affine:
    """y[:, c] = scale[c]·x[:, c] + shift[c], float64."""

    source: str
    scale: np.ndarray
    shift: np.ndarray


def affine_of(graph: Graph, node: Node | None) -> Affine | None:
    """A node as an affine map per channel (axis 1) of an image; None where it is something else."""
    if node is None or node.domain or not node.outputs or not graph.is_float(node.output):
        return None
    shape = graph.shape(node.output)
    if shape is None or len(shape) != 4:
        return None
    if node.op == "Neg":
        return _affine(graph, node.input(0), shape, -1.0, 0.0)
    if node.op == "BatchNormalization":
        return _batch_norm(graph, node, shape)
    if node.op not in ("Add", "Sub", "Mul", "Div"):
        return None
    for index in (0, 1):
        constant = _per_channel(graph.constant(node.input(index)), shape[1])
        if constant is None:
            continue
        source, first = node.input(1 - index), index == 0
        if node.op == "Add":
            return _affine(graph, source, shape, 1.0, constant)
        if node.op == "Mul":
            return _affine(graph, source, shape, constant, 0.0)
        if node.op == "Sub":
            return _affine(graph, source, shape, -1.0 if first else 1.0, constant if first else -constant)
        if not first and constant.all():
            return _affine(graph, source, shape, 1.0 / constant, 0.0)
    return None


def _affine(graph: Graph, source: str, shape: tuple[int, ...], scale: object, shift: object) -> Affine | None:
    if graph.shape(source) != shape or graph.is_constant(source):
        return None
    full = (np.broadcast_to(np.asarray(value, np.float64), (shape[1],)) for value in (scale, shift))
    return Affine(source, *full)


def _batch_norm(graph: Graph, node: Node, shape: tuple[int, ...]) -> Affine | None:
    """g·(x − m)/√(v+ε) + β = s·x + (β − s·m) with s = g/√(v+ε)."""
    stored = [graph.constant(name) for name in node.inputs[1:5]]
    per_channel = node.attrs.get("spatial", 1)  # before opset 9 there was another kind
    if node.attrs.get("training_mode") or not per_channel or len([name for name in node.outputs if name]) != 1:
        return None
    arrays = [array.astype(np.float64) for array in stored if array is not None]
    if len(arrays) != 4:
        return None
    gamma, beta, mean, variance = arrays
    scale = gamma / np.sqrt(variance + float(node.attrs.get("epsilon", 1e-5)))
    return _affine(graph, node.input(0), shape, scale, beta - scale * mean)


def _per_channel(constant: np.ndarray | None, channels: int) -> np.ndarray | None:
    """A constant operand of an (N, C, H, W) value as one float64 per channel; None where it varies otherwise."""
    if constant is None or constant.ndim > 4 or not np.issubdtype(constant.dtype, np.floating):
        return None
    if constant.size == 1:
        return np.full(channels, constant.reshape(()), np.float64)
    padded = (1,) * (4 - constant.ndim) + constant.shape
    return constant.reshape(-1).astype(np.float64) if padded == (1, channels, 1, 1) else None


def resize_ratio(graph: Graph, node: Node | None) -> float:
    """Output pixels per input pixel of a resize of an image's H and W by averaging; 0 for anything else."""
    if node is None or node.op != "Resize" or not graph.is_float(node.output):
        return 0.0
    before, after = graph.shape(node.input(0)), graph.shape(node.output)
    if before is None or after is None or len(before) != 4 or before[:2] != after[:2]:
        return 0.0
    if node.attrs.get("coordinate_transformation_mode", "half_pixel") not in AVERAGING:
        return 0.0
    if str(node.attrs.get("keep_aspect_ratio_policy", "stretch")) != "stretch":
        return 0.0
    if not all(graph.is_constant(name) for name in node.inputs[1:] if name) or not _keeps_channels(graph, node):
        return 0.0
    return math.prod(after[2:]) / math.prod(before[2:])


def why_not_before(graph: Graph, resize: Node) -> str:
    """The reason why work per pixel should stay after a resize; empty if there is none."""
    ratio = resize_ratio(graph, resize)
    if not ratio:
        return "the resize is not an average over H and W whose size is stored"
    if ratio <= 1:
        return "the resize does not enlarge, before it there would be more pixels"
    return ""


def _keeps_channels(graph: Graph, node: Node) -> bool:
    """Whether the scales of N and C, where there are any, are 1 and do not only round to the same size."""
    at = 2 if graph.opset >= 11 else 1
    scales = graph.constant(node.input(at)) if node.input(at) else None
    axes = [axis % 4 for axis in node.attrs.get("axes", [0, 1, 2, 3])]
    if scales is None or scales.size != len(axes):
        return True
    return all(scale == 1 for axis, scale in zip(axes, scales, strict=True) if axis < 2)


def resized_channels(graph: Graph, node: Node, channels: int) -> list[str]:
    """A resize's further inputs (roi, scales, sizes) for an input of another number of channels."""
    inputs = list(node.inputs[1:])
    sizes = graph.constant(node.input(3)) if node.input(3) else None
    axes = [axis % 4 for axis in node.attrs.get("axes", [0, 1, 2, 3])]
    if sizes is not None and 1 in axes:
        changed = sizes.copy()
        changed[axes.index(1)] = channels
        inputs[2] = graph.add_constant(changed, name=f"{node.name}.sizes")
    return inputs
