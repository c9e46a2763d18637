"""The cost model against numbers worked out by hand and against PyTorch's own parameter counts."""

import pytest

from portrait_export.capture.onnx.cost import cost_of

from ..simplify.build import ints, model, normal

# name → (graph, weights, MACs by family)
MACS = {
    "conv_3x3_strided": (
        "(float[1,3,8,8] x) => (float y) { y = Conv<strides=[2,2], pads=[1,1,1,1]>(x, w) }",
        {"w": normal(5, 3, 3, 3)}, {"conv": 16 * 5 * 27},
    ),
    "depthwise": (
        "(float[1,4,8,8] x) => (float y) { y = Conv<group=4, pads=[1,1,1,1]>(x, w) }",
        {"w": normal(4, 1, 3, 3)}, {"conv": 64 * 4 * 9},
    ),
    "transposed_conv": (
        "(float[1,4,5,5] x) => (float y) { y = ConvTranspose<strides=[2,2]>(x, w) }",
        {"w": normal(4, 3, 2, 2)}, {"conv": 100 * 3 * 4},
    ),
    "linear": ("(float[1,7,4] x) => (float y) { y = MatMul(x, w) }", {"w": normal(4, 5)}, {"linear": 7 * 4 * 5}),
    "gemm": (
        "(float[4,7] x) => (float y) { y = Gemm<transA=1>(x, w) }", {"w": normal(4, 5)}, {"linear": 7 * 4 * 5},
    ),
    "attention_scores": (
        "(float[1,2,7,4] a, float[1,2,4,9] b) => (float y) { y = MatMul(a, b) }", {}, {"matmul": 2 * 7 * 4 * 9},
    ),
    "bilinear": (
        '(float[1,2,4,4] x) => (float y) { y = Resize<mode="linear">(x, , , s) }',
        {"s": ints(1, 2, 8, 8)}, {"resize": 128 * 4},
    ),
    "pooling": (
        "(float[1,2,4,4] x) => (float y) { a = AveragePool<kernel_shape=[2,2]>(x) y = GlobalAveragePool(a) }",
        {}, {"pool": 2 * 9 * 4 + 18},
    ),
    "mean_over_all_pixels": (
        "(float[1,2,4,4] x) => (float y) { y = ReduceMean(x, a) }", {"a": ints(-2, -1)}, {"pool": 32},
    ),
    "mean_over_channels_is_a_part_of_a_norm": (
        "(float[1,2,4,4] x) => (float y) { y = ReduceMean(x, a) }", {"a": ints(1)}, {},
    ),
    "grid_sample": (
        "(float[1,2,4,4] x, float[1,3,5,2] g) => (float y) { y = GridSample(x, g) }", {}, {"resize": 2 * 15 * 4},
    ),
    "einsum": (
        '(float[2,3,4] a, float[4,5] b) => (float y) { y = Einsum<equation="bij,jk->bik">(a, b) }',
        {}, {"matmul": 2 * 3 * 4 * 5},
    ),
    "gru_over_five_steps": (
        "(float[5,2,3] x) => (float y) { y = GRU<hidden_size=4>(x, w, r) }",
        {"w": normal(1, 12, 3), "r": normal(1, 12, 4)}, {"linear": 5 * 2 * (12 * 3 + 12 * 4)},
    ),
    "elementwise": ("(float[1,2,4,4] x) => (float y) { y = Relu(x) }", {}, {}),
}  # fmt: skip


@pytest.mark.parametrize("case", MACS)
def test_macs(case):
    text, weights, expected = MACS[case]
    assert cost_of(model(text, **weights)).macs == expected


def test_weights_are_counted_in_numbers_and_bytes():
    cost = cost_of(
        model("(float[2,3] x) => (float y) { a = MatMul(x, w) y = Reshape(a, s) }", w=normal(3, 4), s=ints(8))
    )
    assert cost.parameters == 12
    assert cost.weight_bytes == 12 * 4 + 8


def test_peak_activation_is_the_most_that_is_alive_at_once():
    # x stays alive until z: x + a, then x + a + b while b is made, then b + x + z.
    cost = cost_of(model("(float[100] x) => (float z) { a = Relu(x) b = Neg(a) z = Add(b, x) }"))
    assert cost.peak_activation_bytes == 3 * 400


LAYOUT = {
    "plain_transpose": ("y = Transpose<perm=[0,2,1]>(x)", (1, 0)),
    "transpose_into_a_product": ("t = Transpose<perm=[0,2,1]>(x) y = MatMul(x, t)", (1, 1)),
    "transpose_of_other_axes_into_a_product": ("t = Transpose<perm=[1,0,2]>(x) y = MatMul(t, w)", (1, 0)),
    "transpose_into_a_product_and_elsewhere": (
        "t = Transpose<perm=[0,2,1]>(x) p = MatMul(x, t) y = Add(t, p)", (1, 0),
    ),
    "reshape": ("y = Reshape(x, s)", (1, 0)),
}  # fmt: skip


@pytest.mark.parametrize("case", LAYOUT)
def test_layout_operators_that_mil_has_as_parameters_are_distinguished(case):
    body, expected = LAYOUT[case]
    weights = {name: array for name, array in {"w": normal(4, 4), "s": ints(64)}.items() if f"{name})" in body}
    cost = cost_of(model(f"(float[4,4,4] x) => (float y) {{ {body} }}", **weights))
    assert (cost.layout_ops, cost.absorbed_layout_ops) == expected


def test_totals_tell_weights_from_attention():
    cost = cost_of(
        model(
            "(float[1,7,4] x) => (float y) { q = MatMul(x, w) t = Transpose<perm=[0,2,1]>(x) y = MatMul(q, t) }",
            w=normal(4, 4),
        )
    )
    assert (cost.weight_macs, cost.total_macs) == (7 * 16, 7 * 16 + 7 * 4 * 7)
    assert cost.to_dict()["total_macs"] == cost.total_macs
