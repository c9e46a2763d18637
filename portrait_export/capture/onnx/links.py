"""Track who makes and who reads each value of a graph while it is edited.

An edit costs what it changes, not what the graph has: a network with ten times the nodes has ten times the edits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .graph import Node


@dataclass
class Unneeded:
    """Nodes and values that no output needs."""

    nodes: set[Node] = field(default_factory=set)
    values: set[str] = field(default_factory=set)


class Links:
    """The makers and readers of values.

    Attributes:
        makers: the node that computes a value.
        stale: values that may have lost their last reader, or never had one, since `unneeded` last looked.
        places: index of each node; None where the order may have changed.
    """

    def __init__(self, constants: Iterable[str]):
        self.makers: dict[str, Node] = {}
        self.stale: set[str] = set(constants)
        self.places: dict[Node, int] | None = None
        self._readers: dict[str, list[Node]] = {}
        self._touched: set[Node] = set()
        self._silent: set[Node] = set()  # nodes without a named output

    def readers(self, value: str, nodes: Sequence[Node]) -> list[Node]:
        """The nodes that read a value, once per reading, in the order of `nodes`."""
        found = self._readers.get(value, [])
        if len(found) < 2:
            return list(found)
        places = self._places(nodes)
        return sorted(found, key=places.__getitem__)

    def add(self, node: Node) -> None:
        """Note a node, new or changed."""
        for name in _read(node):
            self._readers.setdefault(name, []).append(node)
        for name in filter(None, node.outputs):
            self.makers[name] = node
            self.stale.add(name)
        if not any(node.outputs):
            self._silent.add(node)
        self._touched.add(node)
        if self.places is not None and node not in self.places:
            self.places = None

    def discard(self, node: Node) -> None:
        """Forget a node, which is about to change."""
        for name in _read(node):
            self._readers[name].remove(node)
            self.stale.add(name)
        for name in node.outputs:
            if self.makers.get(name) is node:
                del self.makers[name]
        self._touched.discard(node)
        self._silent.discard(node)

    def remove(self, node: Node) -> None:
        """Forget a node, which is not in the graph any more."""
        self.discard(node)
        if self.places is not None:
            self.places.pop(node, None)

    def unneeded(self, outputs: set[str]) -> Unneeded:
        """Forget and return the nodes and values that none of the outputs needs any more."""
        found = Unneeded(nodes=set(self._silent))
        for node in found.nodes:
            self.remove(node)
        while self.stale:
            name = self.stale.pop()
            maker = self.makers.get(name)
            made = [name] if maker is None else maker.outputs
            if any(self._readers.get(value) or value in outputs for value in made if value):
                continue
            if maker is None:
                found.values.add(name)
            else:
                found.nodes.add(maker)
                self.remove(maker)
        return found

    def in_order(self, nodes: Sequence[Node]) -> bool:
        """Whether each node noted since the last call is after those that it reads, and before its readers."""
        touched, self._touched = self._touched, set()
        places = self._places(nodes)
        for node in touched:
            before = [self.makers[name] for name in _read(node) if name in self.makers]
            after = [reader for name in node.outputs for reader in self._readers.get(name, ())]
            if any(places[other] >= places[node] for other in before):
                return False
            if any(places[other] <= places[node] for other in after):
                return False
        return True

    def _places(self, nodes: Sequence[Node]) -> dict[Node, int]:
        if self.places is None:
            self.places = {node: index for index, node in enumerate(nodes)}
        return self.places


def _read(node: Node) -> list[str]:
    """What a node and its inner graphs read, once per reading."""
    return [name for name in (*node.inputs, *node.captured) if name]
