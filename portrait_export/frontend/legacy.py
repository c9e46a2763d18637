"""A node of an operator set before 7 in; the same in the terms of later ones out, so that one lowering serves both.

What the sets before 7 had of their own (ONNX Changelog): `broadcast` with an `axis` instead of numpy's rule, a slope
per channel in PRelu, Tile along one axis, types by name in Cast, and `consumed_inputs`, which told what memory could be
used again and nothing about the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .context import Emitter, TensorSequence, Unsupported, View, axis_of, shape_of

BEFORE = 7  # operator set


def modern(node: Any, inputs: Sequence[Any], opset: int, emitter: Emitter) -> tuple[Any, list[Any]]:
    """The node and its inputs, as operator set 7 has them. Raises Unsupported where it has no such form."""
    values = list(inputs)
    if opset >= BEFORE:
        return node, values
    attributes = {attribute.name: attribute for attribute in node.attribute}
    copy = type(node)()
    copy.CopyFrom(node)
    drop = {"consumed_inputs"}
    if "broadcast" in attributes and node.op_type != "Gemm":
        drop |= {"broadcast", "axis"}
        if attributes["broadcast"].i:
            axis = attributes["axis"].i if "axis" in attributes else None
            values[1] = _aligned(emitter, values[1], values[0], axis)
    if node.op_type == "PRelu" and np.size(shape_of(values[0])) > 1 and np.prod(shape_of(values[1])) > 1:
        values[1] = _aligned(emitter, values[1], values[0], 1)
    if node.op_type == "Tile" and len(values) == 3:
        values = [values[0], _repeats(values)]
        del copy.input[2:]
    if node.op_type == "Cast" and attributes["to"].s:
        drop.add("to")
    kept = [attribute for attribute in copy.attribute if attribute.name not in drop]
    if "to" in drop:
        kept.append(_numbered(attributes["to"]))
    del copy.attribute[:]
    copy.attribute.extend(kept)
    return copy, values


def _aligned(emitter: Emitter, small: Any, large: Any, axis: int | None) -> Any:
    """The second operand with dimensions of 1 behind it, so that it lies at `axis` of the first; at its end without."""
    if any(isinstance(value, View | TensorSequence) for value in (small, large)):
        raise Unsupported("broadcasting of a sequence, or of a tensor of more than five dimensions")
    shape, rank = shape_of(small), len(shape_of(large))
    if axis is None or not shape:
        return small
    behind = rank - axis_of(axis, rank) - len(shape)
    if behind < 0:
        raise Unsupported(f"broadcasting of shape {shape} at axis {axis} of rank {rank}")
    wanted = (*shape, *[1] * behind)
    if isinstance(small, np.ndarray):
        return small.reshape(wanted)
    return emitter.emit("reshape", "aligned", x=small, shape=np.asarray(wanted, np.int32)) if behind else small


def _repeats(values: Sequence[Any]) -> np.ndarray:
    """Tile's `tiles` along `axis` as one number per dimension."""
    if not all(isinstance(value, np.ndarray) for value in values[1:]):
        raise Unsupported("its tiles and axis are computed by the model; they must be constants")
    rank = len(shape_of(values[0]))
    repeats = np.ones(rank, np.int64)
    repeats[axis_of(int(values[2].reshape(-1)[0]), rank)] = int(values[1].reshape(-1)[0])
    return repeats


def _numbered(attribute: Any) -> Any:
    from onnx import TensorProto, helper

    name = attribute.s.decode("utf-8", "replace")
    known = TensorProto.DataType.keys()
    if name not in known:
        raise Unsupported(f"a cast to {name!r}")
    return helper.make_attribute("to", TensorProto.DataType.Value(name))
