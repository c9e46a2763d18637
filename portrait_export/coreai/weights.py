"""Store the weights of an ONNX model as 8-bit integers.

W'_c = s_c · Q_c for each output channel c. The integers and scales come from the caller, so that a Core AI asset holds
those of the Core ML package.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

Encode = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # (outputs, inputs) → int8 codes, scales per output

_CODES, _SCALES, _ZEROS, _DECODED = "/codes", "/scales", "/zeros", "/decoded"


class _Use(NamedTuple):
    """A node that reads a tensor, at which of its inputs, and the axis of a weight's output channels there."""

    node: onnx.NodeProto
    position: int
    axis: int | None


def with_integers(
    model: onnx.ModelProto, encode: Encode, *, min_elements: int
) -> tuple[onnx.ModelProto, dict[str, str]]:
    """Return a copy with integers for the weights of convolutions and matrix products, and why others stay as they are.

    Args:
        encode: rounds a weight's matrix, float64.
        min_elements: smaller weights stay.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    uses: dict[str, list[_Use]] = {}
    for node in graph.node:
        for index, name in enumerate(node.input):
            uses.setdefault(name, []).append(_Use(node, index, _output_axis(node, index)))
    skipped: dict[str, str] = {}
    tensors: list[onnx.TensorProto] = []
    decoding: list[onnx.NodeProto] = []
    for tensor in graph.initializer:
        reason = _reason(tensor, uses.get(tensor.name, []), min_elements)
        if reason is None:
            parts, node = _encoded(tensor, uses[tensor.name], encode)
            tensors.extend(parts)
            decoding.append(node)
            continue
        tensors.append(tensor)
        if reason:
            skipped[tensor.name] = reason
    nodes = [*decoding, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    copies = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in tensors]
    del graph.initializer[:]
    graph.initializer.extend(copies)
    return result, skipped


def _reason(tensor: onnx.TensorProto, uses: list[_Use], min_elements: int) -> str | None:
    """Why a tensor stays as it is: None if it does not, empty if it is no weight of a layer."""
    axes = {use.axis for use in uses}
    if tensor.data_type != onnx.TensorProto.FLOAT or axes <= {None}:
        return ""
    if len(axes) > 1:
        return "it is read in several ways"
    if int(np.prod(tensor.dims)) < min_elements:
        return f"it has fewer than {min_elements} elements"
    return None


def _output_axis(node: onnx.NodeProto, index: int) -> int | None:
    """The axis of the output channels if this input is a layer's weight, else None."""
    if index != 1:
        return None
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1 if attributes.get("group", 1) == 1 else None
    if node.op_type == "Gemm":
        return 0 if attributes.get("transB", 0) else 1
    return -1 if node.op_type == "MatMul" else None


def _encoded(
    tensor: onnx.TensorProto, uses: list[_Use], encode: Encode
) -> tuple[list[onnx.TensorProto], onnx.NodeProto]:
    """The tensors that replace a weight, and the node that decodes them."""
    weight = numpy_helper.to_array(tensor)
    axis = uses[0].axis
    assert axis is not None
    axis %= weight.ndim
    outputs_first = np.moveaxis(weight, axis, 0)
    codes, scales = encode(outputs_first.reshape(len(outputs_first), -1).astype(np.float64))
    stored = np.ascontiguousarray(np.moveaxis(codes.reshape(outputs_first.shape), 0, axis))
    name = tensor.name
    for use in uses:
        use.node.input[use.position] = name + _DECODED
    parts = {
        name + _CODES: stored,
        name + _SCALES: scales.astype(np.float32),
        name + _ZEROS: np.zeros(len(scales), np.int8),
    }
    node = helper.make_node("DequantizeLinear", list(parts), [name + _DECODED], name=f"/{name}/decode", axis=axis)
    return [numpy_helper.from_array(value, key) for key, value in parts.items()], node
