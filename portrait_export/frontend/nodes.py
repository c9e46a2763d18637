"""Lower ONNX nodes to MIL operations one by one, collecting every refusal."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Collection, Iterable, MutableMapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from . import registry
from .collapse import fewer_dimensions
from .context import NodeContext
from .emitter import Emitter
from .fold import can_fold, fold_node
from .functions import body_of, bound_nodes, has_body
from .graph import DEFAULT_DOMAINS, Inferred, label_of, plain_attribute, qualified
from .legacy import upgrade
from .names import identifier
from .refusals import MissingOperator, Problem, UnknownAttribute, Unsupported, one_line
from .values import MAX_RANK, MIL_TYPES, UNKNOWN, MaybeValue, OverRank, TensorSequence, Unknown, Value

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

Scope: TypeAlias = MutableMapping[str, MaybeValue]


class NodeLowering:
    """Lowers the nodes of one model into one program.

    Args:
        emitter: of the program.
        inferred: shapes and types of the main graph's values, to continue after a refusal.
        wanted: the program's outputs, whose names are reserved for them.
        named: ids of the Vars that already have an ONNX name; newly named ones are added.
    Attributes:
        problems: every refusal so far, in order.
    """

    def __init__(self, emitter: Emitter, inferred: Inferred, *, wanted: Collection[str], named: set[int]):
        self.emitter = emitter
        self.inferred = inferred
        self.wanted = wanted
        self.named = named
        self.problems: list[Problem] = []

    def lower_nodes(self, nodes: Iterable[NodeProto], scope: Scope, *, opset: int, prefix: str) -> None:
        """Lower nodes in order, reading and adding values in `scope`. Refusals are collected, not raised."""
        for node in nodes:
            values: Sequence[MaybeValue]
            try:
                values = self._lower_node(node, scope, opset=opset, prefix=prefix)
            except Unsupported as error:
                reason = "" if isinstance(error, MissingOperator) else str(error)
                self.problems.append(Problem(qualified(node), label_of(node, prefix), reason))
                values = [self._placeholder(name) for name in node.output]
            scope.update({name: value for name, value in zip(node.output, values, strict=False) if name})

    def _lower_node(self, node: NodeProto, scope: Scope, *, opset: int, prefix: str) -> Sequence[MaybeValue]:
        """The values of a node's outputs: folded, from its own lowering, or from its function body, in this order."""
        default = node.domain in DEFAULT_DOMAINS
        entry = registry.find(node.op_type, opset) if default else None
        inputs = _known(_inputs(node, scope))
        if inputs is None:
            if entry is None and not has_body(node, opset):
                raise MissingOperator
            return [UNKNOWN] * len(node.output)
        if default:
            node, inputs = upgrade(node, inputs, opset, self.emitter)
            if can_fold(inputs, node.op_type):
                return fold_node(node, inputs, opset)
        if entry is None:
            return self._expand(node, inputs, opset=opset, prefix=prefix)
        return self._apply_or_expand(entry, node, inputs, scope, opset=opset, prefix=prefix)

    def _apply_or_expand(
        self,
        entry: registry.Entry,
        node: NodeProto,
        inputs: Sequence[Value | None],
        scope: Scope,
        *,
        opset: int,
        prefix: str,
    ) -> Sequence[MaybeValue]:
        """Lower a node by its own lowering or, if that refuses it, through the operator's function body.

        The first refusal is the one reported: it names what the node itself asks for.
        """
        mark = len(self.problems)
        try:
            return self._apply(entry, node, inputs, scope, opset=opset, prefix=prefix)
        except Unsupported as refusal:
            final = isinstance(refusal, (MissingOperator, UnknownAttribute))
            if final or not has_body(node, opset):
                raise
            try:
                values = self._expand(node, inputs, opset=opset, prefix=prefix)
            except Unsupported:
                raise refusal from None
            if len(self.problems) > mark:
                del self.problems[mark:]
                raise
            return values

    def _apply(
        self,
        entry: registry.Entry,
        proto: NodeProto,
        inputs: Sequence[Value | None],
        scope: Scope,
        *,
        opset: int,
        prefix: str,
    ) -> Sequence[MaybeValue]:
        """Lower a node by its own lowering."""
        from onnx import helper

        node = NodeContext(
            op_type=proto.op_type,
            name=label_of(proto, prefix),
            opset=opset,
            inputs=tuple(inputs),
            outputs=tuple(f"{prefix}{name}" if name else "" for name in proto.output),
            attributes={a.name: plain_attribute(helper.get_attribute_value(a)) for a in proto.attribute},
            emitter=self.emitter,
            lower_graph=partial(self._lower_graph, scope=scope, opset=opset, prefix=prefix),
        )
        try:
            collapsed = fewer_dimensions(node)
            if collapsed is not None:
                node = collapsed.node
            result = entry.lower(node)
            if collapsed is not None:
                result = collapsed.restored(result)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # inputs and attributes that do not fit together; the ONNX checker does not look at values
            raise Unsupported(f"{type(error).__name__}: {one_line(error)}") from error
        if node.unread():
            raise UnknownAttribute(f"unknown attribute {', '.join(node.unread())}")
        values: list[MaybeValue] = list(result) if isinstance(result, Sequence) else [result]
        if len(values) < sum(1 for name in proto.output if name):
            raise Unsupported(f"only its first {len(values)} outputs can be computed; {len(proto.output)} are used")
        if any(value is UNKNOWN for value in values):
            return values
        for name, value in zip(node.outputs, values, strict=False):
            self._name(value, name)
        return values

    def _name(self, value: MaybeValue, name: str) -> None:
        """Give a Var that has no ONNX name yet the name of the output that it is."""
        unnamed = np.ndarray | np.generic | OverRank | TensorSequence | Unknown
        if not name or value is None or isinstance(value, unnamed) or id(value) in self.named:
            return
        if name in self.wanted:  # reserved for this value; `Outputs` takes the name again if it wraps the value
            self.emitter.names.taken.discard(identifier(name))
        self.emitter.rename(value, identifier(name))
        self.named.add(id(value))

    def _expand(
        self, node: NodeProto, inputs: Sequence[Value | None], *, opset: int, prefix: str
    ) -> Sequence[MaybeValue]:
        """Lower an operator through the function body that the ONNX standard gives it."""
        body = body_of(node, inputs, opset)
        if body is None:
            raise MissingOperator
        scope: Scope = dict.fromkeys(body.input)
        scope.update(zip(body.input, inputs, strict=False))
        scope.update({"": None})
        inner = f"{label_of(node, prefix)}_"
        version = max((e.version for e in body.opset_import if e.domain in DEFAULT_DOMAINS), default=opset)
        self._lower_whole(bound_nodes(body, node), scope, "its function body needs", opset=version, prefix=inner)
        # an output that the caller omits need not be computed in the body
        return [scope[name] if wanted else None for name, wanted in zip(body.output, node.output, strict=False)]

    def _lower_graph(self, graph: GraphProto, label: str, *, scope: Scope, opset: int, prefix: str) -> list[MaybeValue]:
        """The values of a subgraph's outputs. Raises Unsupported with the causes if any of its nodes is refused."""
        from onnx import numpy_helper

        inner: ChainMap[str, MaybeValue] = ChainMap({}, scope)
        for tensor in graph.initializer:
            inner[tensor.name] = numpy_helper.to_array(tensor)
        self._lower_whole(graph.node, inner, "its branch needs", opset=opset, prefix=f"{prefix}{label}_")
        return [inner[value.name] for value in graph.output]

    def _lower_whole(self, nodes: Iterable[NodeProto], scope: Scope, what: str, *, opset: int, prefix: str) -> None:
        """Lower the nodes inside another node. Raises Unsupported with the causes if any of them is refused."""
        mark = len(self.problems)
        self.lower_nodes(nodes, scope, opset=opset, prefix=prefix)
        found = self.problems[mark:]
        if found:
            del self.problems[mark:]
            causes = sorted({f"{p.op_type}{f' ({p.reason})' if p.reason else ''}" for p in found})
            raise Unsupported(f"{what} {', '.join(causes)}")

    def _placeholder(self, name: str) -> MaybeValue:
        """A value of the shape that a refused node's output has, so that the nodes after it are checked, too."""
        known = self.inferred.get(name)
        if known is None or 0 in known[0] or len(known[0]) > MAX_RANK or known[1] not in MIL_TYPES:
            return UNKNOWN
        shape, dtype = known
        emit = self.emitter.emit
        try:
            var = emit("random_uniform", "placeholder", shape=np.asarray(shape or (1,), np.int32))
            if dtype != "float32":
                var = emit("cast", "placeholder_cast", x=var, dtype=MIL_TYPES[dtype])
            return var if shape else emit("squeeze", "placeholder_scalar", x=var, axes=[0])
        except Unsupported:
            return UNKNOWN


def _inputs(node: NodeProto, scope: Scope) -> list[MaybeValue]:
    """The values of a node's inputs. Raises Unsupported if no earlier node computes one of them."""
    missing = [name for name in node.input if name and name not in scope]
    if missing:
        raise Unsupported(f"no earlier node computes its input {', '.join(map(repr, missing))}")
    return [scope[name] if name else None for name in node.input]


def _known(inputs: Iterable[MaybeValue]) -> list[Value | None] | None:
    """The inputs, None if one of them is unknown."""
    known: list[Value | None] = []
    for value in inputs:
        if isinstance(value, Unknown):
            return None
        known.append(value)
    return known
