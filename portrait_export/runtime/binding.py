"""Check inputs and convert outputs as coremltools' Python binding of Core ML does.

Sources: coremltools 9.0, models/model.py (`_verify_input_dict`, `_convert_tensor_to_numpy`), and in its repository
coremlpython/CoreMLPythonArray.mm (which arrays are accepted) and CoreMLPythonUtils.mm (how results become Python).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from ..errors import ExecutionError, nearest
from ..mil.features import Feature

ARRAY_TYPES = ("float16", "float32", "float64", "int32", "int8")  # what the binding makes an MLMultiArray of
PIL_MODES = {"rgb": "RGB", "bgr": "RGB", "grayscale": "L", "grayscale_fp16": "F"}


class UnknownInputError(ExecutionError, KeyError):
    """An input that the model does not have; coremltools raises KeyError."""


class InputTypeError(ExecutionError, TypeError):
    """A value of a kind that an input does not take; coremltools raises TypeError."""


class RefusedError(ExecutionError, RuntimeError):
    """What Core ML itself refuses; coremltools raises RuntimeError."""


def checked(data: Mapping[str, Any], features: Iterable[Feature]) -> dict[str, Any]:
    """The inputs that Core ML would get, as a new dictionary.

    Args:
        data: each input by name, as it was passed to `predict`.
        features: the function's inputs.
    Raises:
        UnknownInputError, InputTypeError, RefusedError: in the order in which coremltools checks.
    """
    known = {feature.name: feature for feature in features}
    for name in data:
        if name not in known:
            hint = nearest(str(name), tuple(known), what="input")
            raise UnknownInputError(f"The model has no input {name!r}.", code="usage", hint=hint)
    for feature in known.values():
        if feature.kind == "image" and not (feature.optional and data.get(feature.name) is None):
            _check_picture(feature, data.get(feature.name))
    return {
        name: _array(known[name], value) if known[name].kind == "array" else value
        for name, value in data.items()
        if value is not None
    }


def _check_picture(feature: Feature, value: Any) -> None:
    from PIL.Image import Image

    mode = PIL_MODES[feature.color]
    if not isinstance(value, Image):
        found = "nothing" if value is None else type(value).__name__
        raise InputTypeError(
            f"Input {feature.name!r} is an image ({feature.color}); found {found}.",
            hint=f"pass a PIL image of mode {mode!r}, such as PIL.Image.fromarray(uint8_array).convert({mode!r}).",
        )
    if value.mode != mode:
        raise InputTypeError(
            f"Input {feature.name!r} is a {feature.color} image: it takes PIL mode {mode!r}; found {value.mode!r}.",
            hint=f"convert it first: image.convert({mode!r}).",
        )


def _array(feature: Feature, value: Any) -> np.ndarray:
    """The value as an array that the binding accepts. Half precision becomes float32, as coremltools does it."""
    try:
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    except (TypeError, ValueError) as error:  # bfloat16; ragged lists
        raise InputTypeError(f"Input {feature.name!r} is not an array: {error}.") from error
    if str(array.dtype) not in ARRAY_TYPES:
        raise RefusedError(
            f"Input {feature.name!r}: Core ML takes arrays of {', '.join(ARRAY_TYPES)}; found {array.dtype}.",
            hint=f"convert it first, for example with np.asarray(x, np.{_NUMPY.get(feature.dtype, 'float32')}).",
        )
    return array.astype(np.float32) if array.dtype == np.float16 else array


_NUMPY = {"int32": "int32", "int8": "int8", "fp64": "float64"}


def as_python(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs as the binding returns them: float16 arrays as float32, everything else as it is."""
    return {name: single(value) for name, value in outputs.items()}


def single(value: Any) -> Any:
    """A float16 array as float32; other values unchanged."""
    return value.astype(np.float32) if isinstance(value, np.ndarray) and value.dtype == np.float16 else value
