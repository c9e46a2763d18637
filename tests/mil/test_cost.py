"""The cost of a saved package equals numbers computed by hand, and that of its ONNX model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnx
import pytest

from portrait_export.capture.onnx.cost import cost_of
from portrait_export.mil import coreml
from portrait_export.mil.cost import Cost, OperatorMemory, cost_of_program, peak_bytes
from portrait_export.mil.program import read_program
from tests.runtime.packages import from_builder

ONES = np.ones


def image(channels: int, side: int) -> dict[str, tuple[int, ...]]:
    return {"x": (1, channels, side, side)}


@dataclass(frozen=True)
class Case:
    """A program, and its multiply-accumulates counted by hand."""

    inputs: dict[str, tuple[int, ...]]
    build: Callable[..., Any]
    macs: dict[str, int]
    target: str = "iOS17"


PADS = {"pad_type": "custom", "pad": [1, 1, 1, 1]}
MACS = {
    "conv_3x3_strided": Case(
        image(3, 8),
        lambda mb, x: mb.conv(x=x, weight=ONES((5, 3, 3, 3), np.float32), strides=[2, 2], **PADS),
        {"conv": 16 * 5 * 27},
    ),
    "conv_depthwise": Case(
        image(4, 8),
        lambda mb, x: mb.conv(x=x, weight=ONES((4, 1, 3, 3), np.float32), groups=4, **PADS),
        {"conv": 64 * 4 * 9},
    ),
    "conv_transpose": Case(
        image(4, 5),
        lambda mb, x: mb.conv_transpose(x=x, weight=ONES((4, 3, 2, 2), np.float32), strides=[2, 2]),
        {"conv": 100 * 3 * 4},
    ),
    "linear": Case(
        {"x": (1, 7, 4)}, lambda mb, x: mb.linear(x=x, weight=ONES((5, 4), np.float32)), {"linear": 7 * 4 * 5}
    ),
    "matmul_with_a_stored_matrix": Case(
        {"x": (2, 7, 4)}, lambda mb, x: mb.matmul(x=x, y=ONES((2, 4, 5), np.float32)), {"linear": 2 * 7 * 4 * 5}
    ),
    "matmul_of_two_values_transposed": Case(
        {"a": (2, 4, 7), "b": (2, 9, 4)},
        lambda mb, a, b: mb.matmul(x=a, y=b, transpose_x=True, transpose_y=True),
        {"matmul": 2 * 7 * 4 * 9},
    ),
    "einsum": Case(
        {"a": (2, 3, 4, 5), "b": (2, 5, 4, 6)},
        lambda mb, a, b: mb.einsum(values=(a, b), equation="bhwc,bcwk->bhwk"),
        {"matmul": 2 * 3 * 4 * 5 * 6},
    ),
    "attention_as_one_operator": Case(
        {"q": (1, 2, 7, 4), "k": (1, 2, 9, 4), "v": (1, 2, 9, 3)},
        lambda mb, q, k, v: mb.scaled_dot_product_attention(query=q, key=k, value=v),
        {"matmul": 2 * 7 * 9 * 4 + 2 * 7 * 9 * 3},
        target="iOS18",
    ),
    "gru_over_five_steps": Case(
        {"x": (5, 2, 3), "h": (2, 4)},
        lambda mb, x, h: mb.gru(
            x=x, initial_h=h, weight_ih=ONES((12, 3), np.float32), weight_hh=ONES((12, 4), np.float32)
        )[0],
        {"linear": 5 * 2 * (12 * 3 + 12 * 4)},
    ),
    "bilinear": Case(
        image(2, 4), lambda mb, x: mb.upsample_bilinear(x=x, scale_factor_height=2, scale_factor_width=2),
        {"resize": 2 * 64 * 4},
    ),
    "nearest": Case(
        image(2, 4), lambda mb, x: mb.upsample_nearest_neighbor(x=x, scale_factor_height=2, scale_factor_width=2), {}
    ),
    "resize_linear": Case(
        image(2, 4),
        lambda mb, x: mb.resize(
            x=x,
            shape=np.array([8, 8], np.int32),
            resized_dims=np.uint32(2),
            interpolation_mode="LINEAR",
            sampling_mode="UNALIGN_CORNERS",
        ),
        {"resize": 2 * 64 * 4},
    ),
    "average_pool": Case(
        image(2, 4),
        lambda mb, x: mb.avg_pool(x=x, kernel_sizes=[2, 2], strides=[1, 1], pad_type="valid"),
        {"pool": 2 * 9 * 4},
    ),
    "mean_over_all_pixels": Case(
        image(2, 4), lambda mb, x: mb.reduce_mean(x=x, axes=[-2, -1], keep_dims=True), {"pool": 32}
    ),
    "mean_over_channels_is_a_part_of_a_norm": Case(
        image(2, 4), lambda mb, x: mb.reduce_mean(x=x, axes=[1], keep_dims=True), {}
    ),
    "elementwise": Case(image(2, 4), lambda mb, x: mb.relu(x=x), {}),
}  # fmt: skip


def cost(case: Case, folder: Any) -> Cost:
    inputs = {name: (shape, np.float32) for name, shape in case.inputs.items()}
    build = partial(case.build, coreml.builder())
    path = from_builder(folder / "net.mlpackage", inputs, build, target=case.target)
    return cost_of_program(read_program(path))


@pytest.mark.parametrize("name", MACS)
def test_macs(name, tmp_path):
    assert cost(MACS[name], tmp_path).macs == MACS[name].macs


def test_weights_operators_and_activations_by_hand(tmp_path):
    """x and its rows take 400 B each, what comes of the 4x10 weights and 4 biases 160 B."""

    def build(mb, x):
        rows = mb.reshape(x=x, shape=[10, 10])
        hidden = mb.linear(x=rows, weight=np.arange(40, dtype=np.float32).reshape(4, 10), bias=ONES(4, np.float32))
        return mb.add(x=mb.relu(x=hidden), y=mb.reduce_sum(x=rows, axes=[1], keep_dims=True))

    found = cost(Case({"x": (1, 100)}, build, {}), tmp_path)
    assert (found.parameters, found.weight_bytes) == (44, 176)
    assert found.operators == {"add": 1, "linear": 1, "reduce_sum": 1, "relu": 1, "reshape": 1}
    assert (found.layout_ops, found.absorbed_layout_ops) == (1, 0)
    assert found.peak_activation_bytes == 800  # x and its rows, before x is no longer needed


def test_both_branches_of_a_condition_count_and_the_larger_one_needs_memory(tmp_path):
    def build(mb, x, flag):
        wide = ONES((8, 2), np.float32)
        return mb.cond(
            pred=mb.cast(x=mb.squeeze(x=flag, axes=[0]), dtype="bool"),
            _true_fn=lambda: mb.reduce_sum(x=mb.linear(x=x, weight=wide), axes=[1], keep_dims=True),
            _false_fn=lambda: mb.reduce_sum(x=x, axes=[1], keep_dims=True),
        )

    found = cost(Case({"x": (4, 2), "flag": (1,)}, build, {}), tmp_path)
    assert found.macs == {"linear": 4 * 2 * 8}
    # x (32 B), the condition (1 bit in a byte) and, inside, the wide value (128 B) with its sum (16 B) and the result.
    assert found.peak_activation_bytes == 32 + 1 + 128 + 16 + 16


PEAKS = {
    "chain": ([OperatorMemory("x", "a"), OperatorMemory("a", "b")], "x", "b", 200),
    "skip": ([OperatorMemory("x", "a"), OperatorMemory("a", "b"), OperatorMemory("bx", "y")], "x", "y", 300),
    "output_stays": (
        [OperatorMemory("x", "a"), OperatorMemory("a", "b"), OperatorMemory("b", "c"), OperatorMemory("c", "d")],
        "x",
        "ad",
        300,
    ),
    "unread_input_is_gone_after_the_first_step": ([OperatorMemory("x", "a"), OperatorMemory("a", "b")], "xu", "b", 300),
    "inside": ([OperatorMemory("x", "a", inside=50), OperatorMemory("a", "b")], "x", "b", 250),
}


@pytest.mark.parametrize("name", PEAKS)
def test_peak_of_values_of_100_bytes(name):
    steps, inputs, outputs, expected = PEAKS[name]
    assert peak_bytes(steps, dict.fromkeys("xuabcdy", 100), inputs, outputs) == expected


def test_a_package_costs_what_its_onnx_costs(small_export):
    """MACs and layout operators agree exactly; an int8 package in fp16 has half the activations, a quarter of bytes."""
    of_onnx = cost_of(onnx.load(small_export / "segformer_b0.onnx"))
    found = cost_of_program(read_program(small_export / "segformer_b0.mlpackage"))
    assert found.macs == of_onnx.macs
    assert found.layout_ops == of_onnx.layout_ops - of_onnx.absorbed_layout_ops
    assert found.peak_activation_bytes == of_onnx.peak_activation_bytes // 2
    assert found.parameters == pytest.approx(of_onnx.parameters, rel=1e-3)  # biases that the compiler adds
    assert found.weight_bytes == pytest.approx(of_onnx.weight_bytes / 4, rel=0.03)  # scales, and what stays fp16
