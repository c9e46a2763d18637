"""Tell how large the outputs of an ONNX node are before it is computed.

A range or a tile can fill any memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from onnx import NodeProto

LARGEST_COMPUTED = 2**29  # elements of a value computed from constants: 2 GiB in float32
SMALL = 4096  # elements of an input that may determine a shape


def outputs_are_bounded(node: NodeProto, given: Mapping[str, np.ndarray], opset: int) -> bool:
    """Whether no output of a node has more than LARGEST_COMPUTED elements, as far as onnx can infer its shape.

    Args:
        given: its inputs by name.
        opset: version of the default operator set.
    """
    import onnx
    from onnx import helper, numpy_helper

    try:
        infos = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in given.items()
        ]
        small = [numpy_helper.from_array(array, name) for name, array in given.items() if array.size < SMALL]
        outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        graph = helper.make_graph([node], "growth", infos, outputs, small)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        inferred = onnx.shape_inference.infer_shapes(model).graph.output
    except Exception:  # onnx raises many kinds of its own: then nothing is known
        return True
    sides = [[max(dim.dim_value, 1) for dim in value.type.tensor_type.shape.dim] for value in inferred]
    return all(math.prod(each) <= LARGEST_COMPUTED for each in sides)
