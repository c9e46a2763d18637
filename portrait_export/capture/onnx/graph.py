"""An ONNX model in, an editable graph out (and back): nodes, constants, static shapes, makers and readers of values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...errors import CaptureError
from .unique import unique_name

if TYPE_CHECKING:
    import numpy as np
    import onnx

Shape = tuple[int, ...]


@dataclass(eq=False)
class Node:
    """One operator.

    Attributes:
        op: ONNX operator type.
        inputs, outputs: names of values; empty where an optional one is left out.
        attrs: attribute values as Python numbers, strings, lists, or protos.
        name: unique in the graph; reports and later stages call the node by it.
        domain: empty for ONNX's own operators.
    """

    op: str
    inputs: list[str]
    outputs: list[str]
    attrs: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    domain: str = ""

    @property
    def output(self) -> str:
        """The first output."""
        return self.outputs[0]

    def input(self, index: int) -> str:
        """The input at an index, empty where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else ""


class Graph:
    """A model's main graph, to be edited. Values inside control-flow bodies are not seen, what they read is protected.

    The model itself is only read, and must not be changed as long as the graph is used.

    Attributes:
        nodes: in an order in which they can run.
        inputs, outputs: names of the graph's own values; these never disappear and never change their meaning.
        opset: version of ONNX's own operators; 0 where the model uses none.
    """

    def __init__(self, model: onnx.ModelProto):
        inferred = _infer_shapes(model)
        self._model = model  # only read: a copy would be one of all weights
        graph = model.graph
        self.opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        self._arrays: dict[str, np.ndarray] = {}
        self.inputs = [value.name for value in graph.input if value.name not in self._tensors]
        self.outputs = [value.name for value in graph.output]
        self.shapes: dict[str, Shape] = {}
        self.types: dict[str, int] = {}
        for value in (*inferred.graph.input, *inferred.graph.output, *inferred.graph.value_info):
            self._note(value)
        for tensor in graph.initializer:
            self.shapes[tensor.name], self.types[tensor.name] = tuple(tensor.dims), tensor.data_type
        self._names: set[str] = set()
        self.nodes: list[Node] = []
        for proto in graph.node:
            self._read(proto)
        self._uses: dict[str, list[Node]] | None = None
        self._makers: dict[str, Node] | None = None
        self._give_names()

    # Reading ------------------------------------------------------------------------------------------------------

    def maker(self, value: str) -> Node | None:
        """The node that computes a value; None for inputs, constants and left-out inputs."""
        if self._makers is None:
            self._makers = {name: node for node in self.nodes for name in node.outputs if name}
        return self._makers.get(value)

    def uses(self, value: str) -> list[Node]:
        """The nodes that read a value, once per reading."""
        if self._uses is None:
            self._uses = {}
            for node in self.nodes:
                for name in (*node.inputs, *captured(node)):
                    if name:
                        self._uses.setdefault(name, []).append(node)
        return self._uses.get(value, [])

    def sole_use(self, value: str) -> Node | None:
        """The only node that reads a value, where nothing else (the graph's outputs included) does."""
        uses = self.uses(value)
        return uses[0] if len(uses) == 1 and value not in self.outputs else None

    def feeds_only(self, value: str, node: Node) -> bool:
        """Whether `node` is the only reader of a value."""
        return self.sole_use(value) is node

    def is_fixed(self, value: str) -> bool:
        """Whether a value's name must stay: it is the graph's output, or a control-flow body reads it by its name."""
        return value in self.outputs or any(value in captured(node) for node in self.uses(value))

    def is_constant(self, value: str) -> bool:
        """Whether a value is stored in the model."""
        return value in self._tensors or value in self._arrays

    def constant(self, value: str) -> np.ndarray | None:
        """A stored value as an array, not to be written to; None for a computed one."""
        if value in self._arrays:
            return self._arrays[value]
        if value not in self._tensors:
            return None
        import onnx

        array = onnx.numpy_helper.to_array(self._tensors[value])
        array.setflags(write=False)
        self._arrays[value] = array
        return array

    def shape(self, value: str) -> Shape | None:
        """A value's static shape; None where it is not known."""
        return self.shapes.get(value)

    def is_float(self, value: str) -> bool:
        """Whether a value is float32, the type that the rewrites are proven (and tested) for."""
        return self.types.get(value) == 1

    # Writing ------------------------------------------------------------------------------------------------------

    def add_constant(self, array: np.ndarray, *, name: str) -> str:
        """Store an array under a unique name like `name`; returns the name."""
        import numpy as np
        import onnx

        unique = self.unique(name)
        stored = np.ascontiguousarray(array).reshape(array.shape)
        self._arrays[unique] = stored
        self.shapes[unique] = tuple(array.shape)
        self.types[unique] = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        return unique

    def rename_constant(self, old: str, new: str) -> None:
        """Store a constant under another name; one that is taken gets a number."""
        name = self.unique(new)
        for node in self.uses(old):
            node.inputs = [name if value == old else value for value in node.inputs]
        if old in self._tensors:
            tensor = type(self._tensors[old])()
            tensor.CopyFrom(self._tensors.pop(old))
            tensor.name = name
            self._tensors[name] = tensor
        if old in self._arrays:
            self._arrays[name] = self._arrays.pop(old)
        self.shapes[name], self.types[name] = self.shapes.pop(old), self.types.pop(old)
        self._names.discard(old)
        self.changed()

    def add_node(
        self,
        op: str,
        inputs: Sequence[str],
        *,
        name: str,
        shape: Shape,
        output: str = "",
        attrs: dict[str, Any] | None = None,
        like: str = "",
        before: Node | None = None,
    ) -> str:
        """Insert a node with one output.

        Args:
            op, inputs, attrs: the operator.
            name: what to call it; made unique.
            shape: of its output.
            output: the value to produce, where it must be an existing name; else one is made from the node's name.
            like: a value of the same element type; by default the first input.
            before: where in the order to insert it; by default at the end (`sort` finds the place).
        Returns:
            The output's name.
        """
        unique = self.unique(name)
        value = output or self.unique(f"{unique}_output_0")
        node = Node(op, list(inputs), [value], dict(attrs or {}), unique)
        position = self.nodes.index(before) if before is not None else len(self.nodes)
        self.nodes.insert(position, node)
        self.shapes[value] = tuple(shape)
        self.types[value] = self.types.get(like or inputs[0], 1)
        self.changed()
        return value

    def replace_uses(self, old: str, new: str) -> None:
        """Let every reader of `old` read `new` instead. Where the name `old` must stay, `new` is renamed to it."""
        fixed = self.is_fixed(old)
        for node in list(self.uses(old)):
            node.inputs = [new if name == old else name for name in node.inputs]
        self.changed()
        if fixed:
            self._rename_into_fixed(old, new)

    def remove(self, nodes: Iterable[Node]) -> None:
        """Take nodes out. Their outputs must not be read any more."""
        gone = {id(node) for node in nodes}
        self.nodes = [node for node in self.nodes if id(node) not in gone]
        self.changed()

    def changed(self) -> None:
        """Forget who makes and reads what, after nodes were edited directly."""
        self._uses = self._makers = None

    def clean(self) -> None:
        """Drop nodes and constants that no output needs, and bring the nodes into an order in which they can run."""
        needed: set[str] = set(self.outputs)
        by_output = {name: node for node in self.nodes for name in node.outputs if name}
        kept: set[int] = set()
        stack = [*self.outputs]
        while stack:
            node = by_output.get(stack.pop())
            if node is None or id(node) in kept:
                continue
            kept.add(id(node))
            reads = [name for name in (*node.inputs, *captured(node)) if name]
            needed.update(reads)
            stack.extend(reads)
        self.nodes = [node for node in self.nodes if id(node) in kept]
        self._arrays = {name: array for name, array in self._arrays.items() if name in needed}
        self._tensors = {name: tensor for name, tensor in self._tensors.items() if name in needed}
        self._sort()
        self.changed()

    def release_names(self) -> None:
        """Let names be given again that nothing in the graph has any more."""
        names = {name for node in self.nodes for name in (node.name, *node.inputs, *node.outputs, *captured(node))}
        self._names = names | set(self._tensors) | set(self._arrays) | set(self.inputs)

    def copy(self) -> Graph:
        """A graph that can be edited without changing this one."""
        import copy

        twin = copy.copy(self)
        twin.nodes = [
            Node(node.op, list(node.inputs), list(node.outputs), dict(node.attrs), node.name, node.domain)
            for node in self.nodes
        ]
        twin.shapes, twin.types = dict(self.shapes), dict(self.types)
        twin._tensors, twin._arrays, twin._names = dict(self._tensors), dict(self._arrays), set(self._names)
        twin.changed()
        return twin

    def adopt(self, twin: Graph) -> None:
        """Become what an edited copy has become."""
        self.__dict__.update(twin.__dict__)
        self.changed()

    def to_model(self) -> onnx.ModelProto:
        """The edited model: cleaned, with the shapes of all values noted."""
        import onnx

        self.clean()
        model = onnx.ModelProto()
        _copy(self._model, model, without=("graph",))
        graph = model.graph
        # Left out, not deleted afterwards: a message's memory is only free again when all of it is.
        _copy(self._model.graph, graph, without=("node", "initializer", "value_info"))
        for node in self.nodes:
            graph.node.append(self._node_proto(node))
        order = list(dict.fromkeys(name for node in self.nodes for name in (*node.inputs, *captured(node))))
        for name in (*order, *self.outputs):
            if self.is_constant(name) and name not in {tensor.name for tensor in graph.initializer}:
                graph.initializer.append(self._tensor_proto(name))
        model.ir_version = max(model.ir_version, 4)  # before 4, initializers had to be graph inputs as well
        kept = [value for value in graph.input if value.name in self.inputs]
        del graph.input[:]
        graph.input.extend(kept)
        own = {*self.inputs, *self.outputs}
        for node in self.nodes:
            for name in node.outputs:
                if name and name not in own and self.shapes.get(name) is not None and self.types.get(name):
                    graph.value_info.append(
                        onnx.helper.make_tensor_value_info(name, self.types[name], self.shapes[name])
                    )
        return model

    # Inside -------------------------------------------------------------------------------------------------------

    def _note(self, value: onnx.ValueInfoProto) -> None:
        tensor = value.type.tensor_type
        if not tensor.elem_type:
            return
        self.types[value.name] = tensor.elem_type
        dims = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim]
        if tensor.HasField("shape") and all(size >= 0 for size in dims):
            self.shapes[value.name] = tuple(dims)

    def _read(self, proto: onnx.NodeProto) -> None:
        import onnx

        if proto.op_type == "Constant" and not proto.domain and len(proto.attribute) == 1:
            tensor = _constant_tensor(proto.attribute[0])
            if tensor is not None:
                tensor.name = proto.output[0]
                self._tensors[tensor.name] = tensor
                self.shapes[tensor.name], self.types[tensor.name] = tuple(tensor.dims), tensor.data_type
                return
        attrs = {
            attribute.name: attribute if attribute.ref_attr_name else onnx.helper.get_attribute_value(attribute)
            for attribute in proto.attribute
        }
        attrs = {key: value.decode() if isinstance(value, bytes) else value for key, value in attrs.items()}
        self.nodes.append(Node(proto.op_type, list(proto.input), list(proto.output), attrs, proto.name, proto.domain))

    def _give_names(self) -> None:
        """Give every node a name of its own, kept where it has one."""
        self.release_names()
        seen: set[str] = set()
        for index, node in enumerate(self.nodes):
            if not node.name or node.name in seen:
                base = node.name or f"/{node.op}_{index}"
                node.name = base
                number = 1
                while node.name in seen or node.name in self._names:
                    number += 1
                    node.name = f"{base}_{number}"
            seen.add(node.name)
        self._names |= seen

    def unique(self, name: str) -> str:
        """A name like `name` that nothing in the graph has yet; it is taken from now on."""
        return unique_name(name, self._names)

    def _rename_into_fixed(self, output: str, value: str) -> None:
        """Let `value` be computed under a name that must stay."""
        maker = self.maker(value)
        old = self.maker(output)
        if maker is None or self.is_fixed(value):
            # An input, a constant or another such name: it needs a copy.
            if old is not None:
                old.outputs = [self.unique(f"{output}_old") if name == output else name for name in old.outputs]
            self.nodes.append(Node("Identity", [value], [output], {}, self.unique(f"/{output}/Identity")))
            self.changed()
            return
        if old is not None:
            old.outputs = [self.unique(f"{output}_old") if name == output else name for name in old.outputs]
        maker.outputs = [output if name == value else name for name in maker.outputs]
        for node in self.uses(value):
            node.inputs = [output if name == value else name for name in node.inputs]
        self.shapes[output] = self.shapes.get(value, self.shapes.get(output, ()))
        self.changed()

    def _sort(self) -> None:
        """Stable topological order: a node moves only as far back as its inputs force it to."""
        made_by = {name: index for index, node in enumerate(self.nodes) for name in node.outputs if name}
        order: list[Node] = []
        state = [0] * len(self.nodes)  # 0 not seen, 1 being placed, 2 placed
        for root in range(len(self.nodes)):
            stack = [root]
            while stack:
                index = stack[-1]
                if state[index] == 2:
                    stack.pop()
                    continue
                node = self.nodes[index]
                waiting = [
                    made_by[name]
                    for name in (*node.inputs, *captured(node))
                    if name in made_by and state[made_by[name]] != 2
                ]
                if not waiting:
                    state[index] = 2
                    order.append(node)
                    stack.pop()
                    continue
                if state[index] == 1 and any(state[other] == 1 for other in waiting):
                    raise CaptureError(f"The graph has a cycle through {node.op} {node.name!r}.", code="invalid-onnx")
                state[index] = 1
                stack.extend(reversed(waiting))
        self.nodes = order

    def _node_proto(self, node: Node) -> onnx.NodeProto:
        import onnx

        proto = onnx.helper.make_node(node.op, node.inputs, node.outputs, name=node.name, domain=node.domain or None)
        for key in sorted(node.attrs):
            value = node.attrs[key]
            is_proto = isinstance(value, onnx.AttributeProto)
            empty = onnx.AttributeProto.INTS if value == [] else None  # torch writes `axes = []` for "over all"
            proto.attribute.append(value if is_proto else onnx.helper.make_attribute(key, value, attr_type=empty))
        return proto

    def _tensor_proto(self, name: str) -> onnx.TensorProto:
        import onnx

        if name in self._tensors:
            return self._tensors[name]
        return onnx.numpy_helper.from_array(self._arrays[name], name)


def _copy(source: Any, target: Any, *, without: Sequence[str]) -> None:
    """Copy what is set of a protobuf message into an empty one of the same type, but for some fields."""
    for entry, value in source.ListFields():
        if entry.name in without:
            continue
        if hasattr(value, "extend"):
            getattr(target, entry.name).extend(value)
        elif entry.message_type is not None:
            getattr(target, entry.name).CopyFrom(value)
        else:
            setattr(target, entry.name, value)


def _infer_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    import onnx

    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:  # the C++ inference raises RuntimeErrors of its own
        raise CaptureError(f"Shapes cannot be inferred: {str(error).splitlines()[0]}", code="invalid-onnx") from error


def _constant_tensor(attribute: onnx.AttributeProto) -> onnx.TensorProto | None:
    """The tensor that a Constant node's attribute stands for; None for strings and sparse tensors."""
    import numpy as np
    import onnx

    if attribute.name == "value":
        tensor = onnx.TensorProto()
        tensor.CopyFrom(attribute.t)
        return tensor
    dtypes = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    if attribute.name not in dtypes:
        return None
    value = onnx.helper.get_attribute_value(attribute)
    return onnx.numpy_helper.from_array(np.asarray(value, dtypes[attribute.name]))


def captured(node: Node) -> list[str]:
    """Values of the outer graph that a node's inner graphs may read."""
    names: list[str] = []
    for value in node.attrs.values():
        for inner in value if isinstance(value, list) else [value]:
            if hasattr(inner, "node") and hasattr(inner, "initializer"):
                for child in inner.node:
                    names.extend(child.input)
                    names.extend(_captured_in(child))
                names.extend(output.name for output in inner.output)
    return names


def _captured_in(proto: onnx.NodeProto) -> list[str]:
    names: list[str] = []
    for attribute in proto.attribute:
        for inner in (attribute.g, *attribute.graphs):
            for child in inner.node:
                names.extend(child.input)
                names.extend(_captured_in(child))
            names.extend(output.name for output in inner.output)
    return names
