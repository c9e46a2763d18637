"""Operators on tensors of six dimensions and more give ONNX's numbers in the five that Core ML has."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from portrait_export.errors import LoweringError
from portrait_export.frontend.convert import lower
from tests.cases.model import model_of

from ..harness import Trial, mismatch, run

RNG = np.random.default_rng(7)


@dataclass(frozen=True)
class Wide:
    """One operator on a computed tensor of many dimensions, and constants."""

    name: str
    op_type: str
    shape: tuple[int, ...]
    constants: tuple[np.ndarray, ...] = ()
    attrs: dict[str, Any] = field(default_factory=dict)
    opset: int = 18

    def trial(self) -> Trial:
        """The model: a vector, reshaped, the operator, and its result as a vector."""
        wide = numpy_helper.from_array(np.array(self.shape, np.int64), "wide")
        flat = numpy_helper.from_array(np.array([-1], np.int64), "flat")
        given = [numpy_helper.from_array(value, f"c{index}") for index, value in enumerate(self.constants)]
        nodes = [
            helper.make_node("Reshape", ["x", "wide"], ["w"]),
            helper.make_node(self.op_type, ["w", *(tensor.name for tensor in given)], ["r"], **self.attrs),
            helper.make_node("Cast", ["r"], ["f"], to=TensorProto.FLOAT),
            helper.make_node("Reshape", ["f", "flat"], ["y"]),
        ]
        size = math.prod(self.shape)
        graph = helper.make_graph(
            nodes,
            self.name,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [size])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None])],
            [wide, flat, *given],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        return Trial(self.name, model, {"x": RNG.uniform(0.1, 2, size).astype(np.float32)})


def floats(*shape: int) -> np.ndarray:
    return RNG.uniform(0.5, 1.5, shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


CHANNELS = (2, 4, 3, 2, 2, 2)
ONES, FULL = (1, 2, 3, 1, 4, 1, 2), (2, 2, 3, 2, 2, 2)
CASES = [
    Wide("unary", "Exp", FULL),
    Wide("rank_9", "Tanh", (2, 1, 2, 1, 2, 1, 2, 1, 2)),
    Wide("only_ones", "Neg", (1,) * 7),
    Wide("add_a_full_constant", "Add", FULL, (floats(*FULL),)),
    Wide("add_a_channel", "Add", ONES, (floats(3, 1, 1, 1, 1),)),
    Wide("multiply_by_two_alternate_dimensions", "Mul", (2, 2, 3, 2, 1, 2), (floats(3, 1, 1, 2),)),
    Wide("broadcast_makes_it_larger", "Sub", ONES, (floats(5, 1, 1, 1, 1, 1, 1),)),
    Wide("clip", "Clip", FULL, (np.float32(0.5), np.float32(1.0))),
    Wide("compare", "Greater", FULL, (np.float32(1.0),)),
    Wide("cast", "Cast", FULL, attrs={"to": TensorProto.INT32}),
    Wide("softmax_in_the_middle", "Softmax", (1, 1, 3, 2, 2, 4, 4), attrs={"axis": 2}),
    Wide("softmax_of_the_last", "Softmax", FULL),
    Wide("log_softmax_first", "LogSoftmax", FULL, attrs={"axis": 0}),
    Wide("argmax", "ArgMax", FULL, attrs={"axis": 2, "keepdims": 0}),
    Wide("sum_of_one", "ReduceSum", FULL, (ints(2),), {"keepdims": 0}),
    Wide("mean_of_alternate", "ReduceMean", (2, 1, 3, 2, 1, 2), (ints(-1, 2),)),
    Wide("max_of_all", "ReduceMax", FULL, attrs={"keepdims": 0}),
    Wide("min_of_ones_only", "ReduceMin", ONES, (ints(0, 3),)),
    Wide("axes_as_an_attribute", "ReduceMean", FULL, attrs={"axes": [1, 2]}, opset=13),
    Wide("concat", "Concat", FULL, (floats(2, 2, 1, 2, 2, 2),), {"axis": 2}),
    Wide("gather_of_a_matrix", "Gather", (1, 2, 3, 4, 5), (np.array([[0, 2], [1, 1]]),), {"axis": 2}),
    Wide("gather_twice_as_wide", "Gather", FULL, (np.array([[0, 2], [1, 1]]),), {"axis": 2}),
    Wide("slice_two_apart", "Slice", FULL, (ints(0, 1), ints(2, 2), ints(2, 4))),
    Wide("slice_backwards", "Slice", (2, 3, 4, 1, 2, 2), (ints(-1), ints(-100), ints(2), ints(-2))),
    Wide("slice_all_of_some", "Slice", FULL, (ints(0, 1), ints(9, 9), ints(1, -1))),
    Wide("pad_two_apart", "Pad", FULL, (ints(0, 1, 0, 0, 2, 0, 0, 0, 0, 0, 1, 0), np.float32(0.25))),
    Wide("pad_a_one", "Pad", ONES, (ints(0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0),)),
    Wide("pad_axes_reflected", "Pad", FULL, (ints(1, 0, 1, 1), np.float32(0), ints(2, -1)), {"mode": "reflect"}),
    Wide("cumsum", "CumSum", FULL, (np.array(2),), {"reverse": 1}),
    Wide("matmul_of_a_matrix", "MatMul", FULL, (floats(2, 5),)),
    Wide("matmul_of_batches", "MatMul", FULL, (floats(2, 2, 3, 2, 2, 3),)),
    Wide("matmul_that_broadcasts", "MatMul", (2, 1, 3, 2, 1, 2), (floats(3, 1, 2, 4),)),
    Wide("expand", "Expand", (1, 2, 1, 3, 1, 2), (ints(2, 2, 1, 3, 4, 2),)),
    Wide("expand_to_more", "Expand", (2, 1, 3), (ints(1, 1, 1, 2, 4, 3),)),
    Wide("layer_norm_of_the_last", "LayerNormalization", FULL, (floats(2), floats(2))),
    Wide("layer_norm_of_three", "LayerNormalization", ONES, (floats(4, 1, 2), floats(4, 1, 2)), {"axis": -3}),
    Wide("layer_norm_with_a_broadcast_scale", "LayerNormalization", FULL, (floats(2),), {"axis": 2}),
    Wide("layer_norm_of_all", "LayerNormalization", FULL, (floats(*FULL),), {"axis": 0}),
    Wide("group_norm", "GroupNormalization", CHANNELS, (floats(4), floats(4)), {"num_groups": 2}, opset=21),
    Wide("rms_norm", "RMSNormalization", FULL, (floats(2, 2),), {"axis": -2}, opset=23),
    Wide("instance_norm", "InstanceNormalization", CHANNELS, (floats(4), floats(4))),
    Wide("batch_norm", "BatchNormalization", CHANNELS, (floats(4), floats(4), floats(4), floats(4))),
    Wide("lp_norm", "LpNormalization", CHANNELS, (), {"axis": 1}),
    Wide("l1_norm_of_the_last", "LpNormalization", ONES, (), {"p": 1}),
    Wide("mean_variance_norm", "MeanVarianceNormalization", FULL, attrs={"axes": [0, 2, 3]}),
    Wide("softmax_of_all_from_an_axis_on", "Softmax", FULL, attrs={"axis": 2}, opset=11),
    Wide("log_softmax_of_all_from_an_axis_on", "LogSoftmax", ONES, attrs={"axis": 4}, opset=11),
    Wide("triangle", "Trilu", FULL, attrs={"upper": 0}),
    Wide("quantize_per_channel", "QuantizeLinear", CHANNELS, (floats(4), np.zeros(4, np.uint8)), {"axis": 1}),
    Wide("gather_elements", "GatherElements", CHANNELS, (RNG.integers(0, 3, (2, 4, 2, 2, 2, 2)),), {"axis": 2}),
    Wide("einsum_of_windows", "Einsum", FULL, (floats(2, 2, 3, 2, 4, 2),), {"equation": "bhwnqd,bhwnkd->bhwnqk"}),
    Wide("tile", "Tile", (2, 1, 3, 1, 2, 1), (ints(1, 2, 1, 1, 1, 3),)),
]


def reference(trial: Trial) -> list[np.ndarray]:
    """ONNX's numbers. onnx's own reference knows only the newest Softmax."""
    if trial.model.opset_import[0].version >= 13:
        return ReferenceEvaluator(trial.model).run(None, dict(trial.feeds))
    session = onnxruntime.InferenceSession(trial.model.SerializeToString())
    return session.run(None, dict(trial.feeds))


def test_the_numbers_are_onnx_s():
    trials = [case.trial() for case in CASES if case.opset == 18]
    others = [case.trial() for case in CASES if case.opset != 18]
    results = run(trials) + [result for trial in others for result in run([trial])]
    failures = {}
    for trial, (found,) in zip([*trials, *others], results, strict=True):
        (expected,) = reference(trial)
        failures[trial.name] = mismatch(expected, found)
    assert {name: text for name, text in failures.items() if text} == {}


@pytest.mark.parametrize(
    "case",
    [
        Wide("six_that_alternate", "Mul", FULL, (floats(2, 1, 3, 1, 2, 1),)),
        Wide("no_way", "ScatterND", FULL, (np.array([[0, 1]]), floats(1, 3, 2, 2, 2))),
    ],
    ids=lambda case: case.name,
)
def test_what_does_not_fit_is_refused_with_its_shape(case):
    with pytest.raises(LoweringError) as caught:
        run([case.trial()])
    assert "a tensor of rank 6 (2, 2, 3, 2, 2, 2); Core ML supports at most 5" in str(caught.value)


def test_the_cases_are_valid_onnx():
    for case in CASES:
        onnx.checker.check_model(case.trial().model)


def test_norms_do_not_subtract_squares():
    """The function bodies of ONNX compute a variance as E[x²] − E[x]², which half precision does not survive."""
    program = lower(Wide("norm", "LayerNormalization", FULL, (floats(2),)).trial().model, target="iOS17")
    assert "layer_norm" in [operation.op_type for operation in program.program.functions["main"].operations]


def test_both_outputs_of_top_k():
    nodes = [
        helper.make_node("Reshape", ["x", "wide"], ["w"]),
        helper.make_node("TopK", ["w", "k"], ["values", "places"], axis=2),
        helper.make_node("Cast", ["places"], ["p"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["values", "p"], ["s"]),
        helper.make_node("Reshape", ["s", "flat"], ["y"]),
    ]
    params = {"wide": ints(*CHANNELS), "k": ints(2), "flat": ints(-1)}
    feeds = {"x": RNG.permutation(math.prod(CHANNELS)).astype(np.float32)}
    trial = Trial("top_k", model_of(nodes, feeds, params, ["y"]), feeds)
    (found,), (expected,) = run([trial])[0], reference(trial)
    assert mismatch(expected, found) == ""
