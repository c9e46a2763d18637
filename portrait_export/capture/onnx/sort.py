"""Sort the nodes of an ONNX graph so that each follows those whose values it reads.

ONNX demands that order, but some tools do not keep it (onnxruntime's float16 converter appends its Cast nodes), and
ONNX Runtime sorts the nodes of what it loads.
"""

from __future__ import annotations

import heapq

import onnx

from .subgraphs import all_graphs, subgraphs


def sort_nodes(outermost: onnx.GraphProto) -> None:
    """Sort the nodes of a graph and of every graph inside it, in place. Nodes already in order stay as they are.

    Of the nodes that can run next the one that stands first in the file is taken. A graph with a cycle, or with two
    nodes that compute one name, is left as it is, for onnx.checker to refuse.
    """
    for graph in reversed(list(all_graphs(outermost))):  # inner graphs first: sorting copies the outer one's nodes
        order = _order(graph)
        if order is not None and order != sorted(order):
            copies = []
            for index in order:
                copies.append(onnx.NodeProto())
                copies[-1].CopyFrom(graph.node[index])
            del graph.node[:]
            graph.node.extend(copies)


def _order(graph: onnx.GraphProto) -> list[int] | None:
    """The indices of a graph's nodes in running order (Kahn, 1962); None where there is no such order."""
    makers: dict[str, int] = {}
    for index, node in enumerate(graph.node):
        for name in filter(None, node.output):
            if makers.setdefault(name, index) != index:
                return None
    readers: dict[int, list[int]] = {}
    waits = [0] * len(graph.node)
    for index, node in enumerate(graph.node):
        needed = {makers[name] for name in _reads(node) if name in makers}
        waits[index] = len(needed)
        for maker in needed:
            readers.setdefault(maker, []).append(index)
    ready = [index for index, count in enumerate(waits) if not count]
    order: list[int] = []
    while ready:
        order.append(index := heapq.heappop(ready))
        for reader in readers.get(index, ()):
            waits[reader] -= 1
            if not waits[reader]:
                heapq.heappush(ready, reader)
    return order if len(order) == len(waits) else None


def _reads(node: onnx.NodeProto) -> set[str]:
    """The names of the values that a node reads, those of the graphs inside it included."""
    names = set(node.input)
    for outer in subgraphs(node):
        for graph in all_graphs(outer):
            own = {value.name for value in (*graph.input, *graph.initializer)}
            own |= {name for inner in graph.node for name in inner.output}
            names |= {name for inner in graph.node for name in inner.input} - own
            names |= {value.name for value in graph.output} - own
    return names
