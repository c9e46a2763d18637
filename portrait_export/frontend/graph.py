"""Read an ONNX graph: its needed nodes, constants, shapes and types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .refusals import Unsupported
from .values import MAX_RANK, MIL_TYPES

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto

DEFAULT_DOMAINS = ("", "ai.onnx")


def opset_of(model: ModelProto) -> int:
    """The version of the default operator set that a model imports."""
    return max((entry.version for entry in model.opset_import if entry.domain in DEFAULT_DOMAINS), default=1)


def tensor_type(value: ValueInfoProto, *, types: Mapping[str, str] = MIL_TYPES) -> tuple[tuple[int, ...], str]:
    """Shape and numpy type name of a value. Raises Unsupported if it is not a static tensor of one of these types."""
    from onnx import TensorProto, helper

    if not value.type.HasField("tensor_type"):
        raise Unsupported("not a tensor")
    tensor = value.type.tensor_type
    dims = tuple(int(d.dim_value) for d in tensor.shape.dim)
    if not tensor.HasField("shape") or not all(d.HasField("dim_value") and d.dim_value >= 0 for d in tensor.shape.dim):
        names = [str(d.dim_value) if d.HasField("dim_value") else d.dim_param or "?" for d in tensor.shape.dim]
        raise Unsupported(f"its shape ({', '.join(names)}) is not fixed")
    if 0 in dims:
        raise Unsupported(f"it is an empty tensor {dims}")
    if len(dims) > MAX_RANK:
        raise Unsupported(f"it has rank {len(dims)}; Core ML supports at most {MAX_RANK}")
    try:
        name = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
    except (KeyError, TypeError):
        name = "unknown"
    if name not in types:
        raise Unsupported(f"its type is {TensorProto.DataType.Name(tensor.elem_type).lower()}")
    return dims, name


def plain_attribute(value: object) -> object:
    """An attribute's value with bytes decoded to text."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, Sequence) and value and isinstance(value[0], bytes):
        return [v.decode("utf-8", "replace") for v in value]
    return value


def needed_nodes(graph: GraphProto, wanted: Sequence[str]) -> list[NodeProto]:
    """The nodes that the wanted outputs depend on, in the graph's order."""
    needed, kept = set(wanted), []
    for node in reversed(graph.node):
        if needed & {name for name in node.output if name}:
            kept.append(node)
            for inner in all_nodes([node]):
                needed.update(inner.input)
            for attribute in node.attribute:  # a subgraph may return a value of the outer graph
                needed.update(value.name for value in attribute.g.output)
    return kept[::-1]


def all_nodes(nodes: Iterable[NodeProto]) -> Iterable[NodeProto]:
    """The nodes, each followed by those in its subgraphs."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from all_nodes(graph.node)


def dense_initializers(graph: GraphProto) -> dict[str, np.ndarray]:
    """The graph's sparse initializers as dense arrays, by name."""
    from onnx import numpy_helper

    dense = {}
    for sparse in graph.sparse_initializer:
        values, indices = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
        array = np.zeros(tuple(sparse.dims), values.dtype)
        if indices.ndim == 1:
            array.reshape(-1)[indices] = values
        else:
            array[tuple(indices.T)] = values
        dense[sparse.values.name] = array
    return dense


def qualified(node: NodeProto) -> str:
    """The node's operator type, with its domain unless that is ONNX's own."""
    return node.op_type if node.domain in DEFAULT_DOMAINS else f"{node.domain}.{node.op_type}"


def label_of(node: NodeProto, prefix: str) -> str:
    """A name for the node in messages: its own, or its first output's."""
    return f"{prefix}{node.name or next((name for name in node.output if name), node.op_type)}"


class Inferred:
    """Shapes and types that onnx infers, computed when they are first needed: after a refusal."""

    def __init__(self, model: ModelProto):
        self._model = model
        self._known: dict[str, tuple[tuple[int, ...], str]] | None = None

    def get(self, name: str) -> tuple[tuple[int, ...], str] | None:
        """Shape and numpy type of a value of the main graph, None if unknown."""
        if self._known is None:
            self._known = self._infer()
        return self._known.get(name)

    def _infer(self) -> dict[str, tuple[tuple[int, ...], str]]:
        import onnx

        known = {}
        try:
            graph = onnx.shape_inference.infer_shapes(self._model, data_prop=True).graph
        except Exception:  # not needed for lowering: shapes only help to find further refusals
            return {}
        for value in (*graph.value_info, *graph.output):
            try:
                known[value.name] = tensor_type(value)
            except Unsupported:
                continue
        return known
