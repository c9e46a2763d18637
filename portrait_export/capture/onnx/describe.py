"""Describe an ONNX model: inputs, outputs, operators, weights and metadata."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import onnx

from .cost import cost_of
from .parameters import stored_tensors


def describe_onnx(model: onnx.ModelProto, path: Path) -> dict[str, Any]:
    """Describe a model that was read from `path`, as plain data."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return {
        "kind": "ONNX",
        "file": str(path),
        "size_bytes": path.stat().st_size,
        "opset": {entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "inputs": [_describe_value(value) for value in model.graph.input if value.name not in constants],
        "outputs": [_describe_value(value) for value in model.graph.output],
        "operations": _operator_histogram(model),
        "weights": _weights_by_dtype(model),
        "cost": cost_of(model).to_dict(),
        "metadata": {prop.key: prop.value for prop in sorted(model.metadata_props, key=lambda prop: prop.key)},
    }


def _operator_histogram(model: onnx.ModelProto) -> dict[str, int]:
    counts = Counter(node.op_type for node in model.graph.node)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _describe_value(value: onnx.ValueInfoProto) -> dict[str, Any]:
    tensor = value.type.tensor_type
    shape = [dim.dim_param or dim.dim_value for dim in tensor.shape.dim]
    dtype = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    return {"name": value.name, "kind": "tensor", "shape": shape, "dtype": dtype, "description": value.doc_string}


def _weights_by_dtype(model: onnx.ModelProto) -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = {}
    for _, tensor in stored_tensors(model.graph):
        dtype = onnx.TensorProto.DataType.Name(tensor.data_type).lower()
        row = table.setdefault(dtype, {"weights": 0, "elements": 0, "bytes": 0})
        row["weights"] += 1
        row["elements"] += math.prod(tensor.dims)
        row["bytes"] += len(tensor.raw_data) or tensor.ByteSize()
    return dict(sorted(table.items()))
