"""Give an asset the stored weights of the Core ML package of the same network.

The package's weights have names of their own, so a weight of the ONNX model is found by its values: before compression
both are the same numbers, perhaps transposed.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..mil.encoded import Compression, EncodedWeight
from .decoders import transposed

_INPUT = "asset/weight"  # and a number: what a compressed weight is called until it is decoded
NOT_FOUND = "the Core ML package has no such weight"


def matched(
    model: onnx.ModelProto,
    compression: Compression,
    originals: Mapping[str, np.ndarray],
    *,
    dtype: np.dtype,
    min_elements: int,
) -> tuple[dict[str, EncodedWeight], dict[str, str]]:
    """The stored form of each large weight of an ONNX model, and why each other one has none.

    Args:
        model: with float32 weights.
        compression: how the package stores its weights, by its own names.
        originals: its weights before compression, likewise.
        dtype: of the package's weights.
        min_elements: smaller weights stay, as in the package.
    """
    # The stored form of each weight, or why it has none.
    decided: dict[str, EncodedWeight | str] = {**compression.left, **compression.encoded}
    known = {_key(originals[name].astype(dtype)): what for name, what in decided.items() if name in originals}
    found: dict[str, EncodedWeight] = {}
    skipped: dict[str, str] = {}
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        if np.prod(tensor.dims) <= min_elements:
            skipped[tensor.name] = f"it has no more than {min_elements} elements"
            continue
        with np.errstate(over="ignore"):  # `half.in_half` reports it by name
            array = numpy_helper.to_array(tensor).astype(dtype)
        straight, turned = known.get(_key(array)), None
        if not isinstance(straight, EncodedWeight) and array.ndim == 2:
            turned = known.get(_key(np.ascontiguousarray(array.T)))
        if isinstance(straight, EncodedWeight):
            found[tensor.name] = straight
        elif isinstance(turned, EncodedWeight):
            found[tensor.name] = transposed(turned)
        else:
            skipped[tensor.name] = straight or turned or NOT_FOUND
    return found, skipped


def with_open_weights(
    model: onnx.ModelProto, encoded: Mapping[str, EncodedWeight]
) -> tuple[onnx.ModelProto, dict[str, EncodedWeight]]:
    """Return a copy that takes some weights as inputs, and their stored forms by the names of those inputs."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    kept = [tensor for tensor in graph.initializer if tensor.name not in encoded]
    opened = [tensor for tensor in graph.initializer if tensor.name in encoded]
    names = {tensor.name: f"{_INPUT}_{index:05d}" for index, tensor in enumerate(opened)}
    graph.input.extend(
        helper.make_tensor_value_info(names[tensor.name], tensor.data_type, list(tensor.dims)) for tensor in opened
    )
    copies = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
    del graph.initializer[:]
    graph.initializer.extend(copies)
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = names.get(name, name)
    return result, {names[name]: encoded[name] for name in names}


def _key(array: np.ndarray) -> tuple[tuple[int, ...], bytes]:
    return array.shape, array.tobytes()
