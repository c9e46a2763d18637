"""An ONNX node whose inputs are all known in, its outputs as numpy arrays out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .context import Unsupported

# Not folded: what draws random numbers, control flow, whose bodies see the values around them, and sequences.
UNFOLDABLE = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
    | {"Dropout", "If", "Loop", "Scan", "SequenceMap"}
    | {"ConcatFromSequence", "SequenceConstruct", "SequenceEmpty", "SplitToSequence"}
)

# Folded by onnx's reference, which is at hand at once: they move elements, or are numpy's own arithmetic in every
# operator set. For all others the reference knows today's definition only (a softmax before opset 13 is over several
# dimensions), or has its own idea of it (batch norm before opset 14, LpNormalization): ONNX Runtime comes first.
PLAIN = frozenset(
    {"Add", "And", "Cast", "Ceil", "Concat", "Constant", "ConstantOfShape", "Div", "Equal", "Expand", "Flatten"}
    | {"Floor", "Gather", "Greater", "Identity", "Less", "Mul", "Neg", "Not", "Or", "Range", "Reshape", "Shape"}
    | {"Size", "Slice", "Sqrt", "Squeeze", "Sub", "Tile", "Transpose", "Unsqueeze", "Where"}
)
# Their definition changed, and onnx's reference follows the newest one: ONNX Runtime or nothing.
REDEFINED = {"Softmax": 13, "LogSoftmax": 13, "Hardmax": 13, "BatchNormalization": 14, "GroupNormalization": 21}

IR_VERSION = 10  # what every supported ONNX Runtime reads
FATAL = 4  # ONNX Runtime's log level; its failures are reported as ours


def can_fold(op_type: str, inputs: Sequence[Any]) -> bool:
    """Whether a node's value is known before the model runs."""
    return op_type not in UNFOLDABLE and all(value is None or isinstance(value, np.ndarray) for value in inputs)


def fold(node: Any, inputs: Sequence[np.ndarray | None], opset: int) -> list[np.ndarray]:
    """Evaluate one node as ONNX Runtime or onnx's reference does.

    Args:
        node: NodeProto.
        inputs: an array per input, None where it is left out.
        opset: version of the default operator set.
    Returns:
        One array per output. Raises Unsupported where neither has an answer, or it is no tensor.
    """
    import onnx
    from onnx import helper

    given = {name: array for name, array in zip(node.input, inputs, strict=True) if name and array is not None}
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


def _evaluated(node: Any, model: Any, given: dict[str, np.ndarray], opset: int) -> list[Any]:
    """What ONNX Runtime or onnx's reference computes, whichever is to be asked first and has an answer."""
    ways = [_by_reference, _by_onnxruntime] if node.op_type in PLAIN else [_by_onnxruntime, _by_reference]
    if opset < REDEFINED.get(node.op_type, 0):
        ways = [_by_onnxruntime]
    errors = []
    for way in ways:
        try:
            return way(model, given)
        except Exception as error:  # every kind of failure that numpy and ONNX Runtime have classes of their own for
            errors.append(error)
    text = " ".join(str(errors[0]).split())[:160]
    raise Unsupported(f"its constant value cannot be computed: {text}") from errors[-1]


def _by_reference(model: Any, given: dict[str, np.ndarray]) -> list[Any]:
    from onnx.reference import ReferenceEvaluator

    with np.errstate(all="ignore"):
        return list(ReferenceEvaluator(model).run(None, given))


def _by_onnxruntime(model: Any, given: dict[str, np.ndarray]) -> list[Any]:
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL
    typed = onnx.shape_inference.infer_shapes(model)
    return list(onnxruntime.InferenceSession(typed.SerializeToString(), options).run(None, given))
