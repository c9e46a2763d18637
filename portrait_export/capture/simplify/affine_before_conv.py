"""Fold a scale and shift per channel (batch norm, ·, +, −, sign) before a convolution into its weights.

Algebra. W∗(s·x + t) + b = (W·s)∗x + (b + Σ W·t), s and t per input channel, the sum over input channels and taps.
Beyond the border the convolution sees 0, not t: with padding this holds only where t = 0.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..onnx.graph import Graph
from .linear import Affine, affine_of, bias_of, group_of, is_padded, kernel_of, set_kernel
from .rule import Match, Rule


def _pattern(graph: Graph) -> Iterator[Match[Affine]]:
    for node in graph.nodes:
        if node.op != "Conv" or graph.maker(node.output) is not node:
            continue
        affine = affine_of(graph, graph.maker(node.input(0)))
        if affine is not None:
            yield Match(node, affine)


def _check(graph: Graph, match: Match[Affine]) -> str:
    affine = match.parts
    if kernel_of(graph, match.anchor) is None:
        return "the convolution's weights are computed"
    if not graph.feeds_only(match.anchor.input(0), match.anchor):
        return "the scaled value is also read elsewhere"
    if is_padded(match.anchor) and affine.shift.any():
        return "the convolution pads with zeros, which the shift before it would have to be added to"
    return ""


def _rewrite(graph: Graph, match: Match[Affine]) -> None:
    affine = match.parts
    conv = match.anchor
    stored = kernel_of(graph, conv)
    assert stored is not None  # established by the check
    weight = stored.astype(np.float64)
    groups, taps = group_of(conv), (1,) * (weight.ndim - 2)
    per_group = [part.reshape(groups, -1) for part in (affine.scale, affine.shift)]
    scale, shift = (np.repeat(part, weight.shape[0] // groups, axis=0) for part in per_group)  # (D, C/group)
    added = (weight * shift.reshape(*shift.shape, *taps)).reshape(weight.shape[0], -1).sum(axis=1)
    old = graph.maker(conv.input(0))
    graph.set_input(conv, 0, affine.source)
    set_kernel(graph, conv, weight * scale.reshape(*scale.shape, *taps), bias_of(graph, conv) + added)
    graph.remove([old] if old is not None else [])


RULE = Rule(name="affine-before-conv", pattern=_pattern, check=_check, rewrite=_rewrite)
