"""Merge two convolutions in a row, one of them 1x1, if that takes less work.

Algebra. With B a 1x1 convolution: B·(A∗x + a) + b = (B·A)∗x + (B·a + b), whatever the kernel and padding of A.
With A the 1x1 one: B∗(A·x + a) + b = (B·A)∗x + (b + Σ B·a), where beyond the border the inner value is 0, not a: with
padding this holds only for a = 0. Products of weights are formed in float64 and rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ..onnx.cost import macs_of
from ..onnx.graph import Graph, Node
from .linear import bias_of, group_of, is_padded, is_pointwise, kernel_of, set_kernel
from .rule import Match, Rule


def _pattern(graph: Graph) -> Iterator[Match[Node]]:
    for node in graph.nodes:
        if node.op != "Conv" or graph.maker(node.output) is not node:
            continue
        first = graph.maker(node.input(0))
        if first is None or first.op != "Conv" or _is_grouped(first) or _is_grouped(node):
            continue  # pointwise and depthwise in a row is the pattern of mobile networks, and cheaper than both in one
        if is_pointwise(graph, node) or is_pointwise(graph, first):
            yield Match(node, first)


def _is_grouped(node: Node) -> bool:
    return group_of(node) > 1


def _check(graph: Graph, match: Match[Node]) -> str:
    first, second = match.parts, match.anchor
    kernels = kernel_of(graph, first), kernel_of(graph, second)
    if kernels[0] is None or kernels[1] is None:
        return "a convolution's weights are computed"
    if kernels[0].ndim != 4:
        return "only convolutions of images are merged"
    if not graph.feeds_only(first.output, second):
        return "the value between the convolutions is also read elsewhere"
    if not is_pointwise(graph, second) and is_padded(second) and bias_of(graph, first).any():
        return "the second convolution pads with zeros, which the first one's bias would have to be added to"
    before = macs_of(graph, first)[1] + macs_of(graph, second)[1]
    after = math.prod(graph.shape(second.output) or ()) * math.prod(_merged_shape(graph, match)[1:])
    if after >= before:
        return f"one convolution would take {after:,} MACs, the two take {before:,}"
    return ""


def _merged_shape(graph: Graph, match: Match[Node]) -> tuple[int, ...]:
    first, second = kernel_of(graph, match.parts), kernel_of(graph, match.anchor)
    assert first is not None  # established by the check
    assert second is not None
    taps = first.shape[2:] if is_pointwise(graph, match.anchor) else second.shape[2:]
    return (second.shape[0], first.shape[1], *taps)


def _merged(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(M, C, …) then (D, M, …), one of them 1x1, as one (D, C, …) kernel."""
    return np.einsum("dmij,mckl->dcikjl", second, first).reshape(
        second.shape[0], first.shape[1], second.shape[2] * first.shape[2], second.shape[3] * first.shape[3]
    )


def _rewrite(graph: Graph, match: Match[Node]) -> None:
    first, second = match.parts, match.anchor
    inner, outer = kernel_of(graph, first), kernel_of(graph, second)
    assert inner is not None  # established by the check
    assert outer is not None
    inner, outer = inner.astype(np.float64), outer.astype(np.float64)
    bias = bias_of(graph, second) + outer.sum(axis=(2, 3)) @ bias_of(graph, first)
    if is_pointwise(graph, second):
        second.attrs = dict(first.attrs)  # strides, pads and dilations are the first one's
    graph.set_input(second, 0, first.input(0))
    set_kernel(graph, second, _merged(inner, outer), bias)
    graph.remove([first])


RULE = Rule(name="conv-chain", pattern=_pattern, check=_check, rewrite=_rewrite)
