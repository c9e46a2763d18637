"""Who makes and reads each value, after any edits, is what a fresh look at the graph would find."""

from __future__ import annotations

import random

import pytest
from onnx import TensorProto, helper

from portrait_export.capture.onnx.graph import Graph, Node
from portrait_export.errors import CaptureError


def chain(length: int = 12) -> Graph:
    """Nodes that each read the two values before them."""
    values = ["x", *(f"v{index}" for index in range(length))]
    nodes = [
        helper.make_node("Add", [values[max(index - 1, 0)], values[index]], [values[index + 1]], name=f"n{index}")
        for index in range(length)
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("x", values[-1])]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:])
    return Graph(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))


def edit(graph: Graph, generator: random.Random) -> None:
    """One edit that keeps the graph acyclic."""
    node = generator.choice(graph.nodes)
    kind = generator.choice(["bypass", "insert", "append", "redirect", "output", "remove"])
    if kind == "bypass" and node.output not in graph.outputs:
        graph.replace_uses(node.output, node.input(0))
    elif kind == "insert":
        graph.set_input(node, 0, graph.add_node("Relu", [node.input(0)], name="new", shape=(2,), before=node))
    elif kind == "append":
        graph.set_input(node, 1, graph.add_node("Neg", [node.input(0)], name="late", shape=(2,)))
    elif kind == "redirect":
        graph.redirect(node, node.input(1), "x")
    elif kind == "output" and node.output not in graph.outputs:
        old, readers = node.output, graph.uses(node.output)
        new = graph.set_output(node, shape=(2,), like=old)
        for reader in readers:
            graph.redirect(reader, old, new)
    elif kind == "remove" and not graph.uses(node.output) and node.output not in graph.outputs:
        graph.remove([node])


def fresh_readers(graph: Graph, value: str) -> list[Node]:
    return [node for node in graph.nodes for name in node.inputs if name == value]


@pytest.mark.parametrize("seed", range(20))
def test_links_are_those_of_a_fresh_look(seed):
    graph, generator = chain(), random.Random(seed)
    for _ in range(60):
        edit(graph, generator)
        if generator.random() < 0.4:
            graph.clean()
            reached = {*graph.outputs, *(name for node in graph.nodes for name in node.inputs)}
            assert all(node.output in reached for node in graph.nodes)
            order = {node.output: index for index, node in enumerate(graph.nodes)}
            assert all(order[name] < order[n.output] for n in graph.nodes for name in n.inputs if name in order)
        for value in {name for node in graph.nodes for name in (*node.inputs, *node.outputs)}:
            assert graph.uses(value) == fresh_readers(graph, value)
            assert graph.maker(value) is next((node for node in graph.nodes if value in node.outputs), None)


def test_what_nothing_reads_is_dropped_with_what_it_read():
    graph = chain(2)
    unread = graph.add_node("Neg", [graph.add_node("Relu", ["x"], name="a", shape=(2,))], name="b", shape=(2,))
    graph.append(Node("Print", [unread], []))
    graph.clean()
    assert [node.op for node in graph.nodes] == ["Add", "Add"]
    assert graph.maker(unread) is None


def test_a_cycle_is_named():
    graph = chain(3)
    first, *_, last = graph.nodes
    graph.set_input(first, 0, last.output)
    with pytest.raises(CaptureError, match="cycle"):
        graph.clean()
