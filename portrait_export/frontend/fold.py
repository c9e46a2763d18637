"""Evaluate ONNX nodes whose inputs are all constant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeGuard

import numpy as np

from ..utils.growth import LARGEST_COMPUTED, outputs_are_bounded
from .refusals import Unsupported, one_line
from .values import MaybeValue

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

# Not folded: random numbers; control flow, whose bodies read values of the outer graph; and sequences.
UNFOLDABLE = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
    | {"Dropout", "If", "Loop", "Scan", "SequenceMap"}
    | {"ConcatFromSequence", "SequenceConstruct", "SequenceEmpty", "SplitToSequence"}
)

# Folded by onnx's reference, which needs no session: they move elements, or are numpy's own arithmetic in every
# operator set. For all others ONNX Runtime comes first, because the reference implements only the newest definition (a
# softmax before opset 13 is over several dimensions) or deviates from it (batch norm before opset 14, LpNormalization).
PLAIN = frozenset(
    {"Add", "And", "Cast", "Ceil", "Concat", "Constant", "ConstantOfShape", "Div", "Equal", "Expand", "Flatten"}
    | {"Floor", "Gather", "Greater", "Identity", "Less", "Mul", "Neg", "Not", "Or", "Range", "Reshape", "Shape"}
    | {"Size", "Slice", "Sqrt", "Squeeze", "Sub", "Tile", "Transpose", "Unsqueeze", "Where"}
)
# Operators whose definition changed at this opset. Before it only ONNX Runtime is used, as the reference is wrong.
REDEFINED = {"Softmax": 13, "LogSoftmax": 13, "Hardmax": 13, "BatchNormalization": 14, "GroupNormalization": 21}

IR_VERSION = 10  # the newest that every supported ONNX Runtime reads
FATAL = 4  # ONNX Runtime's log level: its errors are raised as Unsupported instead


def can_fold(inputs: Sequence[MaybeValue], op_type: str) -> TypeGuard[Sequence[np.ndarray | None]]:
    """Whether a node's value is known before the model runs: all of its inputs are constant."""
    return op_type not in UNFOLDABLE and all(value is None or isinstance(value, np.ndarray) for value in inputs)


def fold_node(node: NodeProto, inputs: Sequence[np.ndarray | None], opset: int) -> list[np.ndarray]:
    """Evaluate one node with ONNX Runtime or onnx's reference.

    Args:
        inputs: one array per input, None for an omitted one.
        opset: version of the default operator set.
    Returns:
        One array per output.
    Raises:
        Unsupported: neither of them can evaluate it, or an output is not a tensor.
    """
    import onnx
    from onnx import helper

    given = {name: array for name, array in zip(node.input, inputs, strict=True) if name and array is not None}
    if not outputs_are_bounded(node, given, opset):
        raise Unsupported(f"its constant value would have more than {LARGEST_COMPUTED:,} elements")
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in given.items()
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    graph = helper.make_graph([node], "constant", infos, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION)
    results = iter(_evaluated(node, model, given, opset))
    values = [next(results) if name else np.zeros(0) for name in node.output]
    if not all(isinstance(value, (np.ndarray, np.generic)) for value in values):
        raise Unsupported("its value is not a tensor")
    return [np.asarray(value) for value in values]


def _evaluated(node: NodeProto, model: ModelProto, given: dict[str, np.ndarray], opset: int) -> list[object]:
    """The outputs as the first evaluator that succeeds computes them."""
    ways = [_by_reference, _by_onnxruntime] if node.op_type in PLAIN else [_by_onnxruntime, _by_reference]
    if opset < REDEFINED.get(node.op_type, 0):
        ways = [_by_onnxruntime]
    errors = []
    for way in ways:
        try:
            return way(model, given)
        except Exception as error:  # numpy and ONNX Runtime raise many kinds of their own
            errors.append(error)
    raise Unsupported(f"its constant value cannot be computed: {one_line(errors[0])}") from errors[-1]


def _by_reference(model: ModelProto, given: dict[str, np.ndarray]) -> list[object]:
    from onnx.reference import ReferenceEvaluator

    with np.errstate(all="ignore"):
        return list(ReferenceEvaluator(model).run(None, given))


def _by_onnxruntime(model: ModelProto, given: dict[str, np.ndarray]) -> list[object]:
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL
    typed = onnx.shape_inference.infer_shapes(model)
    return list(onnxruntime.InferenceSession(typed.SerializeToString(), options).run(None, given))
