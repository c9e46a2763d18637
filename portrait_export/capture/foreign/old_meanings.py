"""Give operators of old opsets the meaning that they had, where onnx.version_converter loses it.

Upsample, Resize before opset 11: output pixel i reads the input at i / scale, nowadays `asymmetric`. `nearest` takes
    the pixel before that place, or, where ONNX Runtime shrinks, the one behind it.
Hardmax before opset 13: one 1 over all axes from a on, so Reshape(Hardmax(Flatten(x, a)), Shape(x)).
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ...utils.names import unique_name
from ..onnx.parameters import stored_tensors
from ..onnx.subgraphs import all_graphs

_STANDARD = ("", "ai.onnx")
_MOST_DIMENSIONS = 8


def keep_old_meanings(model: onnx.ModelProto, version: int) -> None:
    """Restore what operators mean in a model, in place, that was brought to opset 13 or newer from `version`."""
    graphs = list(all_graphs(model.graph))[::-1]  # inner graphs first: an outer one is written anew with them
    if version < 11:
        scales = {
            name: numpy_helper.to_array(tensor) for name, tensor in stored_tensors(model.graph) if _is_short(tensor)
        }
        for node in (node for graph in graphs for node in graph.node if _is(node, "Resize")):
            _place_as_before(node, scales)
    taken = {name for graph in graphs for node in graph.node for name in (*node.input, *node.output)}
    for graph in graphs:
        if any(_is(node, "Hardmax") for node in graph.node):
            nodes = [
                new for node in graph.node for new in (_flattened(node, taken) if _is(node, "Hardmax") else [node])
            ]
            copies = [onnx.NodeProto.FromString(each.SerializeToString()) for each in nodes]
            del graph.node[:]
            graph.node.extend(copies)


def _is(node: onnx.NodeProto, op_type: str) -> bool:
    return node.op_type == op_type and node.domain in _STANDARD


def _is_short(tensor: onnx.TensorProto) -> bool:
    """Whether it may hold a factor for each dimension of a value."""
    return len(tensor.dims) == 1 and tensor.dims[0] <= _MOST_DIMENSIONS


def _place_as_before(node: onnx.NodeProto, scales: dict[str, np.ndarray]) -> None:
    """Set the attributes that Resize has since opset 11."""
    shrinks = bool((scales.get((*node.input, "", "", "")[2], np.ones(1)) < 1).any())
    given = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "ceil" if shrinks else "floor"}
    for name, value in given.items():
        node.attribute.append(helper.make_attribute(name, value))


def _flattened(node: onnx.NodeProto, taken: set[str]) -> list[onnx.NodeProto]:
    """Hardmax over all axes from its own on, between a Flatten and a Reshape."""
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
    (x,), (y,) = node.input, node.output
    shape, flat, largest = (unique_name(f"{y}_{part}", taken) for part in ("shape", "flat", "largest"))
    return [
        helper.make_node("Shape", [x], [shape]),
        helper.make_node("Flatten", [x], [flat], axis=axis),
        helper.make_node("Hardmax", [flat], [largest], axis=-1, name=node.name),
        helper.make_node("Reshape", [largest, shape], [y]),
    ]
