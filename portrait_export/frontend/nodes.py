"""ONNX nodes and the values that they take in; MIL operations and the values that they give out, refusals noted."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Collection, Iterable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import registry
from .context import (
    MAX_RANK,
    MIL_TYPES,
    Emitter,
    MissingOperator,
    Node,
    TensorSequence,
    UnknownAttribute,
    Unsupported,
    View,
    identifier,
)
from .fold import can_fold, fold
from .functions import body_of, bound_nodes, has_body
from .graph import DEFAULT_DOMAINS, Inferred, label_of, plain_attribute, qualified
from .legacy import modern
from .refusals import Problem

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

_POISON = object()  # the value of a node that was refused, where not even its shape is known


class NodeLowering:
    """Lowers the nodes of one model into one program.

    Args:
        emitter: of the program.
        inferred: shapes and types of the main graph's values, to go on behind a refusal.
        wanted: the program's outputs, whose names are theirs alone.
        named: ids of the Vars that carry an ONNX name already; those that get one are added.
    Attributes:
        problems: every refusal so far, in order.
    """

    def __init__(self, emitter: Emitter, inferred: Inferred, *, wanted: Collection[str], named: set[int]):
        self.emitter = emitter
        self.inferred = inferred
        self.wanted = wanted
        self.named = named
        self.problems: list[Problem] = []

    def lower_nodes(
        self, nodes: Iterable[NodeProto], scope: MutableMapping[str, Any], *, opset: int, prefix: str
    ) -> None:
        """Lower nodes in order, into and out of `scope` (name → value). Refusals are noted, not raised."""
        for node in nodes:
            try:
                values = self._lower_node(node, scope, opset=opset, prefix=prefix)
            except Unsupported as error:
                reason = "" if isinstance(error, MissingOperator) else str(error)
                self.problems.append(Problem(qualified(node), label_of(node, prefix), reason))
                values = [self._stand_in(name) for name in node.output]
            scope.update({name: value for name, value in zip(node.output, values, strict=False) if name})

    def _lower_node(
        self, node: NodeProto, scope: MutableMapping[str, Any], *, opset: int, prefix: str
    ) -> Sequence[Any]:
        unmade = [name for name in node.input if name and name not in scope]
        if unmade:
            raise Unsupported(f"its input {', '.join(map(repr, unmade))} comes from no node before it")
        inputs = [scope[name] if name else None for name in node.input]
        default = node.domain in DEFAULT_DOMAINS
        entry = registry.find(node.op_type, opset) if default else None
        if any(value is _POISON for value in inputs):
            if entry is None and not has_body(node, opset):
                raise MissingOperator
            return [_POISON] * len(node.output)
        if default:
            node, inputs = modern(node, inputs, opset, self.emitter)
        if default and can_fold(node.op_type, inputs):
            return fold(node, inputs, opset)
        if entry is None:
            return self._expand(node, inputs, opset=opset, prefix=prefix)
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
        inputs: list[Any],
        scope: MutableMapping[str, Any],
        *,
        opset: int,
        prefix: str,
    ) -> list[Any]:
        from onnx import helper

        node = Node(
            op_type=proto.op_type,
            name=label_of(proto, prefix),
            opset=opset,
            inputs=inputs,
            outputs=[f"{prefix}{name}" if name else "" for name in proto.output],
            attributes={a.name: plain_attribute(helper.get_attribute_value(a)) for a in proto.attribute},
            emitter=self.emitter,
            converter=_Inner(self, scope, opset, prefix),
            input_names=list(proto.input),
        )
        try:
            result = entry.lower(node)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # inputs and attributes that do not fit together; the ONNX checker does not look at values
            raise Unsupported(f"{type(error).__name__}: {' '.join(str(error).split())[:160]}") from error
        if node.unread():
            raise UnknownAttribute(f"attribute {', '.join(node.unread())} is not understood")
        values = list(result) if isinstance(result, (tuple, list)) else [result]
        if len(values) < sum(1 for name in proto.output if name):
            raise Unsupported(f"only its first {len(values)} outputs can be computed; {len(proto.output)} are used")
        if any(value is _POISON for value in values):
            return values
        for name, value in zip(node.outputs, values, strict=False):
            self._name(value, name)
        return values

    def _name(self, value: Any, name: str) -> None:
        if (
            name
            and value is not None
            and not isinstance(value, np.ndarray | np.generic | View | TensorSequence)
            and id(value) not in self.named
        ):
            wanted = identifier(name)
            if name in self.wanted:  # reserved for this very value; a finished output takes it over again
                self.emitter.taken.discard(wanted)
            self.emitter.rename(value, wanted)
            self.named.add(id(value))

    def _expand(self, node: NodeProto, inputs: list[Any], *, opset: int, prefix: str) -> list[Any]:
        """Lower an operator through the function body that the ONNX standard gives it."""
        body = body_of(node, inputs, opset)
        if body is None:
            raise MissingOperator
        scope: dict[str, Any] = dict.fromkeys(body.input)
        scope.update(zip(body.input, inputs, strict=False))
        scope.update({"": None})
        inner = f"{label_of(node, prefix)}_"
        version = max((e.version for e in body.opset_import if e.domain in DEFAULT_DOMAINS), default=opset)
        mark = len(self.problems)
        self.lower_nodes(bound_nodes(body, node), scope, opset=version, prefix=inner)
        found = self.problems[mark:]
        if found:
            del self.problems[mark:]
            causes = sorted({f"{p.op_type}{f' ({p.reason})' if p.reason else ''}" for p in found})
            raise Unsupported(f"its function body needs {', '.join(causes)}")
        # an output that the caller leaves out may have no node in the body
        return [scope[name] if wanted else None for name, wanted in zip(body.output, node.output, strict=False)]

    def _stand_in(self, name: str) -> Any:
        """A value of the right shape for what could not be lowered, so that the nodes after it are looked at, too."""
        known = self.inferred.get(name)
        if known is None or 0 in known[0] or len(known[0]) > MAX_RANK or known[1] not in MIL_TYPES:
            return _POISON
        shape, dtype = known
        emit = self.emitter.emit
        try:
            var = emit("random_uniform", "stand_in", shape=np.asarray(shape or (1,), np.int32))
            if dtype != "float32":
                var = emit("cast", "stand_in_cast", x=var, dtype=MIL_TYPES[dtype])
            return var if shape else emit("squeeze", "stand_in_scalar", x=var, axes=[0])
        except Unsupported:
            return _POISON


class _Inner:
    """What the lowering of a control-flow node needs: to lower a graph of its own in the same program."""

    def __init__(self, lowering: NodeLowering, scope: MutableMapping[str, Any], opset: int, prefix: str):
        self._lowering, self._scope, self._opset, self._prefix = lowering, scope, opset, prefix

    def lower_graph(self, graph: GraphProto, label: str) -> list[Any]:
        """The values of a subgraph's outputs. Raises Unsupported with the causes if something in it is refused."""
        from onnx import numpy_helper

        lowering = self._lowering
        inner: ChainMap[str, Any] = ChainMap({}, self._scope)
        for tensor in graph.initializer:
            inner[tensor.name] = numpy_helper.to_array(tensor)
        mark = len(lowering.problems)
        lowering.lower_nodes(graph.node, inner, opset=self._opset, prefix=f"{self._prefix}{label}_")
        found = lowering.problems[mark:]
        if found:
            del lowering.problems[mark:]
            causes = sorted({f"{p.op_type}{f' ({p.reason})' if p.reason else ''}" for p in found})
            raise Unsupported(f"its branch needs {', '.join(causes)}")
        return [inner[value.name] for value in graph.output]
