"""Find the function body of operators that the ONNX standard defines by other operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..mil import coreml
from .graph import DEFAULT_DOMAINS
from .refusals import Unsupported
from .values import OverRank, TensorSequence, Value, shape_of

if TYPE_CHECKING:
    from onnx import AttributeProto, FunctionProto, NodeProto, TypeProto


def has_body(node: NodeProto, opset: int) -> bool:
    """Whether the standard defines the node's operator by other operators."""
    schema = _schema(node, opset)
    return schema is not None and (schema.has_function or schema.has_context_dependent_function)


def body_of(node: NodeProto, inputs: Sequence[Value | None], opset: int) -> FunctionProto | None:
    """The body of a node's operator, None if the standard does not define it by others."""
    import onnx

    schema = _schema(node, opset)
    if schema is None:
        return None
    if schema.has_function:
        versions = [v for v in schema.function_opset_versions if v <= opset] or list(schema.function_opset_versions)
        data = schema.get_function_with_opset_version(max(versions))
    elif schema.has_context_dependent_function:
        versions = list(schema.context_dependent_function_opset_versions)
        version = max([v for v in versions if v <= opset] or versions)
        types = [_type_proto(value).SerializeToString() for value in inputs]
        data = schema.get_context_dependent_function_with_opset_version(version, node.SerializeToString(), types)
    else:
        return None
    return onnx.FunctionProto.FromString(data) if data else None


def _schema(node: NodeProto, opset: int) -> Any:
    """onnx's OpSchema of the node's operator, whose stubs lack the function attributes; None if it has none."""
    import onnx

    if node.domain not in DEFAULT_DOMAINS:
        return None
    try:
        return onnx.defs.get_schema(node.op_type, opset, "")
    except onnx.defs.SchemaError:
        return None


def _type_proto(value: Value | None) -> TypeProto:
    """The ONNX type of a value; an empty one for an omitted input."""
    import onnx
    from onnx import helper

    if value is None:
        return onnx.TypeProto()
    if isinstance(value, TensorSequence):
        raise Unsupported("a sequence of tensors")
    tensor = value.var if isinstance(value, OverRank) else value
    if isinstance(tensor, np.ndarray | np.generic):
        dtype = tensor.dtype
    else:
        dtype = np.dtype(coreml.types().nptype_from_builtin(tensor.dtype))
        dtype = np.dtype(np.int64) if dtype == np.int32 else dtype
    return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(dtype), shape_of(value))


def bound_nodes(body: FunctionProto, node: NodeProto) -> list[NodeProto]:
    """The nodes of a body, with attribute references replaced by the caller's attributes or the defaults."""
    given = {a.name: a for a in body.attribute_proto} | {a.name: a for a in node.attribute}
    schema_defaults = _schema(node, _body_version(body))
    if schema_defaults is not None:
        for name, attribute in schema_defaults.attributes.items():
            if name not in given and attribute.default_value.name:
                given[name] = attribute.default_value
    return [_bind(inner, given) for inner in body.node]


def _body_version(body: FunctionProto) -> int:
    return max((e.version for e in body.opset_import if e.domain in DEFAULT_DOMAINS), default=1)


def _bind(inner: NodeProto, given: Mapping[str, AttributeProto]) -> NodeProto:
    copy = type(inner)()
    copy.CopyFrom(inner)
    kept = []
    for attribute in copy.attribute:
        if attribute.ref_attr_name:
            source = given.get(attribute.ref_attr_name)
            if source is None:
                continue
            bound = type(attribute)()
            bound.CopyFrom(source)
            bound.name = attribute.name
            kept.append(bound)
        else:
            for index, node in enumerate(attribute.g.node):
                attribute.g.node[index].CopyFrom(_bind(node, given))
            same = type(attribute)()
            same.CopyFrom(attribute)
            kept.append(same)
    del copy.attribute[:]
    copy.attribute.extend(kept)
    return copy
