"""Merge two linears on tokens in a row if that takes less work.

Algebra. (x·A + a)·B + b = x·(A·B) + (a·B + b), for MatMul or Gemm with stored A and B. Products are formed in
float64 and rounded once. (On images linears are 1x1 convolutions, see conv_chain.py.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..onnx.graph import Graph, Node
from .rule import Match, Rule


@dataclass(frozen=True)
class _Linear:
    """x·W + b in the graph.

    Attributes:
        source: the name of x.
        weight, bias: W (inputs, outputs) and b (outputs,), float64.
        product, last: the node of the product, and that of the sum if it is another.
    """

    source: str
    weight: np.ndarray
    bias: np.ndarray
    product: Node
    last: Node


def _pattern(graph: Graph) -> Iterator[Match[tuple[_Linear, _Linear]]]:
    for node in graph.nodes:
        if graph.maker(node.output if node.outputs else "") is not node:
            continue
        second = _product(graph, node)
        first = _ending_at(graph, second.source) if second is not None else None
        if first is not None and second is not None:
            yield Match(node, (first, _with_bias(graph, second)))


def _product(graph: Graph, node: Node | None) -> _Linear | None:
    """A product with a stored matrix on the right."""
    if node is None or node.domain or node.op not in ("MatMul", "Gemm") or not graph.is_float(node.output):
        return None
    weight = graph.constant(node.input(1))
    if weight is None or weight.ndim != 2 or len(graph.shape(node.input(0)) or ()) < 2:
        return None
    weight, bias = weight.astype(np.float64), np.zeros(1)
    if node.op == "Gemm":
        added = graph.constant(node.input(2)) if node.input(2) else bias
        if node.attrs.get("transA") or added is None:
            return None
        weight = float(node.attrs.get("alpha", 1.0)) * (weight.T if node.attrs.get("transB") else weight)
        bias = float(node.attrs.get("beta", 1.0)) * added.astype(np.float64)
    if bias.size not in (1, weight.shape[1]) or bias.size != (bias.shape or (1,))[-1]:
        return None  # another one for every row
    return _Linear(node.input(0), weight, np.broadcast_to(bias.reshape(-1), weight.shape[1:]), node, node)


def _ending_at(graph: Graph, value: str) -> _Linear | None:
    """The linear whose result, bias included, a value is."""
    maker = graph.maker(value)
    if maker is None or maker.op != "Add":
        return _product(graph, maker)
    for name in maker.inputs:
        linear = _product(graph, graph.maker(name))
        if linear is not None and _with_bias(graph, linear).last is maker:
            return _with_bias(graph, linear)
    return None


def _with_bias(graph: Graph, linear: _Linear) -> _Linear:
    """A linear together with the addition of a stored row that follows it, if one does."""
    add = graph.sole_use(linear.product.output)
    if add is None or add.op != "Add" or add.domain:
        return linear
    row = graph.constant(add.input(1 if add.input(0) == linear.product.output else 0))
    width = linear.weight.shape[1]
    if row is None or row.size not in (1, width) or row.size != (row.shape or (1,))[-1]:
        return linear
    if graph.shape(add.output) != graph.shape(linear.product.output):
        return linear
    return _Linear(linear.source, linear.weight, linear.bias + row.reshape(-1), linear.product, add)


def _check(graph: Graph, match: Match[tuple[_Linear, _Linear]]) -> str:
    first, second = match.parts
    if graph.sole_use(first.last.output) is None:
        return "the value between the linears is also read elsewhere"
    rows = math.prod((graph.shape(second.product.output) or (0,))[:-1])
    before = rows * (first.weight.size + second.weight.size)
    after = rows * first.weight.shape[0] * second.weight.shape[1]
    if after >= before:
        return f"one linear would take {after:,} MACs, the two take {before:,}"
    return ""


def _rewrite(graph: Graph, match: Match[tuple[_Linear, _Linear]]) -> None:
    first, second = match.parts
    shape = graph.shape(second.last.output) or ()
    name = second.product.name
    weight = graph.add_constant((first.weight @ second.weight).astype(np.float32), name=second.product.input(1))
    value = graph.add_node("MatMul", [first.source, weight], name=f"{name}/MatMul", shape=shape)
    bias = first.bias @ second.weight + second.bias
    if bias.any():
        row = graph.add_constant(bias.astype(np.float32), name=f"{name}.bias")
        value = graph.add_node("Add", [value, row], name=f"{name}/Add", shape=shape)
    graph.remove([second.last])
    graph.replace_uses(second.last.output, value)


RULE = Rule(name="linear-chain", pattern=_pattern, check=_check, rewrite=_rewrite)
