"""Run many small ONNX models through one saved package and our runtime."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import compose

from portrait_export import runtime
from portrait_export.artifacts import ArrayFeature, Lowered
from portrait_export.frontend.convert import lower
from portrait_export.frontend.names import identifier
from portrait_export.mil.compile import compile_program
from portrait_export.mil.package import save_package
from portrait_export.mil.program import Metadata

NUMPY_TYPES = {"fp32": np.float32, "fp16": np.float16, "int32": np.int32, "int8": np.int8}
INT32 = np.iinfo(np.int32)


@dataclass(frozen=True)
class Trial:
    """A model and its inputs.

    Attributes:
        name: for messages.
        model: static shapes.
        feeds: an array per graph input, by name.
    """

    name: str
    model: onnx.ModelProto
    feeds: Mapping[str, np.ndarray]


def run(trials: Sequence[Trial], *, target: str = "iOS17") -> list[list[np.ndarray]]:
    """The outputs of each trial, all computed from one fp32 package on disk.

    One package for many models, because coremltools' passes cost the same for one operator as for fifty.
    """
    prefixes = [f"t{index}_" for index in range(len(trials))] if len(trials) > 1 else [""]
    merged = trials[0].model if len(trials) == 1 else _merged([trial.model for trial in trials], prefixes)
    given = {
        identifier(f"{prefix}{name}"): value
        for prefix, trial in zip(prefixes, trials, strict=True)
        for name, value in trial.feeds.items()
    }
    results = run_lowered(lower(merged, target=target), given)
    return [
        [results[identifier(f"{prefix}{output.name}")] for output in trial.model.graph.output]
        for prefix, trial in zip(prefixes, trials, strict=True)
    ]


def run_lowered(lowered: Lowered, feeds: Mapping[str, np.ndarray], *, precision: str = "fp32") -> dict[str, np.ndarray]:
    """Compile, save, read back and execute a lowered program."""
    gc.freeze()  # coremltools collects garbage on each conversion, through every object there is
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "trial.mlpackage"
        save_package(compile_program(lowered, precision=precision), lowered, package, metadata=Metadata())
        program = runtime.load(package)
        given = {feature.name: _fitting(feeds[feature.name], feature) for feature in lowered.inputs}
        return {name: np.asarray(value) for name, value in program.predict(given).items()}


def _fitting(value: np.ndarray, feature: object) -> object:
    """An ONNX input as the package takes it: int64 saturated, scalars as vectors, images unchanged."""
    if not isinstance(feature, ArrayFeature):
        return value
    if value.dtype == np.int64:
        value = np.clip(value, INT32.min, INT32.max)
    return np.asarray(value).astype(NUMPY_TYPES[feature.dtype]).reshape(feature.shape)


def _merged(models: Sequence[onnx.ModelProto], prefixes: Sequence[str]) -> onnx.ModelProto:
    """All models merged into one, each with its own prefix for names. They must have the same opsets."""
    parts = [compose.add_prefix(model, prefix) for model, prefix in zip(models, prefixes, strict=True)]
    merged = onnx.ModelProto()
    merged.CopyFrom(parts[0])
    for part in parts[1:]:
        for kind in ("node", "input", "output", "initializer", "sparse_initializer", "value_info"):
            getattr(merged.graph, kind).extend(getattr(part.graph, kind))
    return merged


def mismatch(expected: np.ndarray, actual: np.ndarray, *, rtol: float = 1e-3, atol: float = 1e-5) -> str:
    """How a result differs from the expected one, empty if it does not. Tolerances are those of onnx's own tests."""
    expected = np.asarray(expected)
    if actual.size != expected.size or (expected.ndim and actual.shape != expected.shape):
        return f"shape {actual.shape} instead of {expected.shape}"
    actual = actual.reshape(expected.shape)
    if expected.dtype.kind in "ib":
        saturated = np.clip(expected.astype(np.int64), INT32.min, INT32.max)
        if np.array_equal(actual.astype(np.int64), saturated):
            return ""
        return f"{actual.reshape(-1)[:6]} instead of {saturated.reshape(-1)[:6]}"
    if expected.dtype == np.float16:
        rtol, atol = 1e-2, 1e-3  # half precision has 11 bits
    if np.allclose(actual.astype(np.float64), expected.astype(np.float64), rtol=rtol, atol=atol, equal_nan=True):
        return ""
    worst = np.nanargmax(np.abs(actual.astype(np.float64) - expected.astype(np.float64)))
    return f"{actual.reshape(-1)[worst]} instead of {expected.reshape(-1)[worst]} at {worst}"
