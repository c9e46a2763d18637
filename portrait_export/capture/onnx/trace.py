"""Compute the intermediate values of an ONNX model with ONNX Runtime."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import onnx

from ...artifacts import Value
from ...errors import CaptureError, nearest
from .check import make_session, run_session
from .light import infer_shapes


def values_of(model: onnx.ModelProto) -> list[Value]:
    """Every value that the graph computes, in the order of its nodes; shapes where they can be inferred."""
    inferred = infer_shapes(model)
    shapes = {
        value.name: _shape(value)
        for value in (*inferred.graph.value_info, *inferred.graph.output, *inferred.graph.input)
    }
    return [
        Value(name, node.op_type, tuple(filter(None, node.input)), shapes.get(name))
        for node in model.graph.node
        for name in node.output
        if name
    ]


class OnnxTrace:
    """Runs a model as it is written, without ONNX Runtime's own rewrites, and returns the values asked for.

    Args:
        model: static shapes.
        names: the values wanted. Raises CaptureError for those that the graph does not compute.
    """

    def __init__(self, model: onnx.ModelProto, names: Iterable[str]):
        self.names = tuple(dict.fromkeys(names))
        known = {name for node in model.graph.node for name in node.output if name}
        unknown = [name for name in self.names if name not in known]
        if unknown:
            raise CaptureError(
                f"The ONNX model computes no value named {', '.join(map(repr, unknown))}.",
                context=[nearest(name, sorted(known), what="value").split("? ")[0] for name in unknown],
            )
        opened = onnx.ModelProto()
        opened.CopyFrom(model)
        outputs = {value.name for value in opened.graph.output}
        opened.graph.output.extend(onnx.ValueInfoProto(name=name) for name in self.names if name not in outputs)
        self._session = make_session(opened, optimize=False)

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Each wanted value by name. All of them are in memory at once: see `size_bytes`."""
        outputs = run_session(self._session, feeds)
        return {name: outputs[name] for name in self.names}


def size_bytes(values: Iterable[Value], names: Iterable[str]) -> int:
    """What the named values take in memory, at four bytes an element; those of unknown shape count nothing."""
    wanted = set(names)
    return sum(4 * math.prod(value.shape) for value in values if value.name in wanted and value.shape is not None)


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape") or not all(dim.HasField("dim_value") for dim in tensor.shape.dim):
        return None
    return tuple(dim.dim_value for dim in tensor.shape.dim)
