"""Upgrade nodes of operator sets before 7 to the form of operator set 7, so that one lowering serves both.

What those sets have of their own (ONNX Changelog): `broadcast` with an `axis` instead of numpy's rule, a slope per
channel in PRelu, Tile along one axis, types by name in Cast, and `consumed_inputs`, a hint for reusing memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .emitter import Emitter
from .refusals import Unsupported
from .values import OverRank, Tensor, TensorSequence, Value, axis_of, shape_of

if TYPE_CHECKING:
    from onnx import AttributeProto, NodeProto

FIRST_CURRENT_OPSET = 7


def upgrade(
    node: NodeProto, inputs: Sequence[Value | None], opset: int, emitter: Emitter
) -> tuple[NodeProto, list[Value | None]]:
    """The node and its inputs in the form of operator set 7. Raises Unsupported if they have no such form."""
    values = list(inputs)
    if opset >= FIRST_CURRENT_OPSET:
        return node, values
    attributes = {attribute.name: attribute for attribute in node.attribute}
    copy = type(node)()
    copy.CopyFrom(node)
    drop = {"consumed_inputs"}
    if "broadcast" in attributes and node.op_type != "Gemm":
        drop |= {"broadcast", "axis"}
        if attributes["broadcast"].i:
            axis = attributes["axis"].i if "axis" in attributes else None
            values[1] = _aligned(emitter, _tensor(values[1]), _tensor(values[0]), axis)
    if node.op_type == "PRelu":
        x, slope = _tensor(values[0]), _tensor(values[1])
        if np.size(shape_of(x)) > 1 and np.prod(shape_of(slope)) > 1:
            values[1] = _aligned(emitter, slope, x, 1)
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


def _tensor(value: Value | None) -> Tensor:
    if value is None or isinstance(value, OverRank | TensorSequence):
        raise Unsupported("broadcasting of a sequence, or of a tensor of more than five dimensions")
    return value


def _aligned(emitter: Emitter, small: Tensor, large: Tensor, axis: int | None) -> Tensor:
    """Append dimensions of size 1 to the second operand so that it starts at `axis` of the first.

    Without an axis it is aligned with the end of the first, as numpy does.
    """
    shape, rank = shape_of(small), len(shape_of(large))
    if axis is None or not shape:
        return small
    trailing = rank - axis_of(axis, rank) - len(shape)
    if trailing < 0:
        raise Unsupported(f"broadcasting of shape {shape} at axis {axis} of rank {rank}")
    wanted = (*shape, *[1] * trailing)
    if isinstance(small, np.ndarray):
        return small.reshape(wanted)
    return emitter.emit("reshape", "aligned", x=small, shape=np.asarray(wanted, np.int32)) if trailing else small


def _repeats(values: Sequence[Value | None]) -> np.ndarray:
    """Convert Tile's `tiles` along `axis` to one number per dimension."""
    x, tiles, axis = _tensor(values[0]), values[1], values[2]
    if not isinstance(tiles, np.ndarray) or not isinstance(axis, np.ndarray):
        raise Unsupported("its tiles and axis are computed by the model; they must be constants")
    rank = len(shape_of(x))
    repeats = np.ones(rank, np.int64)
    repeats[axis_of(int(axis.reshape(-1)[0]), rank)] = int(tiles.reshape(-1)[0])
    return repeats


def _numbered(attribute: AttributeProto) -> AttributeProto:
    """Convert Cast's type name to its number."""
    from onnx import TensorProto, helper

    name = attribute.s.decode("utf-8", "replace")
    known = TensorProto.DataType.keys()
    if name not in known:
        raise Unsupported(f"a cast to {name!r}")
    return helper.make_attribute("to", TensorProto.DataType.Value(name))
