"""Audit the weights that a Core AI asset stores.

Each is compared, bit for bit, with the weight that it was made from.

The bytecode keeps the elements of each weight in one piece, so each weight's bytes must occur in it. Core AI keeps no
names, and its readers are Apple's alone; this check needs neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from ..mil.audit import Audit, StoredWeight
from ..mil.encoded import EncodedWeight
from ..mil.store import packed
from .asset import program_bytes
from .decoders import stored_parts

MIN_BYTES = 256  # the bytes of smaller constants could occur by chance, and biases matter less
TYPES = {"float32": "fp32", "float16": "fp16"}


def audit_asset(
    path: Path,
    model: onnx.ModelProto,
    *,
    requested: str | None = None,
    skipped: Mapping[str, str] | None = None,
    encoded: Mapping[str, EncodedWeight] | None = None,
) -> Audit:
    """Look for every weight of the model in the asset's bytecode.

    Args:
        model: the ONNX model that was converted.
        requested: the stored type that was asked for, such as `int8`.
        skipped: the weights that were left as they are, with the reason.
        encoded: the weights that are decoded from other constants, by name.
    """
    stored = program_bytes(path)
    weights, problems = [], []
    for name, form in (encoded or {}).items():
        weights.append(_decoded(name, form))
        lost = [part.dtype for part in stored_parts(form) if packed(part) not in stored]
        if lost:
            problems.append(
                f"{name} {form.decoded.shape}: its {', '.join(lost)} are not in the asset as they were given"
            )
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.nbytes < MIN_BYTES or array.dtype.name not in TYPES:
            continue
        weights.append(_weight(tensor.name, array, model, skipped or {}))
        if not _holds(stored, array):
            problems.append(f"{tensor.name} {array.shape} {array.dtype} is not in the asset as it was given")
    weights.sort(key=lambda weight: -weight.size_bytes)
    if requested is not None and not skipped and not any(weight.compressed for weight in weights):
        problems.append(f"no weight is stored as {requested}")
    return Audit(requested, tuple(weights), tuple(problems))


def _decoded(name: str, form: EncodedWeight) -> StoredWeight:
    kind = "palette" if form.dtype.startswith("uint") else "linear"
    return StoredWeight(
        name=name,
        used_by=(),
        shape=form.decoded.shape,
        dtype=form.dtype,
        compressed=True,
        size_bytes=sum(part.size_bytes for part in stored_parts(form)),
        form=kind,
    )


def _holds(stored: bytes, array: np.ndarray) -> bool:
    """Whether the bytecode has an array's elements; of one value only, it has that value once."""
    if (array == array.flat[0]).all():
        array = array.flat[:1]
    return np.ascontiguousarray(array).tobytes() in stored


def _weight(name: str, array: np.ndarray, model: onnx.ModelProto, skipped: Mapping[str, str]) -> StoredWeight:
    readers = {node.op_type for node in model.graph.node if name in node.input}
    return StoredWeight(
        name=name,
        used_by=tuple(sorted(readers)),
        shape=array.shape,
        dtype=TYPES[array.dtype.name],
        compressed=False,
        size_bytes=array.nbytes,
        skipped=skipped.get(name, ""),
        form="plain",
    )
