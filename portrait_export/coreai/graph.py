"""Give an ONNX model the inputs and outputs of a Core AI asset.

    image (1, H, W, 3) uint8, RGB  →  x = (pixel · scale − mean) / std  →  network  →  mask, logits

The arithmetic is `PortraitSpec.normalise`'s, in float32 and in its order. Core AI has an image type too, but Apple's
runtime on Linux does not take it, and what does not run here cannot be checked here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..errors import LoweringError
from ..preprocessing import PortraitSpec

PIXELS = "image"
_NORMALISED = "asset/image_normalised"
_PROBABILITY = "asset/probability"
_OPSET = 17  # of the operators added here; any later one has them unchanged


def with_pixels(model: onnx.ModelProto, spec: PortraitSpec, *, kept: Sequence[str] = ()) -> onnx.ModelProto:
    """A model that takes pixels and returns what `spec.output` says.

    Outputs: `mask` is (1, 1, H, W): uint8, 255 = person, for `mask`; P(person) in float32 for `multiarray`, which also
    returns `classes` (H, W) int32. Every asset returns `logits`, which the comparison with the model needs.

    Args:
        model: with float32 inputs `image` (1, 3, H, W) and perhaps `depth`, and outputs `mask` and `logits`.
        kept: further outputs.
    """
    opset = max(entry.version for entry in model.opset_import if not entry.domain)
    if opset < _OPSET:
        raise LoweringError(f"This ONNX model has opset {opset}; Core AI assets need {_OPSET} or later.")
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    _rename_input(graph)
    before, after = _normalising(spec), _finishing(spec)
    nodes = [*before.nodes, *graph.node, *after.nodes]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*before.constants, *after.constants])
    pixels = helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, [1, spec.height, spec.width, 3])
    others = [value for value in graph.input if value.name not in (PIXELS, _NORMALISED)]
    _replace(graph.input, [pixels, *others])
    existing = {value.name: value for value in graph.output if value.name in ("logits", *kept)}
    _replace(graph.output, [*after.outputs, *existing.values()])
    del graph.value_info[:]
    return result


class _Part:
    """Nodes with their constants and the outputs that they give."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=f"/{output}", **attributes))
        return output

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(value, name))
        return name


def _normalising(spec: PortraitSpec) -> _Part:
    """x = (pixel · scale − mean) / std, channel by channel."""
    part = _Part()
    value = part.node("Cast", [PIXELS], "asset/image_float", to=TensorProto.FLOAT)
    value = part.node("Transpose", [value], "asset/image_planes", perm=[0, 3, 1, 2])
    if spec.color == "bgr":
        order = part.constant("asset/image_bgr", np.array([2, 1, 0], np.int64))
        value = part.node("Gather", [value, order], "asset/image_reordered", axis=1)
    scale = part.constant("asset/image_scale", np.float32(spec.scale).reshape(()))
    mean = part.constant("asset/image_mean", np.asarray(spec.mean, np.float32).reshape(1, 3, 1, 1))
    std = part.constant("asset/image_std", np.asarray(spec.std, np.float32).reshape(1, 3, 1, 1))
    value = part.node("Mul", [value, scale], "asset/image_scaled")
    value = part.node("Sub", [value, mean], "asset/image_centred")
    part.node("Div", [value, std], _NORMALISED)
    return part


def _finishing(spec: PortraitSpec) -> _Part:
    """The mask as `spec.output` asks for it."""
    part = _Part()
    size = [1, 1, spec.height, spec.width]
    if spec.output == "mask":
        most = part.constant("asset/mask_most", np.float32(255).reshape(()))
        value = part.node("Mul", [_PROBABILITY, most], "asset/mask_scaled")
        value = part.node("Round", [value], "asset/mask_rounded")
        part.node("Cast", [value], "mask", to=TensorProto.UINT8)
        part.outputs.append(helper.make_tensor_value_info("mask", TensorProto.UINT8, size))
    elif spec.output == "multiarray":
        part.node("Identity", [_PROBABILITY], "mask")
        bar = part.constant("asset/classes_bar", np.float32(spec.threshold).reshape(()))
        axes = part.constant("asset/classes_axes", np.array([0, 1], np.int64))
        value = part.node("GreaterOrEqual", [_PROBABILITY, bar], "asset/classes_person")
        value = part.node("Cast", [value], "asset/classes_numbers", to=TensorProto.INT32)
        part.node("Squeeze", [value, axes], "classes")
        part.outputs.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, size))
        part.outputs.append(helper.make_tensor_value_info("classes", TensorProto.INT32, size[2:]))
    return part


def _rename_input(graph: onnx.GraphProto) -> None:
    """Let the network read the normalised image, and call what it gives `probability`."""
    names = {PIXELS: _NORMALISED, "mask": _PROBABILITY}
    for node in graph.node:
        for values in (node.input, node.output):
            for index, name in enumerate(values):
                values[index] = names.get(name, name)


def _replace(values: object, new: Sequence[onnx.ValueInfoProto]) -> None:
    copies = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in new]
    del values[:]  # type: ignore[attr-defined]
    values.extend(copies)  # type: ignore[attr-defined]
