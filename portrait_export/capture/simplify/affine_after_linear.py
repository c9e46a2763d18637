"""Fold a scale and shift per channel (layer scale, batch norm, ·, −) after a linear on tokens into its weights.

Algebra. (x·W + b)·s + t = x·(W·s) + (b·s + t), where s and t scale and shift the columns of W, one per channel; the
products are formed in float64 and rounded once. Reshapes in between that keep the last axis keep the columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..onnx.graph import Graph, Node
from .rule import Match, Rule


@dataclass(frozen=True)
class _Parts:
    """A linear and what follows it.

    Attributes:
        product: the matrix product.
        bias: the addition of stored numbers to it, or None.
        between: values that are only passed on between them and the scale.
        scale, shift: per column, float64.
    """

    product: Node
    bias: Node | None
    between: tuple[str, ...]
    scale: np.ndarray
    shift: np.ndarray


def _pattern(graph: Graph) -> Iterator[Match[_Parts]]:
    for node in graph.nodes:
        if node.op not in _SCALES or node.domain or graph.maker(node.output) is not node:
            continue
        affine = _affine(graph, node)
        parts = _linear_before(graph, *affine) if affine is not None else None
        if parts is not None and not (node.op in ("Add", "Sub") and parts.bias is None):
            yield Match(node, parts)  # an addition right after a product is its bias, as it should be


def _affine(graph: Graph, node: Node) -> tuple[str, np.ndarray, np.ndarray] | None:
    """The operand, scale and shift of a map of the last axis."""
    shape = graph.shape(node.output)
    if not shape or len(shape) == 4 or not graph.is_float(node.output):
        return None  # on images channels are not the last axis, see affine_after_conv.py
    width = shape[-1]
    if node.op == "BatchNormalization":
        return _batch_norm(graph, node, width) if len(shape) == 2 else None
    for index in (0, 1):
        constant = graph.constant(node.input(index))
        if constant is None or constant.size not in (1, width) or constant.size != (constant.shape or (1,))[-1]:
            continue
        numbers = np.broadcast_to(constant.reshape(-1).astype(np.float64), (width,))
        source, one, zero = node.input(1 - index), np.ones(width), np.zeros(width)
        is_divisor = node.op == "Div" and index == 1 and numbers.all()
        if graph.shape(source) != shape or (node.op == "Div" and not is_divisor):
            return None
        found = {
            "Mul": (numbers, zero),
            "Div": (one / numbers if is_divisor else one, zero),
            "Add": (one, numbers),
            "Sub": (-one, numbers) if index == 0 else (one, -numbers),
        }
        return source, *found[node.op]
    return None


_RESHAPES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})
_SCALES = frozenset({"Mul", "Div", "Add", "Sub", "BatchNormalization"})


def _batch_norm(graph: Graph, node: Node, width: int) -> tuple[str, np.ndarray, np.ndarray] | None:
    """g·(x − m)/√(v+ε) + β of a (L, C) value = s·x + (β − s·m) with s = g/√(v+ε)."""
    stored = [graph.constant(name) for name in node.inputs[1:5]]
    arrays = [array.astype(np.float64) for array in stored if array is not None and array.size == width]
    if len(arrays) != 4 or node.attrs.get("training_mode") or len([name for name in node.outputs if name]) != 1:
        return None
    gamma, beta, mean, variance = arrays
    scale = gamma / np.sqrt(variance + float(node.attrs.get("epsilon", 1e-5)))
    return node.input(0), scale, beta - scale * mean


def _linear_before(graph: Graph, value: str, scale: np.ndarray, shift: np.ndarray) -> _Parts | None:
    """The product, its bias and the values in between, above a value."""
    passed = [value]
    maker = graph.maker(value)
    while maker is not None and maker.op in _RESHAPES and _last(graph, maker.input(0)) == len(scale):
        passed.append(maker.input(0))
        maker = graph.maker(passed[-1])
    bias = None
    if maker is not None and maker.op == "Add":
        stored = [index for index in (0, 1) if _is_row(graph.constant(maker.input(index)), len(scale))]
        if not stored:
            return None
        bias = maker
        passed.append(maker.input(1 - stored[0]))
        maker = graph.maker(passed[-1])
    weight = graph.constant(maker.input(1)) if maker is not None and maker.op == "MatMul" else None
    if maker is None or weight is None or weight.ndim != 2:
        return None
    return _Parts(maker, bias, tuple(passed), scale, shift)


def _last(graph: Graph, value: str) -> int:
    return (graph.shape(value) or (0,))[-1]


def _is_row(constant: np.ndarray | None, width: int) -> bool:
    return constant is not None and constant.size == width == (constant.shape or (1,))[-1]


def _check(graph: Graph, match: Match[_Parts]) -> str:
    parts = match.parts
    if any(graph.sole_use(value) is None for value in parts.between):
        return "the linear's output is also read as it is"
    return ""


def _rewrite(graph: Graph, match: Match[_Parts]) -> None:
    parts = match.parts
    product, bias = parts.product, parts.bias
    weight = graph.constant(product.input(1))
    assert weight is not None  # established by the pattern
    scaled = (weight.astype(np.float64) * parts.scale).astype(np.float32)
    graph.set_input(product, 1, graph.add_constant(scaled, name=product.input(1)))
    if bias is not None:
        at = 0 if graph.is_constant(bias.input(0)) else 1
        stored = graph.constant(bias.input(at))
        assert stored is not None  # established by the pattern
        moved = stored.astype(np.float64).reshape(-1) * parts.scale + parts.shift
        graph.set_input(bias, at, graph.add_constant(moved.astype(np.float32), name=bias.input(at)))
    value = match.anchor.input(1 if graph.is_constant(match.anchor.input(0)) else 0)
    if bias is None and parts.shift.any():
        added = graph.add_constant(parts.shift.astype(np.float32), name=f"{match.anchor.name}.shift")
        name = f"{match.anchor.name}/Add"
        value = graph.add_node("Add", [value, added], name=name, shape=graph.shape(value) or (), before=match.anchor)
    graph.remove([match.anchor])
    graph.replace_uses(match.anchor.output, value)


RULE = Rule(name="affine-after-linear", pattern=_pattern, check=_check, rewrite=_rewrite)
