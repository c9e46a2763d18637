"""Infer a model's shapes, and check, convert and write it without copying its weights.

onnx does all of it in C++ on a serialized copy, and shape inference returns another: four times the weights at once.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from .bounds import LARGEST_DATA, followed

LARGE_ELEMENTS = 4096  # no constant of so many elements determines a shape
ALIGNMENT = 64  # bytes, of a weight in a file


def infer_shapes(model: onnx.ModelProto, *, data_prop: bool = False) -> onnx.ModelProto:
    """The model with the shapes of its values, but with large weights as inputs, as in `without_weights`.

    Args:
        data_prop: follow numbers from which shapes are computed, unless there are too many of them.
    """
    light = without_weights(model)
    return onnx.shape_inference.infer_shapes(light, data_prop=data_prop and followed(light) <= LARGEST_DATA)


def check_structure(model: onnx.ModelProto) -> None:
    """Run onnx.checker with shape inference on a model, and on each of its large weights. Raises as it does."""
    for tensor in model.graph.initializer:
        if is_large(tensor) and tensor.data_location != TensorProto.EXTERNAL:
            onnx.checker.check_tensor(tensor)
    onnx.checker.check_model(without_weights(model), full_check=True)


def is_large(tensor: TensorProto) -> bool:
    """Whether a tensor is a weight, and no shape, axis or bound."""
    return math.prod(tensor.dims) >= LARGE_ELEMENTS


def without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model whose large initializers are inputs of the same types and shapes; the rest is a copy."""
    return with_weights_as_inputs(model, {tensor.name for tensor in model.graph.initializer if is_large(tensor)})


def with_weights_as_inputs(model: onnx.ModelProto, names: Collection[str]) -> onnx.ModelProto:
    """A model in which some initializers are inputs of the same types and shapes; the rest is a copy."""
    light = onnx.ModelProto()
    copy_fields(model, light, without=("graph",))
    copy_fields(model.graph, light.graph, without=("initializer",))
    declared = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        if tensor.name not in names:
            light.graph.initializer.append(tensor)
        elif tensor.name not in declared:
            light.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    return light


def convert_version(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Bring a model to another opset. Raises as onnx.version_converter does."""
    converted = onnx.version_converter.convert_version(without_weights(model), opset)
    declared = {value.name for value in model.graph.input}
    weights = [tensor for tensor in model.graph.initializer if is_large(tensor)]
    added = {tensor.name for tensor in weights} - declared
    kept = [value for value in converted.graph.input if value.name not in added]
    del converted.graph.input[:]
    converted.graph.input.extend(kept)
    converted.graph.initializer.extend(weights)
    return converted


def write_model(model: onnx.ModelProto, path: Path) -> None:
    """Write a model with its large weights in a file of their own next to it, one after the other.

    Such a model is never in memory a second time here, and its readers read, or map, one weight at a time.
    """
    path.write_bytes(outlined(model, path.with_suffix(".weights")).SerializeToString())


def outlined(model: onnx.ModelProto, weights: Path) -> onnx.ModelProto:
    """A model that refers to its large weights in a file, which is written here, next to which it belongs."""
    outline = onnx.ModelProto()
    copy_fields(model, outline, without=("graph",))
    copy_fields(model.graph, outline.graph, without=("initializer",))
    outline.graph.SetInParent()
    with weights.open("wb") as file:
        for tensor in model.graph.initializer:
            if is_large(tensor) and tensor.HasField("raw_data"):
                file.seek(-file.tell() % ALIGNMENT, os.SEEK_CUR)
                outline.graph.initializer.append(_outside(tensor, weights.name, file.tell()))
                file.write(tensor.raw_data)
            else:
                outline.graph.initializer.append(tensor)
    return outline


def read_model(path: Path) -> onnx.ModelProto:
    """Read a model that `write_model` wrote, as it was."""
    model = onnx.load(str(path))
    for tensor in model.graph.initializer:
        tensor.ClearField("data_location")  # onnx leaves it set to the default
    return model


def _outside(tensor: TensorProto, location: str, offset: int) -> TensorProto:
    """The entry of a weight whose bytes are in another file."""
    entry = TensorProto()
    copy_fields(tensor, entry, without=("raw_data",))
    entry.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", len(tensor.raw_data))):
        entry.external_data.add(key=key, value=str(value))
    return entry


def copy_fields(source: Any, target: Any, *, without: Sequence[str]) -> None:
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
