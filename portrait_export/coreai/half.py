"""Compute an ONNX model in half precision, with the same float32 inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..errors import LoweringError
from ..mil.balanced import halves

_STAY = {"Resize": (1, 2), "Upsample": (1,)}  # inputs that ONNX defines as float32: roi, scales
_LISTED = 5  # names in an error


def in_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose values and weights are float16 between casts at its inputs and outputs.

    Raises:
        LoweringError: a weight is infinite in half precision, or the model has branches or loops.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    if any(attribute.HasField("g") for node in graph.node for attribute in node.attribute):
        raise LoweringError(
            "This ONNX model has branches or loops, which cannot be converted to half precision here.",
            hint="pass `precision=fp32`.",
        )
    _weights_in_half(graph)
    for node in graph.node:
        _node_in_half(node)
    _cast_at_the_ends(graph)
    del graph.value_info[:]
    return result


def _weights_in_half(graph: onnx.GraphProto) -> None:
    """Convert the weights; the inputs that stay float32 get a copy of their own."""
    exact = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    copies: dict[str, onnx.TensorProto] = {}
    for node in graph.node:
        for index in _STAY.get(node.op_type, ()):
            if index < len(node.input) and node.input[index] in exact:
                name = node.input[index]
                node.input[index] = f"{name}/fp32"
                copies[name] = numpy_helper.from_array(numpy_helper.to_array(exact[name]), f"{name}/fp32")
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    axes = output_axes(graph)
    kept = [_tensor_in_half(tensor, axes.get(tensor.name)) for tensor in graph.initializer if tensor.name in used]
    _refuse_infinite(tensor.name for tensor in kept if _overflows(exact.get(tensor.name), tensor))
    del graph.initializer[:]
    graph.initializer.extend([*kept, *copies.values()])


def _tensor_in_half(tensor: onnx.TensorProto, outputs: int | None = None) -> onnx.TensorProto:
    if tensor.data_type != TensorProto.FLOAT:
        return tensor
    return numpy_helper.from_array(array_in_half(numpy_helper.to_array(tensor), outputs), tensor.name)


def array_in_half(array: np.ndarray, outputs: int | None) -> np.ndarray:
    """A float32 tensor in half precision, as a Core ML package has it; too large values become infinite.

    Args:
        outputs: the axis of output channels in a layer's weight; None for other tensors.
    """
    balanced = halves(array, outputs)
    with np.errstate(over="ignore"):  # reported by name
        return (array if balanced is None else balanced).astype(np.float16)


def output_axes(graph: onnx.GraphProto) -> dict[str, int]:
    """The axis of output channels in each layer's weight, by its name; others are left out."""
    ranks = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    found: dict[str, set[int | None]] = {}
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name in ranks:
                found.setdefault(name, set()).add(_output_axis(node, ranks[name]) if index == 1 else None)
    axes = {name: axes.pop() for name, axes in found.items() if len(axes) == 1}
    return {name: axis for name, axis in axes.items() if axis is not None}


def _output_axis(node: onnx.NodeProto, rank: int) -> int | None:
    """The axis of output channels in a node's second input; None if that is no weight."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "Gemm":
        transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        return 0 if transposed else 1
    return 1 if node.op_type == "MatMul" and rank == 2 else None


def _overflows(exact: onnx.TensorProto | None, half: onnx.TensorProto) -> bool:
    if exact is None:
        return False
    return bool(np.isinf(numpy_helper.to_array(half)).sum() > np.isinf(numpy_helper.to_array(exact)).sum())


def _refuse_infinite(names: Iterable[str]) -> None:
    found = list(names)
    if found:
        more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        raise LoweringError(
            f"Half precision ends at 65504; these weights are larger: {', '.join(found[:_LISTED])}{more}.",
            hint="pass `precision=fp32`.",
        )


def _node_in_half(node: onnx.NodeProto) -> None:
    """Convert what a node states itself: the type that it casts to, and constants in its attributes."""
    for attribute in node.attribute:
        if attribute.name == "to" and node.op_type == "Cast" and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.FLOAT16
        elif attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == TensorProto.FLOAT:
            attribute.t.CopyFrom(_tensor_in_half(attribute.t))
        elif node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
            values = attribute.f if attribute.name == "value_float" else list(attribute.floats)
            tensor = numpy_helper.from_array(np.array(values, np.float16))
            attribute.CopyFrom(helper.make_attribute("value", tensor))


def _cast_at_the_ends(graph: onnx.GraphProto) -> None:
    """Cast float32 inputs to float16 as they come in, and float16 outputs back as they leave."""
    constants = {tensor.name for tensor in graph.initializer}
    floats = [value.name for value in graph.input if _is_float(value) and value.name not in constants]
    results = [value.name for value in graph.output if _is_float(value)]
    for node in graph.node:
        for values, names in ((node.input, {*floats, *results}), (node.output, set(results))):
            for index, name in enumerate(values):
                values[index] = f"{name}/fp16" if name in names else name
    before = [_cast(name, f"{name}/fp16", TensorProto.FLOAT16) for name in floats]
    after = [_cast(f"{name}/fp16", name, TensorProto.FLOAT) for name in results]
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)


def _is_float(value: onnx.ValueInfoProto) -> bool:
    return bool(value.type.tensor_type.elem_type == TensorProto.FLOAT)


def _cast(source: str, target: str, to: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], name=f"/{target}/cast", to=to)
