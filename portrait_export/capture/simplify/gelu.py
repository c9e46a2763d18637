"""Replace GELU written out with Erf by one Gelu operator.

Algebra. gelu(x) = x·Φ(x) = x·½·(1 + erf(x/√2)), ONNX's Gelu with approximate = "none" (opset 20); the three factors may
be multiplied in any order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..onnx.graph import Graph, Node
from .rule import Match, Rule, at_each

CONSTANT_TOLERANCE = 1e-6  # √2, 1 and ½ as float32 constants; 1.41421 (five decimals) is off by 2.5e-6


@dataclass(frozen=True)
class _Parts:
    """The values that GELU's pattern leaves open, to be compared with what they must be.

    Attributes:
        x: the operand.
        root: what Erf's argument divides x by.
        one, half: the other two constants.
        last: the node that makes the result.
        inner: nodes between, read by nobody else.
    """

    x: str
    root: float
    one: float
    half: float
    last: Node
    inner: tuple[Node, ...]


def _other(node: Node, value: str) -> str:
    """The other operand of a binary operator."""
    return node.input(1) if node.input(0) == value else node.input(0)


def _argument(graph: Graph, node: Node | None) -> tuple[str, float] | None:
    """x and r of x/r, however it is written."""
    if node is None or node.op not in ("Div", "Mul"):
        return None
    right, left = graph.scalar(node.input(1)), graph.scalar(node.input(0))
    if node.op == "Div":
        return None if right is None else (node.input(0), right)
    factor, x = (right, node.input(0)) if right is not None else (left, node.input(1))
    return (x, 1 / factor) if factor else None


def _find(graph: Graph, erf: Node) -> _Parts | None:
    divide = graph.maker(erf.input(0))
    argument = _argument(graph, divide)
    add = graph.sole_use(erf.output)
    if argument is None or divide is None or add is None or add.op != "Add":
        return None
    x, root = argument
    one = graph.scalar(_other(add, erf.output))
    first = graph.sole_use(add.output)
    if one is None or first is None or first.op != "Mul":
        return None
    factor = _other(first, add.output)
    halved = graph.maker(factor)
    if halved is not None and halved.op == "Mul" and x in halved.inputs:  # (½·x)·(1 + erf)
        half = graph.scalar(_other(halved, x))
        return None if half is None else _Parts(x, root, one, half, first, (divide, erf, add, halved))
    second = graph.sole_use(first.output)
    if second is None or second.op not in ("Mul", "Div"):
        return None
    rest = _other(second, first.output)
    if factor == x:  # (x·(1 + erf))·½
        half = graph.scalar(rest)
    elif rest == x and second.op == "Mul":  # (½·(1 + erf))·x
        half = graph.scalar(factor)
    else:
        return None
    if half is not None and second.op == "Div" and factor == x:
        half = 1 / half if half and second.input(0) == first.output else None
    return None if half is None else _Parts(x, root, one, half, second, (divide, erf, add, first))


def _check(graph: Graph, match: Match[_Parts]) -> str:
    parts = match.parts
    if not graph.is_float(parts.x) or graph.shape(parts.x) != graph.shape(parts.last.output):
        return "it is not computed in float32 on one shape"
    expected = (("divides by", parts.root, math.sqrt(2)), ("adds", parts.one, 1.0), ("scales by", parts.half, 0.5))
    wrong = [
        f"{what} {found:.6g}, not {wanted:.6g}"
        for what, found, wanted in expected
        if not math.isclose(found, wanted, rel_tol=CONSTANT_TOLERANCE)
    ]
    if wrong:
        return f"it is not the exact GELU: {', '.join(wrong)}"
    return ""


def _rewrite(graph: Graph, match: Match[_Parts]) -> None:
    parts = match.parts
    shape = graph.shape(parts.x) or ()
    name = f"{parts.last.name.rsplit('/', 1)[0]}/Gelu" if "/" in parts.last.name else f"{parts.last.name}/Gelu"
    value = graph.add_node("Gelu", [parts.x], name=name, shape=shape, attrs={"approximate": "none"}, before=parts.last)
    graph.remove([parts.last])
    graph.replace_uses(parts.last.output, value)


RULE = Rule(name="gelu", pattern=at_each("Erf", _find), check=_check, rewrite=_rewrite, since=20)
