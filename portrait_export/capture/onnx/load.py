"""Read an ONNX file that may come from anywhere, with its external data, and check it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import onnx

from ...artifacts import READABLE_OPSETS
from ...errors import CaptureError
from ...utils.inside import is_inside
from ...utils.lfs import refuse_pointer
from .bounds import negative_sides, require_bounded_inputs, require_bounded_values
from .light import infer_shapes
from .restate import restate_shapes
from .sort import sort_nodes
from .subgraphs import all_graphs

MAX_PROTOBUF_BYTES = 2**31 - 1  # of one message, and so of a file and its external data together


def load_onnx(path: str | os.PathLike[str]) -> onnx.ModelProto:
    """Read an ONNX file and its external data, trusting nothing in it.

    External data must be in the model's own folder (no absolute path, no `..`, no link out of it).

    Args:
        path: the `.onnx` file.
    Returns:
        The model with all weights inside and its nodes in an order in which they can run, accepted by onnx.checker.
    Raises:
        CaptureError: missing, unreadable, too large, not ONNX, truncated, or external data missing or out of bounds;
            all problems with external data at once.
    """
    from .check import check_model

    file = Path(path)
    model = _parse(file, _read(file))
    problems = _content_problems(model)
    if problems:
        raise CaptureError(f"{file.name} is not a usable ONNX model.", code="invalid-onnx", context=problems)
    require_bounded_inputs(model, file.name)
    _inline_external_data(model, file)
    problems = [line for tensor in _tensors(model.graph) for line in _size_problems(tensor)]
    if problems:
        raise CaptureError(
            f"{file.name} is damaged: {len(problems)} of its weights do not have the bytes their shapes need.",
            code="damaged-onnx",
            context=problems[:20],
        )
    sort_nodes(model.graph)
    try:
        check_model(model)
    except CaptureError as error:
        if not isinstance(error.__cause__, onnx.shape_inference.InferenceError):
            raise
        restate_shapes(model)
        check_model(model)
    require_bounded_values(model, _inferred(model), file.name)
    return model


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    """The shapes of a checked model's values: with numbers that are followed, unless onnx fails at that."""
    try:
        return infer_shapes(model, data_prop=True)
    except Exception:  # the C++ code raises RuntimeErrors of its own
        return infer_shapes(model)


def _read(file: Path) -> bytes:
    try:
        if not file.exists():
            raise CaptureError(f"There is no ONNX file at {file}.", code="no-such-file")
        if not file.is_file():
            raise CaptureError(f"{file} is not a file.", code="no-such-file", hint="give the .onnx file itself")
        size = file.stat().st_size
        if size > MAX_PROTOBUF_BYTES:
            raise CaptureError(f"{file.name} has {size / 2**30:.1f} GiB; at most 2 GiB can be read.", code="too-large")
        refuse_pointer(file, CaptureError)
        return file.read_bytes()
    except OSError as error:
        raise CaptureError(f"{file} cannot be read: {error.strerror}.", code="unreadable") from error


def _parse(file: Path, data: bytes) -> onnx.ModelProto:
    from google.protobuf.message import DecodeError

    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, RuntimeError) as error:
        what = "empty" if not data else "not ONNX, or cut off"
        raise CaptureError(f"{file.name} is {what} ({len(data):,} bytes).", code="not-onnx") from error
    return model


def _content_problems(model: onnx.ModelProto) -> list[str]:
    """What keeps a parsed message from being a model; a cut-off file often still parses."""
    lines = []
    if not model.graph.node:
        lines.append("it has no graph with nodes in it")
    if not model.graph.output:
        lines.append("its graph has no outputs")
    opsets = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if not opsets:
        lines.append("it does not name its ONNX opset")
    lines += [
        f"its opset {version} is outside {READABLE_OPSETS[0]}..{READABLE_OPSETS[-1]}"
        for version in opsets
        if version not in READABLE_OPSETS
    ]
    lines += negative_sides(model.graph)
    if model.ir_version > onnx.IR_VERSION:
        lines.append(f"its IR version {model.ir_version} is newer than {onnx.IR_VERSION}, which the onnx package reads")
    return lines


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every stored tensor: initializers, sparse ones' parts, and attributes, in inner graphs too."""
    for inner in all_graphs(graph):
        yield from inner.initializer
        for sparse in inner.sparse_initializer:
            yield sparse.values
            yield sparse.indices
        for node in inner.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors


def _inline_external_data(model: onnx.ModelProto, file: Path) -> None:
    """Read external data into the tensors, in place, once all of it has been checked."""
    external = [tensor for tensor in _tensors(model.graph) if tensor.data_location == onnx.TensorProto.EXTERNAL]
    folder = file.parent
    problems, total, slices = [], 0, []
    for tensor in external:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        problem, data_file, offset, length = _resolve(folder, tensor, entries)
        if problem:
            problems.append(f"{tensor.name or 'unnamed'}: {problem}")
        total += length
        slices.append((tensor, data_file, offset, length))
    if total > MAX_PROTOBUF_BYTES:
        problems.append(f"together {total / 2**30:.1f} GiB; at most 2 GiB can be read")
    if problems:
        raise CaptureError(
            f"{len(problems)} of {len(external)} weights that {file.name} keeps in other files cannot be read.",
            code="external-data",
            context=problems[:20],
            hint="keep the model's data files in its folder, under the names that it stores",
        )
    for tensor, data_file, offset, length in slices:
        tensor.raw_data = _slice(data_file, offset, length)
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]


def _slice(data_file: Path, offset: int, length: int) -> bytes:
    try:
        with data_file.open("rb") as stream:
            stream.seek(offset)
            return stream.read(length)
    except OSError as error:
        raise CaptureError(f"{data_file} cannot be read: {error.strerror}.", code="external-data") from error


def _resolve(folder: Path, tensor: onnx.TensorProto, entries: dict[str, str]) -> tuple[str, Path, int, int]:
    """What is wrong with a tensor's external data (or nothing), and where it is: file, offset, length in bytes.

    Raises CaptureError for a Git LFS pointer, which stands for all of the file's tensors.
    """
    location = entries.get("location", "")
    data_file = folder / location
    try:
        offset = int(entries.get("offset", "0"))
        length = int(entries.get("length", "-1"))
    except ValueError:
        return f"its offset or length in {location!r} is not a number", data_file, 0, 0
    if not location or Path(location).is_absolute() or ".." in Path(location).parts:
        return f"its data file {location!r} is not inside the model's folder", data_file, 0, 0
    try:
        if not is_inside(data_file, folder):
            return f"its data file {location!r} links out of the model's folder", data_file, 0, 0
        if not data_file.is_file():
            return f"its data file {location!r} is missing", data_file, 0, 0
        refuse_pointer(data_file, CaptureError)
        size = data_file.stat().st_size
    except OSError as error:
        return f"its data file {_clipped(location)} cannot be read: {error.strerror}", data_file, 0, 0
    length = size - offset if length < 0 else length
    if offset < 0 or length < 0 or offset + length > size:
        return f"bytes {offset}..{offset + length} are outside {location!r} of {size} bytes", data_file, 0, 0
    return "", data_file, offset, length


def _clipped(text: str) -> str:
    """A name in quotes, of at most 60 characters."""
    return repr(text if len(text) <= 60 else f"{text[:60]}…")


def _size_problems(tensor: onnx.TensorProto) -> list[str]:
    """Whether a tensor stored as raw bytes has exactly the bytes that its shape and type need."""
    name = tensor.name or "unnamed"
    if any(size < 0 for size in tensor.dims):
        return [f"{name}: negative dimension in {list(tensor.dims)}"]
    try:
        bits = 8 * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (KeyError, ValueError, TypeError):
        return [f"{name}: unknown element type {tensor.data_type}"]
    type_name = onnx.TensorProto.DataType.Name(tensor.data_type)
    if type_name in ("UINT4", "INT4", "FLOAT4E2M1"):
        bits = 4
    elif type_name in ("UINT2", "INT2"):
        bits = 2
    elif type_name == "STRING" or not tensor.HasField("raw_data"):
        return []  # typed fields: onnx.checker counts them
    needed = -(-math.prod(tensor.dims) * bits // 8)
    if len(tensor.raw_data) != needed:
        return [f"{name}: {len(tensor.raw_data):,} bytes, its shape {list(tensor.dims)} needs {needed:,}"]
    return []
