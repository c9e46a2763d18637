"""Replace the argmax of a two-class classifier by the sign of one logit.

Algebra. argmax(z₀, z₁) is 1 exactly where z₁ − z₀ > 0, and 0 where not: on a tie the first class wins (with
`select_last_index` the last one, so there it is ≥). The difference is written as a 1x1 convolution with weights ±1,
which other rules merge into the classifier: one channel to compute and to resize instead of two.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from ..onnx.graph import Graph, Node
from .linear import kernel_of, resize_ratio
from .rule import Match, Rule, at_each
from .two_classes import difference


def _find(graph: Graph, node: Node) -> Node | None:
    """The classifier whose logits an argmax over the channels reads, resized or not."""
    shape = graph.shape(node.input(0))
    if shape is None or len(shape) != 4 or node.attrs.get("axis", 0) not in (1, -3):
        return None
    maker = graph.maker(node.input(0))
    if resize_ratio(graph, maker) > 0 and maker is not None:
        maker = graph.maker(maker.input(0))
    return maker if kernel_of(graph, maker) is not None else None


def _check(graph: Graph, match: Match[Node]) -> str:
    classifier, argmax = match.parts, match.anchor
    classes = (graph.shape(argmax.input(0)) or (0, 0))[1]
    if classes != 2:
        return f"the argmax is over {classes} classes"
    if not graph.is_float(argmax.input(0)):
        return "the logits are not float32"
    if graph.sole_use(argmax.input(0)) is None or graph.sole_use(classifier.output) is None:
        return "the logits are also read elsewhere"
    return ""


def _rewrite(graph: Graph, match: Match[Node]) -> None:
    argmax = match.anchor
    value = difference(graph, argmax.input(0), 1, name=argmax.name)
    one, target = graph.shape(value) or (), graph.shape(argmax.output) or ()
    zero = graph.add_constant(np.zeros((), np.float32), name=f"{argmax.name}.zero")
    op = "GreaterOrEqual" if argmax.attrs.get("select_last_index", 0) else "Greater"
    value = graph.add_node(op, [value, zero], name=f"{argmax.name}/{op}", shape=one, dtype=TensorProto.BOOL)
    whole = TensorProto.INT64
    value = graph.add_node("Cast", [value], name=f"{argmax.name}/Cast", shape=one, dtype=whole, attrs={"to": whole})
    if target != one:  # without keepdims
        sizes = graph.add_constant(np.asarray(target, np.int64), name=f"{argmax.name}.shape")
        value = graph.add_node("Reshape", [value, sizes], name=f"{argmax.name}/Reshape", shape=target)
    graph.remove([argmax])
    graph.replace_uses(argmax.output, value)


RULE = Rule(name="argmax-of-two", pattern=at_each("ArgMax", _find), check=_check, rewrite=_rewrite, since=12)
