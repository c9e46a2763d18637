"""Rewrite operators that compute with 8-bit integers as float operators between their roundings.

QLinearConv(x, w) = Q(Conv(DQ(x), DQ(w))), where DQ(q) = s·(q − z) and Q(v) = clip(round(v / s) + z). The other
operators of ONNX Runtime's QOperator form alike, and those that only move or compare 8-bit values: DQ, the operator, Q.

Dynamic quantization finds s and z from each input; its products become the same products of floats:

    s_x·s_w · ConvInteger(q_x, q_w, z_x, z_w) = Conv(s_x·(q_x − z_x), s_w·(q_w − z_w))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from ...utils.names import unique_name
from ..onnx.parameters import stored_tensors
from ..onnx.subgraphs import all_graphs, subgraphs

Triple = tuple[int, int, int]  # positions of a quantized input, its scale and its zero point
MICROSOFT = "com.microsoft"


@dataclass(frozen=True)
class Form:
    """An operator that takes and returns 8-bit integers.

    Attributes:
        op: the operator that it is on floats.
        inputs: its quantized inputs.
        output: positions of the output's scale and zero point.
        plain: positions of inputs that are passed on as they are, before the quantized ones.
        axes: the axis of a scale per channel, for each input.
        bias: position of an int32 bias in steps of both scales' product.
        only: attributes that must have these values, and are dropped.
    """

    op: str
    inputs: tuple[Triple, ...]
    output: tuple[int, int]
    plain: tuple[int, ...] = ()
    axes: tuple[int, ...] = (1, 1)
    bias: int | None = None
    only: Mapping[str, int] = field(default_factory=dict)


_ONE, _TWO = ((0, 1, 2),), ((0, 1, 2), (3, 4, 5))
_FIRST = {"channels_last": 0}
FORMS = {
    "QLinearConv": Form("Conv", _TWO, (6, 7), axes=(1, 0), bias=8),
    "QLinearMatMul": Form("MatMul", _TWO, (6, 7), axes=(-2, -1)),
    "QGemm": Form("Gemm", _TWO, (7, 8), bias=6),
    "QLinearAdd": Form("Add", _TWO, (6, 7)),
    "QLinearMul": Form("Mul", _TWO, (6, 7)),
    "QLinearSigmoid": Form("Sigmoid", _ONE, (3, 4)),
    "QLinearLeakyRelu": Form("LeakyRelu", _ONE, (3, 4)),
    "QLinearSoftmax": Form("Softmax", _ONE, (3, 4), only={"opset": 13}),
    "QLinearGlobalAveragePool": Form("GlobalAveragePool", _ONE, (3, 4), only=_FIRST),
    "QLinearAveragePool": Form("AveragePool", _ONE, (3, 4), only=_FIRST),
    "QLinearWhere": Form("Where", ((1, 2, 3), (4, 5, 6)), (7, 8), plain=(0,)),
}
# Operators that give the same integers whether they move the integers or the numbers that those stand for.
MOVING = frozenset(
    {"MaxPool", "Resize", "Upsample", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Split", "Slice"}
    | {"Gather", "Pad", "DepthToSpace", "SpaceToDepth", "Identity", "Expand", "Tile"}
)
_PRODUCTS = {"ConvInteger": "Conv", "MatMulInteger": "MatMul"}
_STEPS = 255.0  # of the 8-bit integers that DynamicQuantizeLinear makes


def in_float_form(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without 8-bit arithmetic; the model itself where it has none.

    A node that has no float form here is left as it is, and refused by name when it is lowered.
    """
    known = {*FORMS, *_PRODUCTS, "QLinearConcat"}
    if not any(node.op_type in known or node.domain == MICROSOFT for node in model.graph.node):
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _Rewriter(copy).run()
    del copy.graph.value_info[:]  # those of the integers
    return copy


class _Rewriter:
    """Rewrites the nodes of one model in order."""

    def __init__(self, model: onnx.ModelProto):
        self.graph = model.graph
        self.constants = {name: tensor for name, tensor in stored_tensors(model.graph) if name}
        self.nodes: list[NodeProto] = []
        self.scales: dict[str, tuple[str, str]] = {}  # 8-bit value → names of its scale and zero point
        self.decoded: dict[tuple[str, ...], str] = {}
        self.taken = {name for node in self.graph.node for name in (node.name, *node.input, *node.output)}
        self.taken |= set(self.constants) | {value.name for value in (*self.graph.input, *self.graph.output)}
        self.makers = {name: node for node in self.graph.node for name in node.output}
        self.readers: dict[str, list[NodeProto]] = {}
        for node in self.graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def run(self) -> None:
        """Replace the graph's nodes; what nothing reads any more is dropped."""
        products = self._dynamic_products()
        for node in self.graph.node:
            if node.output[0] in products:
                self._dynamic_product(node, products[node.output[0]])
            elif not self._rewritten(node):
                self.nodes.append(node)
        kept = _needed(self.nodes, [value.name for value in self.graph.output])
        del self.graph.node[:]
        self.graph.node.extend(kept)

    def _rewritten(self, node: NodeProto) -> bool:
        """Write the float form of a node. False if it has none, or is no 8-bit operator."""
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            node.domain = ""
            if node.op_type == "QuantizeLinear":
                self.scales[node.output[0]] = (node.input[1], _input(node, 2))
            return False
        if node.op_type == "QLinearConcat":
            return self._concatenated(node)
        if node.op_type == "DynamicQuantizeMatMul":
            return self._dynamic_matmul(node)
        if node.op_type in FORMS:
            return self._converted(node, FORMS[node.op_type])
        if node.op_type in MOVING and node.input[0] in self.scales:
            return self._moved(node)
        return False

    # static quantization

    def _converted(self, node: NodeProto, form: Form) -> bool:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if any(attributes.pop(name, value) != value for name, value in form.only.items()):
            return False
        axes = list(form.axes)
        if node.op_type == "QGemm":
            axes = [1, 0 if attributes.get("transB") else 1]
        bias = self._bias(node, form.bias, attributes) if form.bias is not None and _input(node, form.bias) else ""
        if bias is None:
            return False
        values = [node.input[i] for i in form.plain]
        for (x, scale, zero), axis in zip(form.inputs, axes, strict=False):
            values.append(self._decode(node.input[x], node.input[scale], _input(node, zero), axis))
        values += [bias] if bias else []
        self._finish(node, form.op, values, *(_input(node, i) for i in form.output), **attributes)
        return True

    def _concatenated(self, node: NodeProto) -> bool:
        triples = zip(node.input[2::3], node.input[3::3], node.input[4::3], strict=True)
        values = [self._decode(x, scale, zero, 1) for x, scale, zero in triples]
        [axis] = [a.i for a in node.attribute if a.name == "axis"]
        self._finish(node, "Concat", values, node.input[0], node.input[1], axis=axis)
        return True

    def _moved(self, node: NodeProto) -> bool:
        scale, zero = self.scales[node.input[0]]
        values = list(node.input)
        if node.op_type in ("Resize", "Upsample") and _text(node, "mode") == "linear":
            return self._interpolated(node, scale, zero)
        values[0] = self._decode(values[0], scale, zero, 1)
        if node.op_type == "Pad" and _input(node, 2):
            values[2] = self._decode(values[2], scale, zero, 1)
        moved = NodeProto()
        moved.CopyFrom(node)
        moved.input[:] = values
        moved.output[:] = [self._name(f"{name}_float") if name else "" for name in node.output]
        self.nodes.append(moved)
        for inner, name in zip(moved.output, node.output, strict=True):
            if name:
                self._quantize(inner, scale, zero, name)
        return True

    def _interpolated(self, node: NodeProto, scale: str, zero: str) -> bool:
        """Linear interpolation of the integers, which ONNX Runtime cuts off instead of rounding them."""
        if zero and zero not in self.constants:
            return False
        kind = np.uint8 if not zero else numpy_helper.to_array(self.constants[zero]).dtype
        point = np.zeros((), kind) if not zero else numpy_helper.to_array(self.constants[zero])
        one, none = self._constant(np.float32(1), "number"), self._constant(np.zeros((), kind), "number")
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        integers = self._decode(node.input[0], one, none, 1)
        between = self._emit(node.op_type, [integers, *node.input[1:]], node, **attributes)
        if kind == np.uint8:
            whole = self._anonymous("Floor", [between], between)
        else:  # towards zero
            size = self._anonymous("Floor", [self._anonymous("Abs", [between], between)], between)
            whole = self._anonymous("Mul", [self._anonymous("Sign", [between], between), size], between)
        centred = self._anonymous("Sub", [whole, self._constant(point.astype(np.float32), "number")], between)
        self._quantize(self._anonymous("Mul", [centred, scale], between), scale, zero, node.output[0])
        return True

    def _bias(self, node: NodeProto, position: int, attributes: Mapping[str, Any]) -> str | None:
        """The int32 bias as floats; None unless it and both scales are constants."""
        names = [node.input[position], node.input[1], node.input[4]]
        if not all(name in self.constants for name in names):
            return None
        bias, x_scale, w_scale = (numpy_helper.to_array(self.constants[name]) for name in names)
        steps = np.float32(attributes.get("alpha", 1.0)) * x_scale.reshape(-1) * w_scale.reshape(-1)
        return self._constant((bias * steps).astype(np.float32), f"{names[0]}_float")

    def _finish(
        self, node: NodeProto, op: str, values: Sequence[str], scale: str, zero: str, **attributes: Any
    ) -> None:
        """The operator, and the rounding of its result; none where the integer operator returns floats."""
        if not scale:
            self.nodes.append(helper.make_node(op, list(values), [node.output[0]], name=node.name, **attributes))
            return
        inner = self._emit(op, values, node, **attributes)
        self._quantize(inner, scale, zero, node.output[0])

    def _quantize(self, value: str, scale: str, zero: str, output: str) -> None:
        inputs = [value, scale, zero] if zero else [value, scale]
        self.nodes.append(
            helper.make_node("QuantizeLinear", inputs, [output], name=self._name(f"{output}_QuantizeLinear"))
        )
        self.scales[output] = (scale, zero)

    def _decode(self, value: str, scale: str, zero: str, axis: int) -> str:
        """A quantized value as floats; written once per value."""
        key = (value, scale, zero, str(axis))
        if key not in self.decoded:
            name = self._name(f"{value}_DequantizeLinear")
            inputs = [value, scale, zero] if zero else [value, scale]
            many = scale in self.constants and np.prod(self.constants[scale].dims) > 1
            more: dict[str, Any] = {"axis": axis} if many else {}
            self.decoded[key] = self._name(f"{value}_float")
            self.nodes.append(helper.make_node("DequantizeLinear", inputs, [self.decoded[key]], name=name, **more))
        return self.decoded[key]

    # dynamic quantization

    def _dynamic_products(self) -> dict[str, tuple[NodeProto, NodeProto, str]]:
        """Results of products of integers in floats → the product, the quantization of its input, the weight's scale.

        As ONNX Runtime writes them: Mul(Cast(ConvInteger(q, w, z, z_w)), Mul(s, s_w)).
        """
        found = {}
        for node in self.graph.node:
            quantized = self.makers.get(node.input[0]) if node.op_type in _PRODUCTS else None
            if quantized is None or quantized.op_type != "DynamicQuantizeLinear" or node.input[1] not in self.constants:
                continue
            cast = self._only_reader(node.output[0], "Cast")
            scaled = self._only_reader(cast.output[0], "Mul") if cast is not None else None
            if cast is None or scaled is None or _input(node, 2) != quantized.output[2]:
                continue
            [other] = [name for name in scaled.input if name != cast.output[0]] or [""]
            factors = self.makers.get(other)
            names = list(factors.input) if factors is not None and factors.op_type == "Mul" else []
            weight = [name for name in names if name != quantized.output[1] and name in self.constants]
            if len(names) == 2 and len(weight) == 1 and quantized.output[1] in names:
                found[scaled.output[0]] = (node, quantized, weight[0])
        return found

    def _only_reader(self, value: str, op: str) -> NodeProto | None:
        readers = self.readers.get(value, [])
        return readers[0] if len(readers) == 1 and readers[0].op_type == op else None

    def _dynamic_product(self, scaled: NodeProto, parts: tuple[NodeProto, NodeProto, str]) -> None:
        product, quantized, weight_scale = parts
        value = self._rounded(quantized.input[0])
        weight = self._weight(product.input[1], weight_scale, _input(product, 3), product.op_type)
        attributes = {a.name: helper.get_attribute_value(a) for a in product.attribute}
        op = _PRODUCTS[product.op_type]
        self.nodes.append(helper.make_node(op, [value, weight], [scaled.output[0]], name=product.name, **attributes))

    def _dynamic_matmul(self, node: NodeProto) -> bool:
        """A product of floats whose first factor is quantized on the way."""
        if node.input[1] not in self.constants or node.input[2] not in self.constants:
            return False
        weight = self._weight(node.input[1], node.input[2], _input(node, 3), "MatMulInteger")
        values = [self._rounded(node.input[0]), weight]
        bias = _input(node, 4)
        result = self._emit("MatMul", values, node) if bias else node.output[0]
        last = ("Add", [result, bias]) if bias else ("MatMul", values)
        self.nodes.append(helper.make_node(last[0], last[1], [node.output[0]], name=node.name))
        return True

    def _weight(self, weight: str, scale: str, zero: str, op: str) -> str:
        """A stored weight as floats: scales per output channel are the first axis of a convolution's, else the last."""
        steps = numpy_helper.to_array(self.constants[scale]).reshape(-1)
        axis = 0 if op == "ConvInteger" else len(self.constants[weight].dims) - 1
        name = self._constant(steps if steps.size > 1 else steps.reshape(()), f"{scale}_flat")
        if zero and zero in self.constants:
            point = numpy_helper.to_array(self.constants[zero]).reshape(-1)
            whole = np.broadcast_to(point, steps.shape) if steps.size > 1 else point.reshape(())
            zero = self._constant(np.ascontiguousarray(whole), f"{zero}_flat")
        return self._decode(weight, name, zero, axis)

    def _rounded(self, value: str) -> str:
        """DQ(Q(x)) with the scale and zero point of x's own range, in floats: s = range / 255, z = round(−min / s)."""
        key = ("dynamic", value)
        if key in self.decoded:
            return self.decoded[key]
        zero, steps, one = (self._constant(np.float32(number), "number") for number in (0.0, _STEPS, 1.0))
        make = self._anonymous
        low = make("Min", [make("ReduceMin", [value], value, keepdims=1), zero], value)
        high = make("Max", [make("ReduceMax", [value], value, keepdims=1), zero], value)
        extent = make("Sub", [high, low], value)
        exact = make("Div", [extent, steps], value)
        scale = make("Where", [make("Equal", [extent, zero], value), one, exact], value)
        point = make("Round", [make("Neg", [make("Div", [low, scale], value)], value)], value)
        number = make("Add", [make("Round", [make("Div", [value, scale], value)], value), point], value)
        inside = make("Clip", [number, zero, steps], value)
        self.decoded[key] = make("Mul", [make("Sub", [inside, point], value), scale], value)
        return self.decoded[key]

    # writing

    def _emit(self, op: str, inputs: Sequence[str], node: NodeProto, **attributes: Any) -> str:
        """An operator in the place of a node; returns its output's name."""
        output = self._name(f"{node.output[0]}_exact")
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=node.name, **attributes))
        return output

    def _anonymous(self, op: str, inputs: Sequence[str], near: str, **attributes: Any) -> str:
        name = self._name(f"{near}_{op}")
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=f"{name}_node", **attributes))
        return name

    def _constant(self, array: np.ndarray | np.generic, name: str) -> str:
        unique = self._name(name)
        tensor = numpy_helper.from_array(np.asarray(array), unique)
        self.graph.initializer.append(tensor)
        self.constants[unique] = tensor
        return unique

    def _name(self, wanted: str) -> str:
        return unique_name(wanted, self.taken)


def _input(node: NodeProto, position: int) -> str:
    """The name of an input; empty if it is left out."""
    return node.input[position] if position < len(node.input) else ""


def _text(node: NodeProto, name: str) -> str:
    """A text attribute; empty if it is left out."""
    return next((a.s.decode() for a in node.attribute if a.name == name), "")


def _needed(nodes: Sequence[NodeProto], outputs: Sequence[str]) -> list[NodeProto]:
    """The nodes that the outputs depend on, in order."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= set(node.input) | _outer_names(node)
    return kept[::-1]


def _outer_names(node: NodeProto) -> set[str]:
    """Names that the bodies of control flow read."""
    bodies = [graph for body in subgraphs(node) for graph in all_graphs(body)]
    return {name for graph in bodies for inner in graph.node for name in inner.input}
