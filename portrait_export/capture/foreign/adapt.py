"""Bring a foreign graph to the project's inputs and outputs: `image`, further pictures, `logits` and `mask`.

The graph itself is left as it is; operators are added before its input and after the value that holds the person:
    K = 1:             logits = ±l                    (minus where the channel is the background)
    softmax, K = 2:    logits = l_person − l_rest     as a 1x1 convolution, which later rules merge
    softmax, K > 2:    logits = logΣexp(l_person) − logΣexp(l_rest), each shifted by its maximum
    argmax:            logits = max(l_person) − max(l_rest): positive exactly where the argmax is the person
    mask = σ(logits, resized bilinearly to the input's size where they are smaller)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from ...artifacts import DEFAULT_OPSET
from ...errors import CaptureError, first_line
from ...utils.names import unique_name
from ..onnx.graph import Graph
from ..onnx.light import infer_shapes
from ..onnx.subgraphs import subgraphs
from .head import Head
from .old_meanings import keep_old_meanings
from .pictures import PictureInput
from .surgeon import Surgeon, opset_of

OURS = ("image", "logits", "mask")
OLDEST_OPSET = 13  # older models are upgraded, so that one form of every operator is written
_BYTES_MAY_PASS = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Identity", "Slice", "Concat", "Gather", "Split")


def upgrade_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model at opset 13 or newer, with the same meaning. Raises CaptureError where it cannot be brought there."""
    version = opset_of(model)
    if version >= OLDEST_OPSET:
        return model
    try:
        upgraded = onnx.version_converter.convert_version(model, DEFAULT_OPSET)
    except Exception as error:  # the C++ converter raises RuntimeErrors of its own
        raise CaptureError(
            f"The model's opset {version} could not be brought to {DEFAULT_OPSET}: {first_line(error)}",
            code="old-opset",
            hint="export the network again with opset 13 or newer.",
        ) from error
    keep_old_meanings(upgraded, version)
    return upgraded


def adapt(
    model: onnx.ModelProto, inputs: Sequence[PictureInput], head: Head, *, positive: str, keep: Sequence[str] = ()
) -> onnx.ModelProto:
    """Bring a model with static shapes to the project's contract.

    Args:
        model: opset 13 or newer, in float32 (inputs of bytes apart). It is not changed.
        inputs: its pictures, the photograph's first.
        keep: outputs (or values) to keep as they are.
    Returns:
        The model: input `image` (1, 3, H, W) float32, of a gray network (1, 1, H, W), an input for each further
        picture, and carried inputs as they are; outputs `mask` (1, 1, H, W), `logits` (1, 1, h, w) where they can be
        computed exactly, and the kept ones, renamed as `renamed_values` says.
    """
    adapted = onnx.ModelProto()
    adapted.CopyFrom(model)
    renamed = renamed_values(model, inputs)
    if renamed:
        _rename(adapted.graph, renamed)
    read = (head.output, head.source or head.output, head.smooth[0] if head.smooth else head.output)
    new = {name: renamed.get(name, name) for name in (*read, *(each.image.name for each in inputs), *keep)}
    for each in inputs:
        if each.image.whole:
            _let_integers_be_floats(adapted.graph, new[each.image.name])
    surgeon = _Outputs(adapted)
    pictures = {new[each.image.name] for each in inputs}
    carried = [value for value in adapted.graph.input if value.name not in pictures]
    del adapted.graph.input[:]
    for each in inputs:
        surgeon.add_picture_input(each, new[each.image.name])
    adapted.graph.input.extend(carried)
    image = inputs[0].image
    outputs = surgeon.add_person_outputs(head, new, (image.height, image.width), flip=positive == "background")
    adapted = surgeon.finished()
    kept = _values_named(adapted, [new[name] for name in keep])
    del adapted.graph.output[:]
    adapted.graph.output.extend([*outputs, *kept])
    return Graph(adapted).to_model()


def renamed_values(model: onnx.ModelProto, inputs: Sequence[PictureInput]) -> dict[str, str]:
    """New names for the values of a user's graph that have one of our names."""
    ours = dict.fromkeys((*OURS, *(part.name for each in inputs for part in each.parts)))
    graph = model.graph
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    taken |= {value.name for value in (*graph.input, *graph.output, *graph.initializer)}
    return {name: unique_name(f"net_{name}", taken) for name in ours if name in taken}


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        for values in (node.input, node.output):
            for index, name in enumerate(values):
                values[index] = names.get(name, name)
        for inner in subgraphs(node):
            _rename(inner, names)


def _let_integers_be_floats(graph: onnx.GraphProto, name: str) -> None:
    """Make an integer input float32. Whole numbers stay what they are through operators that only move them.

    Raises CaptureError where the graph computes with integers, which wrap and round as floats do not.
    """
    bytes_now, computing = {name}, []
    for node in list(graph.node):
        read = bytes_now & set(node.input)
        if not read or node.op_type == "Cast":
            continue
        if node.op_type == "DequantizeLinear" and _is_per_tensor(graph, node):
            _dequantize_floats(graph, node)
            continue
        if node.op_type in _BYTES_MAY_PASS:
            bytes_now |= set(node.output)
        else:
            computing.append(f"{node.op_type} {node.name or node.output[0]}")
    if computing:
        raise CaptureError(
            f"The graph computes with the integers of its input {name!r} before casting them.",
            code="byte-arithmetic",
            context=computing,
            hint="cast the input to float first, or export the network with a float input.",
        )
    for value in (*graph.input, *graph.value_info):
        if value.name in bytes_now:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT


def _is_per_tensor(graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
    """Whether one stored scale is for the whole tensor."""
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in graph.initializer}
    return all(sizes.get(name) == 1 for name in node.input[1:] if name)


def _dequantize_floats(graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    """DequantizeLinear of whole numbers in floats: (x - zero) · scale, in place of the node."""
    taken = {value for each in graph.node for value in (*each.input, *each.output)}
    taken |= {tensor.name for tensor in graph.initializer}
    x, scale, zero = (*node.input, "")[:3]
    new = []
    if zero:
        number = unique_name(f"{node.output[0]}_zero", taken)
        centred = unique_name(f"{node.output[0]}_centred", taken)
        new.append(onnx.helper.make_node("Cast", [zero], [number], to=onnx.TensorProto.FLOAT))
        new.append(onnx.helper.make_node("Sub", [x, number], [centred]))
        x = centred
    new.append(onnx.helper.make_node("Mul", [x, scale], list(node.output), name=node.name))
    place = list(graph.node).index(node)
    nodes = [*graph.node[:place], *new, *graph.node[place + 1 :]]
    copies = [onnx.NodeProto.FromString(each.SerializeToString()) for each in nodes]
    del graph.node[:]
    graph.node.extend(copies)


class _Outputs(Surgeon):
    """Puts the project's inputs before a model, and its outputs behind it."""

    def add_picture_input(self, given: PictureInput, name: str) -> None:
        """Pictures (1, C, H, W) float32 → the graph's own input: their channels joined, in its layout."""

        image, value = given.image, given.parts[0].name
        for part in given.parts:
            shape = (1, len(part.channels), image.height, image.width)
            self.model.graph.input.append(_float_value(part.name, shape))
        steps: list[tuple[str, list[str], dict[str, Any]]] = []
        if len(given.parts) > 1:
            steps.append(("Concat", [part.name for part in given.parts[1:]], {"axis": 1}))
        if image.permutation is not None:
            steps.append(("Transpose", [], {"perm": [0, *(axis + 1 for axis in image.permutation)]}))
        if "N" not in image.layout:
            steps.append(("Squeeze", [self.constant(np.array([0]), "batch_axis")], {}))
        for index, (op, more, attributes) in enumerate(steps or [("Identity", [], {})]):
            last = index == max(len(steps) - 1, 0)
            value = self.emit(op, [value, *more], output=name if last else "", first=True, **attributes)

    def add_person_outputs(
        self, head: Head, new: dict[str, str], size: tuple[int, int], *, flip: bool
    ) -> list[onnx.ValueInfoProto]:
        """The person's logits and mask. Returns the outputs."""
        if head.source is None:
            name, field = head.smooth or (head.output, head.field)
            value = self.channels(new[name], field)
            self._mask_of_probability(value, head, size, flip=flip)
            return [_float_value("mask", (1, 1, *size))]
        assert head.source_field is not None
        value = self.channels(new[head.source], head.source_field)
        logit = self._scaled(self._person_logit(value, head, head.source_field.classes), head.slope, 0.0)
        self.emit("Neg" if flip else "Identity", [logit], output="logits")
        pixels = head.source_field.pixels
        self.emit("Sigmoid", [self._resized("logits", pixels, size)], output="mask")
        return [_float_value("logits", (1, 1, *pixels)), _float_value("mask", (1, 1, *size))]

    def _person_logit(self, value: str, head: Head, total: int) -> str:

        if total == 1:
            return value
        if head.kind in ("sigmoid", "multilabel"):
            return self._take(value, head.person)
        rest = tuple(k for k in range(total) if k not in head.person)
        if total == 2:
            weight = np.array([1.0 if k in head.person else -1.0 for k in range(2)], np.float32).reshape(1, 2, 1, 1)
            return self.emit("Conv", [value, self.constant(weight, "person_minus_rest")], kernel_shape=[1, 1])
        strongest = self.maximum if head.kind == "argmax" else self._log_sum_exp
        return self.emit("Sub", [strongest(self._take(value, head.person)), strongest(self._take(value, rest))])

    def _scaled(self, value: str, gain: float, offset: float) -> str:
        """gain · value + offset."""
        if gain != 1:
            value = self.emit("Mul", [value, self.constant(np.array(gain, np.float32), "gain")])
        if offset != 0:
            value = self.emit("Add", [value, self.constant(np.array(offset, np.float32), "offset")])
        return value

    def _take(self, value: str, classes: tuple[int, ...]) -> str:
        """Channels by number: slices of neighbours, concatenated."""

        runs: list[list[int]] = []
        for k in classes:
            if runs and runs[-1][1] == k:
                runs[-1][1] = k + 1
            else:
                runs.append([k, k + 1])
        axes = self.constant(np.array([1], np.int64), "class_axis")
        slices = [
            self.emit("Slice", [value, self.index(begin, "begin"), self.index(end, "end"), axes]) for begin, end in runs
        ]
        return slices[0] if len(slices) == 1 else self.emit("Concat", slices, axis=1)

    def _log_sum_exp(self, value: str) -> str:
        top = self.maximum(value)
        powers = self.emit("Exp", [self.emit("Sub", [value, top])])
        total = self.emit("ReduceSum", [powers, self.index(1, "class_axis")], keepdims=1)
        return self.emit("Add", [self.emit("Log", [total]), top])

    def _resized(self, value: str, pixels: tuple[int, int], size: tuple[int, int]) -> str:

        if pixels == size:
            return value
        sizes = self.constant(np.array([1, 1, *size], np.int64), "size")
        return self.emit("Resize", [value, "", "", sizes], mode="linear", coordinate_transformation_mode="half_pixel")

    def _mask_of_probability(self, value: str, head: Head, size: tuple[int, int], *, flip: bool) -> None:

        if head.kind == "argmax":
            value = self._is_one_of(value, head.person)
        elif head.field.classes > 1:
            value = self._take(value, head.person)
        if head.kind == "softmax" and len(head.person) > 1:
            value = self.emit("ReduceSum", [value, self.index(1, "class_axis")], keepdims=1)
        gain = 1 / (head.one - head.zero)
        value = self._scaled(value, gain, -head.zero * gain)
        value = self._resized(value, head.field.pixels, size)
        if flip:
            value = self.emit("Sub", [self.constant(np.float32(1).reshape(1), "one"), value])
        bounds = [self.constant(np.array(bound, np.float32), "bound") for bound in (0, 1)]
        self.emit("Clip", [value, *bounds], output="mask")

    def _is_one_of(self, value: str, classes: tuple[int, ...]) -> str:
        """1.0 where a class number is one of some."""

        masks = []
        for k in classes:
            equal = self.emit("Equal", [value, self.constant(np.float32(k).reshape(1), "person_class")])
            masks.append(self.emit("Cast", [equal], to=onnx.TensorProto.FLOAT))
        return masks[0] if len(masks) == 1 else self.emit("Max", masks)


def _float_value(name: str, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)


def _values_named(model: onnx.ModelProto, names: Sequence[str]) -> list[onnx.ValueInfoProto]:
    """Outputs or inner values as outputs, with the types and shapes that are known."""
    inferred = infer_shapes(model)
    known = {value.name: value for value in (*inferred.graph.value_info, *inferred.graph.output)}
    return [known[name] for name in dict.fromkeys(names)]
