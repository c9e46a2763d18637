"""Replace wrong shapes in an ONNX file with inferred ones, as ONNX Runtime does."""

from __future__ import annotations

import onnx

from .light import infer_shapes
from .subgraphs import all_graphs


def restate_shapes(model: onnx.ModelProto) -> None:
    """Give a model inferred shapes in place of the stated ones; leave it as it is where that does not help.

    Those of its inputs stay: they say what it takes.
    """
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    _forget(plain)
    try:
        inferred = {value.name: value for value in infer_shapes(plain).graph.output}
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError):
        return
    if all(value.type.tensor_type.HasField("shape") for value in inferred.values()):
        _forget(model)
        for value in model.graph.output:
            value.CopyFrom(inferred[value.name])


def _forget(model: onnx.ModelProto) -> None:
    """Drop stated shapes of inner values and of outputs."""
    for graph in all_graphs(model.graph):
        del graph.value_info[:]
        for value in graph.output:
            value.type.tensor_type.ClearField("shape")
