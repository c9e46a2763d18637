"""Compute only the channels that are read: move a channel selection before the resize and into the convolution.

Algebra. A choice of channels S is a matrix of zeros and ones, so S·(W∗x + b) = (S·W)∗x + S·b: the rows of W and b that
are chosen. A resize treats every channel alike, so S·resize(x) = resize(S·x).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..onnx.graph import Graph, Node
from .linear import bias_of, group_of, kernel_of, resize_ratio, resized_channels, set_kernel
from .rule import Match, Rule


@dataclass(frozen=True)
class _Choice:
    """Some channels of an image.

    Attributes:
        maker: the convolution or resize that makes all of them.
        channels: those that are read, in the order in which they are.
        value: the name of the image of these alone.
    """

    maker: Node
    channels: np.ndarray
    value: str


def _pattern(graph: Graph) -> Iterator[Match[_Choice]]:
    for node in graph.nodes:
        if node.op not in ("Slice", "Gather", "Split") or node.domain or graph.maker(node.output) is not node:
            continue
        maker = graph.maker(node.input(0))
        if maker is None or not (kernel_of(graph, maker) is not None or resize_ratio(graph, maker)):
            continue
        read = [name for name in node.outputs if graph.uses(name) or name in graph.outputs]
        channels = _channels(graph, node, read[0]) if len(read) == 1 else None
        if channels is not None and channels.size < (graph.shape(node.input(0)) or ())[1]:
            yield Match(node, _Choice(maker, channels, read[0]))


def _channels(graph: Graph, node: Node, value: str) -> np.ndarray | None:
    """The channels of an image that an output of a node has, all pixels of them; None for anything else."""
    shape, out = graph.shape(node.input(0)), graph.shape(value)
    if shape is None or out is None or len(shape) != 4 or len(out) != 4 or (out[0], *out[2:]) != (shape[0], *shape[2:]):
        return None
    every = np.arange(shape[1])
    if node.op == "Gather":
        indices = graph.constant(node.input(1))
        if indices is None or node.attrs.get("axis", 0) not in (1, -3):
            return None
        return every[indices % shape[1]]
    if node.op == "Split":
        sizes = [(graph.shape(name) or (0, 0))[1] for name in node.outputs]
        start = sum(sizes[: node.outputs.index(value)])
        return every[start : start + out[1]] if sum(sizes) == shape[1] else None
    starts, ends, axes, steps = (graph.constant(name) if (name := node.input(at)) else None for at in (1, 2, 3, 4))
    if starts is None or ends is None:
        return None
    named = list(range(starts.size)) if axes is None else [int(axis) % 4 for axis in axes]
    stride = np.ones(starts.size, np.int64) if steps is None else steps
    if (stride < 1).any() or 1 not in named:
        return None
    at = named.index(1)
    return every[int(starts[at]) : int(ends[at]) : int(stride[at])]


def _check(graph: Graph, match: Match[_Choice]) -> str:
    choice = match.parts
    if not graph.feeds_only(choice.maker.output, match.anchor):
        return "the other channels are read as well"
    if group_of(choice.maker) != 1:
        return "the convolution is grouped, its groups would become uneven"
    return ""


def _rewrite(graph: Graph, match: Match[_Choice]) -> None:
    choice = match.parts
    maker, channels = choice.maker, choice.channels
    shape = graph.shape(choice.value) or ()
    if maker.op == "Conv":
        kernel = kernel_of(graph, maker)
        assert kernel is not None  # established by the pattern
        set_kernel(graph, maker, kernel[channels], bias_of(graph, maker)[channels])
    else:
        graph.set_inputs(maker, [_chosen(graph, match), *resized_channels(graph, maker, len(channels))])
    graph.set_output(maker, shape=shape, like=choice.value)
    graph.remove([match.anchor])
    graph.replace_uses(choice.value, maker.output)


def _chosen(graph: Graph, match: Match[_Choice]) -> str:
    """The chosen channels of what a resize reads."""
    choice, node = match.parts, match.anchor
    source = choice.maker.input(0)
    small, channels = graph.shape(source) or (), choice.channels
    indices = graph.add_constant(channels.astype(np.int64), name=f"{node.name}.channels")
    shape = (small[0], len(channels), *small[2:])
    return graph.add_node("Gather", [source, indices], name=node.name, shape=shape, attrs={"axis": 1})


RULE = Rule(name="unread-channels", pattern=_pattern, check=_check, rewrite=_rewrite)
