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

IR_VERSION = 10  # what every supported ONNX Runtime reads
FATAL = 4  # ONNX Runtime's log level; its failures are reported as ours


def can_fold(op_type: str, inputs: Sequence[Any]) -> bool:
    """Whether a node's value is known before the model runs."""
    return op_type not in UNFOLDABLE and all(value is None or isinstance(value, np.ndarray) for value in inputs)


def fold(node: Any, inputs: Sequence[np.ndarray | None], opset: int) -> list[np.ndarray]:
    """Evaluate one node with onnx's own reference implementation.

    Args:
        node: NodeProto.
        inputs: an array per input, None where it is left out.
        opset: version of the default operator set.
    Returns:
        One array per output. Raises Unsupported where the reference has no answer or no tensor.
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
    results = iter(_evaluated(model, given))
    values = [next(results) if name else np.zeros(0) for name in node.output]
    if not all(isinstance(value, (np.ndarray, np.generic)) for value in values):
        raise Unsupported("its value is not a tensor")
    return [np.asarray(value) for value in values]


def _evaluated(model: Any, given: dict[str, np.ndarray]) -> list[Any]:
    """What onnx's reference computes, or ONNX Runtime where the reference lacks the operator at an older opset."""
    from onnx.reference import ReferenceEvaluator

    try:
        with np.errstate(all="ignore"):
            return list(ReferenceEvaluator(model).run(None, given))
    except Exception as error:  # the reference raises whatever numpy raises; each is a node that it cannot evaluate
        first = error
    try:
        return _by_onnxruntime(model, given)
    except Exception as error:  # every kind of failure that ONNX Runtime has a class of its own for
        raise Unsupported(f"its constant value cannot be computed: {' '.join(str(first).split())[:160]}") from error


def _by_onnxruntime(model: Any, given: dict[str, np.ndarray]) -> list[Any]:
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL
    typed = onnx.shape_inference.infer_shapes(model)
    return list(onnxruntime.InferenceSession(typed.SerializeToString(), options).run(None, given))
