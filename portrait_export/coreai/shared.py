"""Give an asset the stored weights of the Core ML package of the same network.

The package's weights have names of their own, so a weight of the ONNX model is found by its values: before compression
both are the same numbers, perhaps transposed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..mil.encoded import Compression, EncodedWeight
from .decoders import transposed
from .half import array_in_half, output_axes

_Key: TypeAlias = tuple[tuple[int, ...], bytes]  # shape and content

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
    axes = output_axes(model.graph)
    found: dict[str, EncodedWeight] = {}
    skipped: dict[str, str] = {}
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        if np.prod(tensor.dims) <= min_elements:
            skipped[tensor.name] = f"it has no more than {min_elements} elements"
            continue
        array = numpy_helper.to_array(tensor)
        ways = [array]
        if dtype == np.float16:  # a quantized network's weights are rounded to nearest in its package
            ways = [array_in_half(array, outputs) for outputs in dict.fromkeys((axes.get(tensor.name), None))]
        stored = [what for way in ways for what in _stored(way, known)]
        encoded = next((what for what in stored if isinstance(what, EncodedWeight)), None)
        if encoded is not None:
            found[tensor.name] = encoded
        else:
            skipped[tensor.name] = next((what for what in stored if isinstance(what, str)), NOT_FOUND)
    return found, skipped


def _stored(array: np.ndarray, known: Mapping[_Key, EncodedWeight | str]) -> Iterator[EncodedWeight | str]:
    """What is known of an array, and of its transpose."""
    if straight := known.get(_key(array)):
        yield straight
    if array.ndim == 2 and (turned := known.get(_key(np.ascontiguousarray(array.T)))):
        yield transposed(turned) if isinstance(turned, EncodedWeight) else turned


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


def _key(array: np.ndarray) -> _Key:
    return array.shape, array.tobytes()
