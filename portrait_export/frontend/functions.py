"""Operators that the ONNX standard defines by other operators: the body of one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..mil import coreml
from .context import shape_of
from .graph import DEFAULT_DOMAINS


def has_body(node: Any, opset: int) -> bool:
    schema = _schema(node, opset)
    return schema is not None and (schema.has_function or schema.has_context_dependent_function)


def body_of(node: Any, inputs: Sequence[Any], opset: int) -> Any:
    """The FunctionProto of an operator that the standard defines by others, None if it does not."""
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


def _schema(node: Any, opset: int) -> Any:
    import onnx

    if node.domain not in DEFAULT_DOMAINS:
        return None
    try:
        return onnx.defs.get_schema(node.op_type, opset, "")
    except onnx.defs.SchemaError:
        return None


def _type_proto(value: Any) -> Any:
    import onnx
    from onnx import helper

    if value is None:
        return onnx.TypeProto()
    if isinstance(value, np.ndarray):
        dtype = value.dtype
    else:
        dtype = np.dtype(coreml.types().nptype_from_builtin(value.dtype))
        dtype = np.dtype(np.int64) if dtype == np.int32 else dtype
    return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(dtype), shape_of(value))


def bound_nodes(body: Any, node: Any) -> list[Any]:
    """A function's nodes with the caller's attributes (or the function's defaults) in place of references."""
    given = {a.name: a for a in body.attribute_proto} | {a.name: a for a in node.attribute}
    schema_defaults = _schema(node, _body_version(body))
    if schema_defaults is not None:
        for name, attribute in schema_defaults.attributes.items():
            if name not in given and attribute.default_value.name:
                given[name] = attribute.default_value
    return [_bind(inner, given) for inner in body.node]


def _body_version(body: Any) -> int:
    return max((e.version for e in body.opset_import if e.domain in DEFAULT_DOMAINS), default=1)


def _bind(inner: Any, given: Mapping[str, Any]) -> Any:
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
