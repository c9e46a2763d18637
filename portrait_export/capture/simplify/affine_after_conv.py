"""Fold a scale and shift per channel (batch norm, ·, +, −, sign) after a convolution into its weights.

Algebra. s·(W∗x + b) + t = (s·W)∗x + (s·b + t), s and t per output channel; the products are formed in float64 and
rounded once. Padding does not matter: it is applied before the sum.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..onnx.graph import Graph, Node
from .linear import Affine, affine_of, bias_of, kernel_of, set_kernel
from .rule import Match, Rule


def _pattern(graph: Graph) -> Iterator[Match[tuple[Affine, Node]]]:
    for node in graph.nodes:
        affine = affine_of(graph, node) if node.outputs and graph.maker(node.output) is node else None
        conv = graph.maker(affine.source) if affine is not None else None
        if affine is not None and conv is not None and conv.op == "Conv":
            yield Match(node, (affine, conv))


def _check(graph: Graph, match: Match[tuple[Affine, Node]]) -> str:
    _, conv = match.parts
    if kernel_of(graph, conv) is None:
        return "the convolution's weights are computed"
    if not graph.feeds_only(conv.output, match.anchor):
        return "the convolution's output is also read as it is"
    return ""


def _rewrite(graph: Graph, match: Match[tuple[Affine, Node]]) -> None:
    affine, conv = match.parts
    weight = kernel_of(graph, conv)
    assert weight is not None  # established by the check
    scaled = weight.astype(np.float64) * affine.scale.reshape(-1, *[1] * (weight.ndim - 1))
    set_kernel(graph, conv, scaled, bias_of(graph, conv) * affine.scale + affine.shift)
    graph.remove([match.anchor])
    graph.replace_uses(match.anchor.output, conv.output)


RULE = Rule(name="affine-after-conv", pattern=_pattern, check=_check, rewrite=_rewrite)
