"""Check an ONNX model: its structure with onnx.checker, its numbers with ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from ...errors import CaptureError, first_line
from ...utils.files import OutputError
from .light import check_structure
from .stored import StoredModel

if TYPE_CHECKING:
    import torch

# Largest |difference| over the largest |reference value| of an output. Measured against PyTorch on all registered
# models: below 1e-5; a wrong epsilon, order of channels or corner alignment shows from 1e-3.
RELATIVE_TOLERANCE = 1e-4
# Outputs smaller than this are compared as if they were this large. ONNX Runtime's sigmoid is off by up to 1.2e-7, one
# step of float32 at 1, however small its result: a network that sees nobody gives probabilities that small alone.
SMALLEST_SCALE = 1e-2
LARGE_BYTES = 1 << 24  # of a model that ONNX Runtime reads from a file
# Operators that round to whole steps. Each fusion's own rounding error can turn one step into its neighbour, and ONNX
# Runtime's fused 8-bit kernels saturate on processors without VNNI: graphs with such operators run as they are written.
ROUNDING = ("QuantizeLinear", "DynamicQuantizeLinear", "Round")


def check_model(model: onnx.ModelProto) -> None:
    """Structure, types and shapes. Raises CaptureError with the checker's words."""
    try:
        check_structure(model)
    # The checker words its complaint with the file's own bytes, which need not be text.
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, UnicodeDecodeError) as error:
        lines = [line for line in str(error).strip().splitlines() if line.strip()]
        raise CaptureError("This is not a valid ONNX model.", code="invalid-onnx", context=lines[:4]) from error


def make_session(
    model: onnx.ModelProto | StoredModel | bytes | str,
    *,
    optimize: bool = True,
    threads: int | None = None,
    keep_memory: bool = True,
) -> Any:
    """A quiet, deterministic ONNX Runtime session on the CPU.

    Args:
        model: a ModelProto, perhaps stored, its bytes, or the path of a file. Of a large one the weights are mapped.
        optimize: let ONNX Runtime fuse operators; without, nodes run as they are written, as do those of a model with
            operators in ROUNDING.
        threads: how many; by default as many as ONNX Runtime finds cores, or OMP_NUM_THREADS.
        keep_memory: keep what a run took for the next one, and weights in the order in which they are read; see
            `run_once` for a model that is run once.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.use_deterministic_compute = True
    options.enable_cpu_mem_arena = keep_memory
    if not keep_memory:
        options.add_session_config_entry("session.disable_prepacking", "1")  # a copy of all weights
    levels = onnxruntime.GraphOptimizationLevel
    graph = model.outline if isinstance(model, StoredModel) else model
    if isinstance(graph, onnx.ModelProto) and any(node.op_type in ROUNDING for node in graph.graph.node):
        optimize = False
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimize else levels.ORT_DISABLE_ALL
    from_environment = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()  # may be a list
    options.intra_op_num_threads = threads or (int(from_environment) if from_environment.isdecimal() else 0)
    if isinstance(model, onnx.ModelProto) and model.ByteSize() > LARGE_BYTES:
        model = StoredModel(model)
    try:
        if isinstance(model, StoredModel):
            with model.file() as path:
                return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else model
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except OutputError:
        raise
    except Exception as error:  # ONNX Runtime raises a class per status, all of them "cannot load"
        raise CaptureError(f"ONNX Runtime cannot load this model: {first_line(error)}", code="onnx-runtime") from error


def run_session(session: Any, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs by name. Raises CaptureError where ONNX Runtime fails."""
    names = [output.name for output in session.get_outputs()]
    try:
        return dict(zip(names, session.run(names, dict(feeds)), strict=True))
    except Exception as error:
        raise CaptureError(f"ONNX Runtime cannot run this model: {first_line(error)}", code="onnx-runtime") from error


def run_once(
    model: onnx.ModelProto | StoredModel, feeds: Mapping[str, np.ndarray], *, optimize: bool = True
) -> dict[str, np.ndarray]:
    """Outputs by name, of a model that is run this once: each value's memory is free again after its last reader.

    ONNX Runtime's arena takes memory in ever larger pieces and gives none back: 260 MB more at the peak of a network
    of 512x512 pixels.
    """
    return run_session(make_session(model, optimize=optimize, keep_memory=False), feeds)


def differences(
    reference: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray], *, tolerance: float = RELATIVE_TOLERANCE
) -> list[str]:
    """One line for each output that is missing, of another shape, or further off than the tolerance."""
    lines = []
    for name, expected in reference.items():
        actual = found.get(name)
        if actual is None or actual.shape != expected.shape:
            lines.append(f"{name}: shape {None if actual is None else actual.shape}, expected {expected.shape}")
            continue
        error = relative_error(expected, actual)
        if not error <= tolerance:
            lines.append(f"{name}: relative error {error:.1e}, tolerance {tolerance:.0e}, shape {np.shape(expected)}")
    return lines


def relative_error(expected: np.ndarray, actual: np.ndarray) -> float:
    """Largest |difference| over largest |expected| (at least SMALLEST_SCALE).

    NaN and infinity must be in the same places.
    Infinite for arrays of two shapes; for integers and booleans, the share of numbers that differ.
    """
    if expected.shape != actual.shape:
        return float("inf")
    if expected.size == 0:
        return 0.0
    if not np.issubdtype(expected.dtype, np.floating):
        return float(np.mean(expected != actual))
    finite = np.isfinite(expected)
    if not np.array_equal(finite, np.isfinite(actual)) or not np.array_equal(
        expected[~finite], actual[~finite], equal_nan=True
    ):
        return float("inf")
    if not finite.any():
        return 0.0
    wide, other = expected[finite].astype(np.float64), actual[finite].astype(np.float64)
    return float(np.abs(wide - other).max() / max(np.abs(wide).max(), SMALLEST_SCALE))


def check_against_module(model: onnx.ModelProto, deployment: Any, inputs: Sequence[torch.Tensor]) -> None:
    """The exported model's numbers against PyTorch's on the given inputs. Raises CaptureError where they differ."""
    import torch

    with torch.no_grad():
        outputs = deployment(*inputs)
    reference = {value.name: tensor.numpy() for value, tensor in zip(model.graph.output, outputs, strict=True)}
    feeds = {value.name: tensor.numpy() for value, tensor in zip(model.graph.input, inputs, strict=True)}
    lines = differences(reference, run_once(model, feeds))
    if lines:
        raise CaptureError(
            "The exported ONNX model does not compute what the PyTorch network computes.",
            code="onnx-differs",
            context=lines,
            hint="the network probably takes decisions in Python that depend on its input's values",
        )


def random_feeds(model: onnx.ModelProto, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Seeded inputs of a static model: normal floats, small integers, coin-flip booleans.

    Raises CaptureError for an input without a static shape.
    """
    generator = np.random.default_rng(seed)
    constants = {tensor.name for tensor in model.graph.initializer}
    feeds = {}
    for value in model.graph.input:
        if value.name in constants:
            continue
        tensor = value.type.tensor_type
        dims = [dim.dim_value for dim in tensor.shape.dim]
        if not tensor.HasField("shape") or not all(dim > 0 for dim in dims):
            raise CaptureError(f"Input {value.name!r} has no static shape.", code="dynamic-shape")
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        if np.issubdtype(dtype, np.floating):
            feeds[value.name] = generator.standard_normal(dims).astype(dtype)
        else:
            feeds[value.name] = generator.integers(0, 2, dims).astype(dtype)
    return feeds
