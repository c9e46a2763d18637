"""Edit an ONNX graph: nodes, constants, static shapes, and who makes and reads each value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from ...errors import CaptureError, first_line
from ...utils.names import unique_name
from .light import copy_fields, infer_shapes
from .links import Links
from .stored import StoredModel
from .subgraphs import subgraphs

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
        captured: values of the outer graph that its inner graphs may read.
    """

    op: str
    inputs: list[str]
    outputs: list[str]
    attrs: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    domain: str = ""
    captured: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.captured = tuple(_captured(self.attrs))

    @property
    def output(self) -> str:
        """The first output."""
        return self.outputs[0]

    def input(self, index: int) -> str:
        """The input at an index, empty where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else ""


class Graph:
    """A model's main graph, to be edited through its methods. Values inside control-flow bodies are not visible; the
    outer values that such a body reads keep their names.

    The model itself is only read, and must not be changed as long as the graph is used.

    Attributes:
        inputs, outputs: names of the graph's own values; these never disappear and never change their meaning.
        opset: version of ONNX's own operators; 0 where the model uses none.
    """

    def __init__(self, source: onnx.ModelProto | StoredModel):
        self._stored = source if isinstance(source, StoredModel) else None
        model = source.outline if isinstance(source, StoredModel) else source
        inferred = _infer_shapes(model)
        self._model = model  # only read: a copy would be one of all weights
        graph = model.graph
        self.opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        self._arrays: dict[str, np.ndarray] = {}
        self.inputs = tuple(value.name for value in graph.input if value.name not in self._tensors)
        self.outputs = tuple(value.name for value in graph.output)
        self._shapes: dict[str, Shape] = {}
        self._types: dict[str, int] = {}
        for value in (*inferred.graph.input, *inferred.graph.output, *inferred.graph.value_info):
            self._note(value)
        for tensor in graph.initializer:
            self.declare(tensor.name, tuple(tensor.dims), tensor.data_type)
        self._names: set[str] = set()
        self._nodes: list[Node] = []
        for proto in graph.node:
            self._read(proto)
        self._links: Links | None = None
        self._give_names()

    # Reading ------------------------------------------------------------------------------------------------------

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes, in an order in which they can run."""
        return tuple(self._nodes)

    def maker(self, value: str) -> Node | None:
        """The node that computes a value; None for inputs, constants and left-out inputs."""
        return self._linked().makers.get(value)

    def uses(self, value: str) -> list[Node]:
        """The nodes that read a value, once per reading, in their order."""
        return self._linked().readers(value, self._nodes)

    def sole_use(self, value: str) -> Node | None:
        """The only node that reads a value, where nothing else (the graph's outputs included) does."""
        uses = self.uses(value)
        return uses[0] if len(uses) == 1 and value not in self.outputs else None

    def feeds_only(self, value: str, node: Node) -> bool:
        """Whether `node` is the only reader of a value."""
        return self.sole_use(value) is node

    def is_fixed(self, value: str) -> bool:
        """Whether a value's name must stay: it is the graph's output, or a control-flow body reads it by its name."""
        return value in self.outputs or any(value in node.captured for node in self.uses(value))

    def is_constant(self, value: str) -> bool:
        """Whether a value is stored in the model."""
        return value in self._tensors or value in self._arrays

    def constant(self, value: str) -> np.ndarray | None:
        """A stored value as an array, not to be written to; None for a computed one."""
        if value in self._arrays:
            return self._arrays[value]
        if value not in self._tensors:
            return None
        tensor = self._tensors[value]
        array = onnx.numpy_helper.to_array(tensor) if self._stored is None else self._stored.array(tensor)
        array.setflags(write=False)
        self._arrays[value] = array
        return array

    def scalar(self, value: str) -> float | None:
        """The number in a stored value of one element; None for anything else."""
        array = self.constant(value)
        return None if array is None or array.size != 1 else float(array.reshape(()))

    def shape(self, value: str) -> Shape | None:
        """A value's static shape; None where it is not known."""
        return self._shapes.get(value)

    def dtype(self, value: str) -> int:
        """A value's element type, a number of `TensorProto.DataType`; UNDEFINED where it is not known."""
        return self._types.get(value, TensorProto.UNDEFINED)

    def is_float(self, value: str) -> bool:
        """Whether a value is float32, the type that the rewrites are proven (and tested) for."""
        return self.dtype(value) == TensorProto.FLOAT

    # Writing ------------------------------------------------------------------------------------------------------

    def add_constant(self, array: np.ndarray, *, name: str) -> str:
        """Store an array under a unique name like `name`; returns the name."""
        unique = self.unique(name)
        self._arrays[unique] = np.ascontiguousarray(array).reshape(array.shape)
        if self._links is not None:
            self._links.stale.add(unique)
        self.declare(unique, array.shape, onnx.helper.np_dtype_to_tensor_dtype(array.dtype))
        return unique

    def declare(self, value: str, shape: Sequence[int], dtype: int) -> None:
        """Note a value's shape and element type."""
        self._shapes[value], self._types[value] = tuple(shape), dtype

    def rename_constant(self, old: str, new: str) -> None:
        """Store a constant under another name. A number is added if that name is taken."""
        name = self.unique(new)
        for node in self.uses(old):
            self.redirect(node, old, name)
        if old in self._tensors:
            tensor = type(self._tensors[old])()
            tensor.CopyFrom(self._tensors.pop(old))
            tensor.name = name
            self._tensors[name] = tensor
        if old in self._arrays:
            self._arrays[name] = self._arrays.pop(old)
        self.declare(name, self._shapes.pop(old), self._types.pop(old))
        self._names.discard(old)
        self._linked().stale.add(name)

    def add_node(
        self,
        op: str,
        inputs: Sequence[str],
        *,
        name: str,
        shape: Shape,
        output: str = "",
        attrs: dict[str, Any] | None = None,
        dtype: int | None = None,
        before: Node | None = None,
    ) -> str:
        """Insert a node with one output.

        Args:
            op, inputs, attrs: the operator.
            name: what to call it; made unique.
            shape: of its output.
            dtype: the output's element type; by default the first input's.
            before: where in the order to insert it; by default at the end (`clean` finds the place).
        Returns:
            The output's name.
        """
        unique = self.unique(name)
        value = self.unique(f"{unique}_output_0")
        node = Node(op, list(inputs), [value], dict(attrs or {}), unique)
        self._nodes.insert(self._nodes.index(before) if before is not None else len(self._nodes), node)
        self.declare(value, shape, dtype or self._types.get(inputs[0], TensorProto.FLOAT))
        self._link(node)
        return value

    def append(self, node: Node, *, shape: Shape | None = None) -> None:
        """Add a node at the end.

        Args:
            shape: of its output, which then is float32; None where that is declared already.
        """
        self._nodes.append(node)
        if shape is not None:
            self.declare(node.output, shape, TensorProto.FLOAT)
        self._link(node)

    def take_nodes(self) -> list[Node]:
        """Empty the graph of its nodes, to rebuild it from them."""
        taken, self._nodes = self._nodes, []
        self._links = None
        return taken

    def set_input(self, node: Node, index: int, value: str) -> None:
        """Let a node read another value as one of its inputs."""
        self.set_inputs(node, [*node.inputs[:index], value, *node.inputs[index + 1 :]])

    def set_inputs(self, node: Node, values: Sequence[str]) -> None:
        """Let a node read other values."""
        self._unlink(node)
        node.inputs = list(values)
        self._link(node)

    def redirect(self, node: Node, old: str, new: str) -> None:
        """Let one node read `new` wherever it reads `old`."""
        self.set_inputs(node, [new if value == old else value for value in node.inputs])

    def set_output(self, node: Node, *, shape: Shape, like: str) -> str:
        """Let a node compute a new value, named after the node, instead of its output.

        Args:
            shape: of the new value.
            like: a value of the same element type.
        Returns:
            The new value's name.
        """
        self._set_outputs(node, [self.unique(f"{node.name}_output_0")])
        self.declare(node.output, shape, self.dtype(like))
        return node.output

    def replace_uses(self, old: str, new: str) -> None:
        """Let every reader of `old` read `new` instead. Where the name `old` must stay, `new` is renamed to it."""
        fixed = self.is_fixed(old)
        for node in self.uses(old):
            self.redirect(node, old, new)
        if fixed:
            self._rename_into_fixed(old, new)

    def remove(self, nodes: Iterable[Node]) -> None:
        """Take nodes out. Their outputs must not be read any more."""
        gone = {id(node): node for node in nodes}
        self._nodes = [node for node in self._nodes if id(node) not in gone]
        if self._links is not None:
            for node in gone.values():
                self._links.remove(node)

    def clean(self) -> None:
        """Drop nodes and constants that no output needs, and bring the nodes into an order in which they can run."""
        links = self._linked()
        gone = links.unneeded({*self.outputs})
        if gone.nodes:
            self._nodes = [node for node in self._nodes if node not in gone.nodes]
        for name in gone.values:
            self._arrays.pop(name, None)
            self._tensors.pop(name, None)
        if not links.in_order(self._nodes):
            self._sort()
            links.places = None

    def release_names(self) -> None:
        """Make names available again that nothing in the graph has any more."""
        names = {name for node in self._nodes for name in (node.name, *node.inputs, *node.outputs, *node.captured)}
        self._names = names | set(self._tensors) | set(self._arrays) | set(self.inputs)

    def copy(self) -> Graph:
        """A graph that can be edited without changing this one."""
        import copy

        twin = copy.copy(self)
        twin._nodes = [
            Node(node.op, list(node.inputs), list(node.outputs), dict(node.attrs), node.name, node.domain)
            for node in self._nodes
        ]
        twin._shapes, twin._types = dict(self._shapes), dict(self._types)
        twin._tensors, twin._arrays, twin._names = dict(self._tensors), dict(self._arrays), set(self._names)
        twin._links = None
        return twin

    def adopt(self, twin: Graph) -> None:
        """Become what an edited copy has become."""
        self.__dict__.update(twin.__dict__)
        self._links = None

    def to_model(self) -> onnx.ModelProto:
        """The edited model: cleaned, with the shapes of all values noted. Of a stored model, its outline."""
        self.clean()
        model = onnx.ModelProto()
        copy_fields(self._model, model, without=("graph",))
        graph = model.graph
        # Left out, not deleted afterwards: a message's memory is only free again when all of it is.
        copy_fields(self._model.graph, graph, without=("node", "initializer", "value_info"))
        for node in self._nodes:
            graph.node.append(self._node_proto(node))
        read = (name for node in self._nodes for name in (*node.inputs, *node.captured))
        for name in dict.fromkeys((*read, *self.outputs)):
            if self.is_constant(name):
                graph.initializer.append(self._tensor_proto(name))
        model.ir_version = max(model.ir_version, 4)  # before 4, initializers had to be graph inputs as well
        kept = [value for value in graph.input if value.name in self.inputs]
        del graph.input[:]
        graph.input.extend(kept)
        own = {*self.inputs, *self.outputs}
        for node in self._nodes:
            for name in node.outputs:
                shape, dtype = self.shape(name), self.dtype(name)
                if name and name not in own and shape is not None and dtype:
                    graph.value_info.append(onnx.helper.make_tensor_value_info(name, dtype, shape))
        return model

    # Inside -------------------------------------------------------------------------------------------------------

    def _linked(self) -> Links:
        """Who makes and reads what."""
        if self._links is None:
            self._links = Links([*self._tensors, *self._arrays])
            for node in self._nodes:
                self._links.add(node)
        return self._links

    def _link(self, node: Node) -> None:
        if self._links is not None:
            self._links.add(node)

    def _unlink(self, node: Node) -> None:
        if self._links is not None:
            self._links.discard(node)

    def _set_outputs(self, node: Node, names: list[str]) -> None:
        self._unlink(node)
        node.outputs = names
        self._link(node)

    def _note(self, value: onnx.ValueInfoProto) -> None:
        tensor = value.type.tensor_type
        if not tensor.elem_type:
            return
        self._types[value.name] = tensor.elem_type
        dims = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim]
        if tensor.HasField("shape") and all(size >= 0 for size in dims):
            self._shapes[value.name] = tuple(dims)

    def _read(self, proto: onnx.NodeProto) -> None:
        if proto.op_type == "Constant" and not proto.domain and len(proto.attribute) == 1:
            tensor = _constant_tensor(proto.attribute[0])
            if tensor is not None:
                tensor.name = proto.output[0]
                self._tensors[tensor.name] = tensor
                self.declare(tensor.name, tuple(tensor.dims), tensor.data_type)
                return
        attrs = {
            attribute.name: attribute if attribute.ref_attr_name else onnx.helper.get_attribute_value(attribute)
            for attribute in proto.attribute
        }
        attrs = {key: value.decode() if isinstance(value, bytes) else value for key, value in attrs.items()}
        self._nodes.append(Node(proto.op_type, list(proto.input), list(proto.output), attrs, proto.name, proto.domain))

    def _give_names(self) -> None:
        """Give every node a name of its own; the first node with a name keeps it."""
        self.release_names()
        seen: set[str] = set()
        for index, node in enumerate(self._nodes):
            if not node.name or node.name in seen:
                node.name = self.unique(node.name or f"/{node.op}_{index}")
            seen.add(node.name)

    def unique(self, name: str) -> str:
        """A name like `name` that nothing in the graph has yet; it is taken from now on."""
        return unique_name(name, self._names)

    def _rename_into_fixed(self, output: str, value: str) -> None:
        """Make the producer of `value` output under the fixed name."""
        maker = self.maker(value)
        old = self.maker(output)
        if old is not None:
            self._set_outputs(old, [self.unique(f"{output}_old") if name == output else name for name in old.outputs])
        if maker is None or self.is_fixed(value):
            # An input, a constant or another such name: it needs a copy.
            self.append(Node("Identity", [value], [output], {}, self.unique(f"/{output}/Identity")))
            return
        readers = self.uses(value)
        self._set_outputs(maker, [output if name == value else name for name in maker.outputs])
        for node in readers:
            self.redirect(node, value, output)
        self._shapes[output] = self._shapes.get(value, self._shapes.get(output, ()))

    def _sort(self) -> None:
        """Stable topological order: a node moves only as far back as its inputs force it to."""
        made_by = {name: index for index, node in enumerate(self._nodes) for name in node.outputs if name}
        order: list[Node] = []
        state = [0] * len(self._nodes)  # 0 not seen, 1 being placed, 2 placed
        for root in range(len(self._nodes)):
            stack = [root]
            while stack:
                index = stack[-1]
                if state[index] == 2:
                    stack.pop()
                    continue
                node = self._nodes[index]
                waiting = [
                    made_by[name]
                    for name in (*node.inputs, *node.captured)
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
        self._nodes = order

    def _node_proto(self, node: Node) -> onnx.NodeProto:
        proto = onnx.helper.make_node(node.op, node.inputs, node.outputs, name=node.name, domain=node.domain or None)
        for key in sorted(node.attrs):
            value = node.attrs[key]
            is_proto = isinstance(value, onnx.AttributeProto)
            empty = onnx.AttributeProto.INTS if value == [] else None  # torch writes `axes = []` for "over all"
            proto.attribute.append(value if is_proto else onnx.helper.make_attribute(key, value, attr_type=empty))
        return proto

    def _tensor_proto(self, name: str) -> onnx.TensorProto:
        if name in self._tensors:
            return self._tensors[name]
        return onnx.numpy_helper.from_array(self._arrays[name], name)


def _infer_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return infer_shapes(model, data_prop=True)
    except Exception as error:  # the C++ inference raises RuntimeErrors of its own
        raise CaptureError(f"Shapes cannot be inferred: {first_line(error)}", code="invalid-onnx") from error


def _constant_tensor(attribute: onnx.AttributeProto) -> onnx.TensorProto | None:
    """The tensor of a Constant node's attribute; None for strings and sparse tensors."""
    if attribute.name == "value":
        tensor = onnx.TensorProto()
        tensor.CopyFrom(attribute.t)
        return tensor
    dtypes = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    if attribute.name not in dtypes:
        return None
    value = onnx.helper.get_attribute_value(attribute)
    return onnx.numpy_helper.from_array(np.asarray(value, dtypes[attribute.name]))


def _captured(attrs: dict[str, Any]) -> Iterator[str]:
    """Values of the outer graph that the graphs in a node's attributes may read."""
    for value in attrs.values():
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, onnx.GraphProto):
                yield from _read_in(inner)


def _captured_in(proto: onnx.NodeProto) -> list[str]:
    return [name for inner in subgraphs(proto) for name in _read_in(inner)]


def _read_in(graph: onnx.GraphProto) -> list[str]:
    """Every value that a graph's nodes and outputs read, those of inner graphs included."""
    names: list[str] = []
    for node in graph.node:
        names.extend(node.input)
        names.extend(_captured_in(node))
    names.extend(output.name for output in graph.output)
    return names
