"""Each rewrite rule: fires on its pattern (operators and arithmetic counted, same numbers), refuses with its reason."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portrait_export.capture.simplify import RULES, apply_rules

from .build import ints, model, normal, outcome

ROOT2 = np.float32(1.4142135)


def text(inputs, body, outputs="float y"):
    return f"({inputs}) => ({outputs}) {{ {body} }}"


def gelu_in_another_order(body, **constants):
    named = {"r": ROOT2, "one": np.float32(1), "half": np.float32(0.5), **constants}
    return model(text("float[2,8] x", body), **named)


def layer_norm(body, shape="1,5,8", opset=17, **weights):
    named = {"two": np.float32(2), "eps": np.float32(1e-5), **weights}
    return model(text(f"float[{shape}] x", body), opset=opset, **named)


NORM = (
    "m = ReduceMean<axes=[{a}]>(x) d = Sub(x, m) s = {square} v = ReduceMean<axes=[{b}]>(s) e = Add(v, eps) q = Sqrt(e)"
)


def norm_body(a=-1, b=-1, square="Pow(d, two)", tail="n = Div(d, q) g = Mul(n, w) y = Add(g, b)"):
    return f"{NORM.format(a=a, b=b, square=square)} {tail}"


def head(mode="half_pixel", width=6, c=(4, 12)):
    """SegFormer's head: 1x1 projections of two maps, the smaller one enlarged, put together, fused by a 1x1."""
    body = f"""
        p = Conv(a, pw, pb) q = Conv(b, qw, qb)
        r = Resize<mode="linear", coordinate_transformation_mode="{mode}">(q, , , size)
        t = Concat<axis=1>(r, p) f = Conv(t, fw, fb) y = Relu(f)"""
    return model(
        text(f"float[1,{c[0]},8,8] a, float[1,{c[1]},4,4] b", body),
        pw=normal(16, c[0], 1, 1), pb=normal(16, seed=1), qw=normal(16, c[1], 1, 1), qb=normal(16, seed=2),
        size=ints(1, 16, 8, 8), fw=normal(width, 32, 1, 1), fb=normal(width, seed=3),
    )  # fmt: skip


def attention(scale="Mul", reads="float y"):
    """Queries and keys by 1x1 convolutions of a 4x4 image, two heads of 4 channels; scores scaled."""
    body = f"""
        q = Conv(x, qw, qb) q1 = Reshape(q, heads) q2 = Transpose<perm=[0,1,3,2]>(q1)
        k = Conv(x, kw) k1 = Reshape(k, heads) s = MatMul(q2, k1) y = {scale}(s, c)"""
    return model(
        text("float[1,8,4,4] x", body, reads),
        qw=normal(8, 8, 1, 1), qb=normal(8), kw=normal(8, 8, 1, 1, seed=1), heads=ints(1, 2, 4, 16), c=np.float32(0.5),
    )  # fmt: skip


def resized(body, size=(8, 8), mode="linear", coordinates="half_pixel", channels=4, outputs="float y", **weights):
    resize = f'r = Resize<mode="{mode}", coordinate_transformation_mode="{coordinates}">(x, , , size)'
    return model(
        text(f"float[1,{channels},4,4] x", f"{resize} {body}", outputs), size=ints(1, channels, *size), **weights
    )


def conv_pair(first="", second="", outputs="float y", **weights):
    body = f"c = Conv<{first}>(x, v, vb) y = Conv<{second}>(c, w, wb)".replace("<>", "")
    return model(text("float[1,3,6,6] x", body, outputs), **weights)


def channels(*, m, d, k1=1, k2=1, bias=True):
    return {
        "v": normal(m, 3, k1, k1), "vb": normal(m) * bias, "w": normal(d, m, k2, k2, seed=1), "wb": normal(d, seed=1),
    }  # fmt: skip


def enlarged_conv(
    c, d, small, large, attrs="pads=[1,1,1,1]", k=3, resize="align_corners", tail="y = Conv<{}>(r, w, wb)", **more
):
    """A resize of a square image and the convolution that reads it."""
    body = f'r = Resize<mode="linear", coordinate_transformation_mode="{resize}">(x, , , size) {tail.format(attrs)}'
    return model(
        text(f"float[1,{c},{small},{small}] x", body),
        **{"size": ints(1, c, large, large), "w": normal(d, c, k, k), "wb": normal(d), **more},
    )


BN = {"g": normal(4), "be": normal(4, seed=1), "mu": normal(4, seed=2), "va": np.abs(normal(4, seed=3)) + 0.1}
W44 = {"w": normal(4, 4, 1, 1), "wb": normal(4)}
W33 = {"w": normal(4, 4, 3, 3), "wb": normal(4)}
PER_CHANNEL = normal(4, 1, 1, seed=9)
BATCH_NORM = "BatchNormalization({}, g, be, mu, va)"

K40 = np.float32(40)  # so that casts to 8 bits wrap around

# name → (rule, model, operators after, MACs in convolutions and products before and after)
FIRES = {
    "identity_inside_and_at_the_output": (
        "identity", model(text("float[2,8] x", "a = Identity(x) b = Relu(a) c = Neg(b) y = Identity(c)")), "Relu Neg",
        (0, 0),
    ),
    "cast_to_uint8_and_back": (
        "narrow-cast",
        model(text("float[2,8] x", "s = Mul(x, k) b = Cast<to=2>(s) y = Cast<to=1>(b)"), k=K40),
        "Mul Cast Mod Cast", (0, 0),
    ),
    "cast_to_int8_and_back": (
        "narrow-cast",
        model(text("float[2,8] x", "s = Mul(x, k) b = Cast<to=3>(s) y = Cast<to=1>(b)"), k=K40),
        "Mul Cast Sub Mod Add Cast", (0, 0),
    ),
    "bytes_that_are_moved": (
        "narrow-cast",
        model(text("float[2,8] x", "s = Mul(x, k) b = Cast<to=2>(s) t = Transpose(b) y = Cast<to=1>(t)"), k=K40),
        "Mul Cast Mod Transpose Cast",
        (0, 0),
    ),
    "booleans_as_bytes": (
        "narrow-cast",
        model(text("float[2,8] x", "g = Greater(x, k) b = Cast<to=2>(g) y = Cast<to=1>(b)"), k=np.float32()),
        "Greater Cast Cast", (0, 0),
    ),
    "gelu_x_times_sum_times_half": (
        "gelu",
        gelu_in_another_order("d = Div(x, r) e = Erf(d) s = Add(e, one) m = Mul(x, s) y = Mul(m, half)"),
        "Gelu", (0, 0),
    ),
    "gelu_half_x_first": (
        "gelu",
        gelu_in_another_order("h = Mul(half, x) d = Div(x, r) e = Erf(d) s = Add(one, e) y = Mul(h, s)"),
        "Gelu", (0, 0),
    ),
    "gelu_half_sum_first": (
        "gelu",
        gelu_in_another_order("d = Mul(x, i) e = Erf(d) s = Add(e, one) m = Mul(s, half) y = Mul(m, x)", i=1 / ROOT2),
        "Gelu", (0, 0),
    ),
    "layer_norm_with_pow": (
        "layer-norm", layer_norm(norm_body(), w=normal(8), b=normal(8)), "LayerNormalization", (0, 0),
    ),
    "layer_norm_with_product_and_no_affine": (
        "layer-norm", layer_norm(norm_body(square="Mul(d, d)", tail="y = Div(d, q)")), "LayerNormalization", (0, 0),
    ),
    "layer_norm_axes_as_input": (
        "layer-norm",
        layer_norm(
            "m = ReduceMean(x, ax) d = Sub(x, m) s = Mul(d, d) v = ReduceMean(s, ax)"
            " e = Add(eps, v) q = Sqrt(e) y = Div(d, q)",
            opset=18, ax=ints(1, 2),
        ),
        "LayerNormalization", (0, 0),
    ),
    "layer_norm_over_channels": (
        "layer-norm",
        layer_norm(norm_body(a=1, b=1), shape="1,8,3,5", w=normal(8, 1, 1), b=normal(8, 1, 1)),
        "Transpose LayerNormalization Transpose", (0, 0),
    ),
    "identity_resize": (
        "identity-resize", resized("y = Relu(r)", size=(4, 4), coordinates="align_corners"), "Relu", (0, 0),
    ),
    "batch_norm_after_padded_conv": (
        "affine-after-conv",
        model(
            text("float[1,4,5,5] x", f"c = Conv<pads=[1,1,1,1]>(x, w, wb) y = {BATCH_NORM.format('c')}"), **W33, **BN
        ),
        "Conv", (3600, 3600),
    ),
    "scalar_scale_of_conv_without_bias": (
        "affine-after-conv",
        model(text("float[1,4,5,5] x", "c = Conv(x, w) y = Mul(s, c)"), w=W33["w"], s=np.float32(0.3)),
        "Conv", (1296, 1296),
    ),
    "shift_sub_div_neg_after_grouped_conv": (
        "affine-after-conv",
        model(
            text("float[1,4,5,5] x", "c = Conv<group=2>(x, w) a = Add(c, t) b = Sub(t, a) d = Div(b, t) y = Neg(d)"),
            w=normal(4, 2, 3, 3), t=PER_CHANNEL,
        ),
        "Conv", (648, 648),
    ),
    "layer_scale_after_a_linear": (
        "affine-after-linear",
        model(
            text("float[1,5,4] x", "m = MatMul(x, w) a = Add(b, m) s = Mul(a, g) y = Add(s, x)"),
            w=normal(4, 4), b=normal(4), g=normal(4, seed=1),
        ),
        "MatMul Add Add", (80, 80),
    ),
    "batch_norm_of_flat_tokens_after_a_linear_without_bias": (
        "affine-after-linear",
        model(
            text("float[1,5,3] x", f"m = MatMul(x, w) f = Reshape(m, flat) y = {BATCH_NORM.format('f')}"),
            w=normal(3, 4), flat=ints(5, 4), **BN,
        ),
        "MatMul Reshape Add", (60, 60),
    ),
    "batch_norm_of_flattened_tokens": (
        "affine-after-linear",
        model(
            text("float[1,5,3] x", f"m = MatMul(x, w) f = Flatten<axis=2>(m) y = {BATCH_NORM.format('f')}"),
            w=normal(3, 4), **BN,
        ),
        "MatMul Flatten Add", (60, 60),
    ),
    "two_shifts_and_a_divisor_after_a_linear": (
        "affine-after-linear",
        model(
            text("float[1,5,3] x", "m = MatMul(x, w) a = Add(m, b) c = Sub(b, a) d = Add(c, e) y = Div(d, two)"),
            w=normal(3, 4), b=normal(4), e=normal(1, 1, 4), two=np.float32(2),
        ),
        "MatMul Add", (60, 60),
    ),
    "batch_norm_before_conv_without_padding": (
        "affine-before-conv",
        model(text("float[1,4,5,5] x", f"n = {BATCH_NORM.format('x')} y = Conv(n, w, wb)"), **W33, **BN),
        "Conv", (1296, 1296),
    ),
    "scale_before_padded_grouped_conv": (
        "affine-before-conv",
        model(
            text("float[1,4,5,5] x", "n = Mul(x, t) y = Conv<group=2, pads=[1,1,1,1]>(n, w)"),
            w=normal(6, 2, 3, 3), t=PER_CHANNEL,
        ),
        "Conv", (2700, 2700),
    ),
    "batch_norm_after_resize": (
        "affine-before-resize", resized(f"y = {BATCH_NORM.format('r')}", **BN), "BatchNormalization Resize", (0, 0),
    ),
    "batch_norm_after_resize_of_conv_goes_all_the_way": (
        "",
        model(
            text("float[1,4,4,4] x", 'c = Conv(x, w, wb) r = Resize<mode="nearest">(c, , sc)'
                 f" y = {BATCH_NORM.format('r')}"),
            sc=np.asarray([1, 1, 2, 2], np.float32), **W44, **BN,
        ),
        "Conv Resize", (256, 256),
    ),
    "scale_and_shift_after_concat_of_convs": (
        "",
        model(
            text("float[1,4,5,5] x", "a = Conv(x, w, wb) b = Conv<pads=[1,1,1,1]>(x, v) t = Concat<axis=1>(a, b)"
                 " m = Mul(t, s) y = Add(m, s)"),
            **W44, v=normal(2, 4, 3, 3), s=normal(6, 1, 1),
        ),
        "Conv Conv Concat", (400 + 1800, 400 + 1800),
    ),
    "two_pointwise_convs": ("conv-chain", conv_pair(**channels(m=8, d=2)), "Conv", (36 * (24 + 16), 36 * 6)),
    "pointwise_after_padded_strided_conv": (
        "conv-chain",
        conv_pair(first="pads=[1,1,1,1], strides=[2,2]", **channels(m=8, d=2, k1=3)),
        "Conv", (9 * (216 + 16), 9 * 54),
    ),
    "pointwise_before_conv_without_padding": (
        "conv-chain", conv_pair(**channels(m=9, d=2, k2=3)), "Conv", (36 * 27 + 16 * 162, 16 * 54),
    ),
    "pointwise_without_bias_before_padded_conv": (
        "conv-chain",
        conv_pair(second="pads=[1,1,1,1], dilations=[1,1]", **channels(m=9, d=2, k2=3, bias=False)),
        "Conv", (36 * 27 + 36 * 162, 36 * 54),
    ),
    "two_linears_with_biases": (
        "linear-chain",
        model(
            text("float[1,5,4] x", "m = MatMul(x, v) a = Add(m, vb) n = MatMul(a, w) y = Add(wb, n)"),
            v=normal(4, 9), vb=normal(9), w=normal(9, 3), wb=normal(3),
        ),
        "MatMul Add", (5 * (36 + 27), 5 * 12),
    ),
    "linear_without_biases_of_which_the_first_is_wide": (
        "linear-chain",
        model(text("float[2,5,4] x", "m = MatMul(x, v) n = MatMul(m, w) y = Neg(n)"), v=normal(4, 9), w=normal(9, 4)),
        "MatMul Neg", (10 * 72, 10 * 16),
    ),
    "gemm_transposed_and_scaled_before_a_linear": (
        "linear-chain",
        model(
            text("float[5,4] x", "m = Gemm<transB=1, alpha=0.5, beta=2.0>(x, v, vb) y = Gemm(m, w)"),
            v=normal(9, 4), vb=normal(1, 9), w=normal(9, 2),
        ),
        "MatMul Add", (5 * (36 + 18), 5 * 8),
    ),
    "one_class_of_a_resized_classifier_by_slice": (
        "",
        model(
            text("float[1,4,4,4] x", 'c = Conv(x, w, wb) r = Resize<mode="linear">(c, , , size)'
                 " y = Slice(r, st, en, ax)"),
            w=normal(21, 4, 1, 1), wb=normal(21), size=ints(1, 21, 8, 8), st=ints(-6), en=ints(-5), ax=ints(1),
        ),
        "Conv Resize", (16 * 21 * 4, 16 * 4),
    ),
    "channels_by_gather_in_another_order": (
        "unread-channels",
        model(
            text("float[1,3,5,5] x", "c = Conv<pads=[1,1,1,1]>(x, w, wb) y = Gather<axis=1>(c, i)"),
            w=normal(6, 3, 3, 3), wb=normal(6), i=ints(4, -6, 1),
        ),
        "Conv", (25 * 27 * 6, 25 * 27 * 3),
    ),
    "every_other_channel_of_an_image_with_all_its_rows": (
        "unread-channels",
        model(
            text("float[1,3,5,5] x", "c = Conv(x, w) y = Slice(c, st, en, ax, by)"),
            w=normal(6, 3, 1, 1), st=ints(0, 1), en=ints(5, 6), ax=ints(2, 1), by=ints(1, 2),
        ),
        "Conv", (25 * 3 * 6, 25 * 3 * 3),
    ),
    "the_only_part_of_a_split_that_is_read": (
        "unread-channels",
        model(
            text("float[1,3,5,5] x", "c = Conv(x, w, wb) a, b, d = Split<axis=1>(c, parts) y = Relu(b)"),
            w=normal(6, 3, 1, 1), wb=normal(6), parts=ints(1, 3, 2),
        ),
        "Conv Relu", (25 * 3 * 6, 25 * 3 * 3),
    ),
    "classifier_after_resize": (
        "conv-before-resize",
        resized("y = Conv(r, w, wb)", w=normal(1, 4, 1, 1), wb=normal(1)),
        "Conv Resize", (64 * 4, 16 * 4),
    ),
    "classifier_after_nearest_resize": (
        "conv-before-resize",
        resized("y = Conv(r, w, wb)", mode="nearest", coordinates="asymmetric", w=normal(2, 4, 1, 1), wb=normal(2)),
        "Conv Resize", (64 * 8, 16 * 8),
    ),
    "head_fused_by_a_1x1_after_enlarging": (
        "", head(), "Conv Conv Resize Add Relu", (64 * 4 * 16 + 16 * 12 * 16 + 64 * 32 * 6, 64 * 4 * 6 + 16 * 12 * 6),
    ),
    "head_with_aligned_corners": (
        "", head(mode="align_corners", width=3), "Conv Conv Resize Add Relu",
        (64 * 4 * 16 + 16 * 12 * 16 + 64 * 32 * 3, 64 * 4 * 3 + 16 * 12 * 3),
    ),
    "attention_scores_scaled": ("", attention(), "Conv Conv Reshape Reshape Transpose MatMul", (4096, 4096)),
    "attention_scores_divided": ("", attention("Div"), "Conv Conv Reshape Reshape Transpose MatMul", (4096, 4096)),
    "product_transposed_after_transposed_factor": (
        "transposed-product",
        model(
            text("float[2,3,5] a, float[2,4,5] b",
                 "t = Transpose<perm=[0,2,1]>(b) p = MatMul(a, t) y = Transpose<perm=[0,2,1]>(p)")
        ),
        "Transpose MatMul", (120, 120),
    ),
    "wide_conv_after_doubling": (
        "conv-after-resize", enlarged_conv(128, 64, 48, 96),
        "Resize " + 3 * "Slice Conv Reshape MatMul " + "Concat",
        # rows 0..16, 15..32 and 31..47 make 32 rows of the result each; rows of taps, then the rows' matrices
        (96 * 96 * 64 * 128 * 9, (17 + 18 + 17) * 96 * 64 * 128 * 9 + 32 * 3 * (17 + 18 + 17) * 96 * 64),
    ),
    "narrow_conv_after_fourfold_resize": (
        "conv-after-resize", enlarged_conv(256, 16, 16, 64),
        # two tiles of columns from windows of 3 taps each, two of rows
        "Conv " + 6 * "Slice " + "Concat Concat MatMul MatMul Concat Slice Slice Reshape Reshape MatMul MatMul Concat",
        (64 * 64 * 16 * 256 * 9, 16 * 16 * 16 * 256 * 9 + 64 * (3 * 9) * 3 * 16 * 16 + 64 * (3 * 9) * 64 * 16),
    ),
    "classifier_of_tiles_of_rows": (
        "conv-before-rows",
        model(
            text("float[1,4,2,5] a, float[1,4,3,5] b", "c = Concat<axis=2>(a, b) p = PRelu(c, s) r = Tanh(p)"
                 " y = Conv(r, w, wb)"),
            s=normal(4, 1, 1), w=normal(2, 4, 1, 1), wb=normal(2),
        ),
        "PRelu PRelu Tanh Tanh Conv Conv Concat", (25 * 8, 25 * 8),
    ),
    "classifier_after_wide_conv_after_doubling": (
        "",
        enlarged_conv(
            128, 64, 48, 96, tail="c = Conv<pads=[1,1,1,1]>(r, w, wb) p = Relu(c) y = Conv(p, v)", v=normal(2, 64, 1, 1)
        ),
        "Resize " + 3 * "Slice Conv Reshape MatMul Relu Conv " + "Concat",
        (96 * 96 * 64 * (128 * 9 + 2), (17 + 18 + 17) * 96 * 64 * (128 * 9 + 32 * 3) + 96 * 96 * 64 * 2),
    ),
    "one_of_two_classes_by_slice": (
        "two-classes",
        model(
            text("float[1,2,3,3] x", "s = Softmax<axis=1>(x) y = Slice(s, st, en, ax)"),
            st=ints(1), en=ints(2), ax=ints(1),
        ),
        "Conv Sigmoid", (0, 18),
    ),
    "one_of_two_classes_by_split": (
        "two-classes",
        model(text("float[1,2,3,3] x", "s = Softmax<axis=1>(x) a, b = Split<axis=1, num_outputs=2>(s) y = Neg(b)")),
        "Conv Sigmoid Neg", (0, 18),
    ),
    "logarithm_of_one_of_two_classes": (
        "two-classes",
        model(text("float[1,2,3,3] x", "s = LogSoftmax<axis=1>(x) y = Gather<axis=1>(s, i)"), i=ints(0)),
        "Conv Softplus Neg", (0, 18),
    ),
    "argmax_of_two_classes_after_classifier_and_resize": (
        "",
        model(
            text("float[1,4,4,4] x", 'c = Conv(x, w, wb) r = Resize<mode="linear">(c, , , size)'
                 " y = ArgMax<axis=1, keepdims=0>(r)", "int64 y"),
            w=normal(2, 4, 1, 1), wb=normal(2), size=ints(1, 2, 8, 8),
        ),
        "Conv Resize Greater Cast Reshape", (128, 64),
    ),
    "argmax_of_two_where_the_last_of_equals_wins": (
        "",
        model(
            text("float[1,4,4,4] x", "c = Conv(x, w) y = ArgMax<axis=1, select_last_index=1>(c)", "int64 y"),
            w=np.zeros((2, 4, 1, 1), np.float32),
        ),
        "Conv GreaterOrEqual Cast", (128, 64),
    ),
    "first_of_two_classes_by_gather_after_classifier_and_resize": (
        "",
        model(
            text("float[1,4,4,4] x", 'c = Conv(x, w, wb) r = Resize<mode="linear">(c, , , size) s = Softmax<axis=1>(r)'
                 " y = Gather<axis=1>(s, i)"),
            w=normal(2, 4, 1, 1), wb=normal(2), size=ints(1, 2, 8, 8), i=np.int64(0),
        ),
        "Conv Resize Sigmoid Reshape", (128, 64),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FIRES)
def test_fires(case):
    rule, source, expected, (before, after) = FIRES[case]
    found = outcome(source, *([rule] if rule else []))
    assert sorted(found.ops.elements()) == sorted(expected.split())
    assert (found.before.total_macs, found.after.total_macs) == (before, after)
    assert found.fired


# name → (rule, model, words of the reason)
REFUSES = {
    "bytes_that_are_computed_with": (
        "narrow-cast",
        model(text("float[2,8] x", "b = Cast<to=2>(x) c = Add(b, b) y = Cast<to=1>(c)")),
        "something else than a cast reads it, and may compute in so few bits",
    ),
    "input_that_is_an_output": (
        "identity", model(text("float[2,8] x", "y = Identity(x)")),
        "the names of its input and of its output must both stay",
    ),
    "gelu_with_another_root": (
        "gelu",
        gelu_in_another_order(
            "d = Div(x, r) e = Erf(d) s = Add(e, one) m = Mul(x, s) y = Mul(m, half)", r=np.float32(1.5)
        ),
        "it is not the exact GELU: divides by 1.5, not 1.41421",
    ),
    "gelu_before_opset_20": (
        "gelu",
        model(
            text("float[2,8] x", "d = Div(x, r) e = Erf(d) s = Add(e, one) m = Mul(x, s) y = Mul(m, half)"),
            opset=17, r=ROOT2, one=np.float32(1), half=np.float32(0.5),
        ),
        "needs opset 20, the model has 17",
    ),
    "norm_with_two_sets_of_axes": (
        "layer-norm",
        layer_norm(norm_body(a=-1, b=1, tail="y = Div(d, q)")),
        r"its mean is over axes [2], its variance over [1]",
    ),
    "norm_over_a_middle_axis": (
        "layer-norm",
        layer_norm(norm_body(a=1, b=1, tail="y = Div(d, q)")),
        "axes [1] of 3 are neither the last ones nor the channels of an image",
    ),
    "same_size_by_rounding_a_scale": (
        "identity-resize",
        model(
            text("float[1,1,4,4] x", 'y = Resize<mode="linear">(x, , sc)'),
            sc=np.asarray([1, 1, 1.1, 1.1], np.float32),
        ),
        "its scales are not 1, only its rounded size is the same",
    ),
    "scaled_convolution_that_is_read_twice": (
        "affine-after-conv",
        model(text("float[1,4,5,5] x", "c = Conv(x, w, wb) m = Mul(c, t) y = Add(m, c)"), **W44, t=PER_CHANNEL),
        "the convolution's output is also read as it is",
    ),
    "scaled_convolution_that_is_an_output": (
        "affine-after-conv",
        model(text("float[1,4,5,5] x", "c = Conv(x, w) y = Mul(c, t)", "float y, float c"), w=W44["w"], t=PER_CHANNEL),
        "the convolution's output is also read as it is",
    ),
    "convolution_with_computed_weights": (
        "affine-after-conv",
        model(text("float[1,4,5,5] x, float[4,4,1,1] w", "c = Conv(x, w) y = Mul(c, t)"), t=PER_CHANNEL),
        "the convolution's weights are computed",
    ),
    "linear_that_is_read_unscaled": (
        "affine-after-linear",
        model(text("float[1,5,4] x", "m = MatMul(x, w) s = Mul(m, g) y = Add(s, m)"), w=normal(4, 4), g=normal(4)),
        "the linear's output is also read as it is",
    ),
    "shift_before_padded_conv": (
        "affine-before-conv",
        model(text("float[1,4,5,5] x", "n = Add(x, t) y = Conv<pads=[1,1,1,1]>(n, w)"), w=W33["w"], t=PER_CHANNEL),
        "the convolution pads with zeros, which the shift before it would have to be added to",
    ),
    "shift_before_same_padded_conv": (
        "affine-before-conv",
        model(
            text("float[1,4,5,5] x", 'n = Add(x, t) y = Conv<auto_pad="SAME_UPPER">(n, w)'), w=W33["w"], t=PER_CHANNEL
        ),
        "the convolution pads with zeros, which the shift before it would have to be added to",
    ),
    "scale_that_is_read_elsewhere": (
        "affine-before-conv",
        model(text("float[1,4,5,5] x", "n = Mul(x, t) c = Conv(n, w) y = Add(n, c)"), w=W44["w"], t=PER_CHANNEL),
        "the scaled value is also read elsewhere",
    ),
    "shift_after_shrinking": (
        "affine-before-resize",
        resized("y = Add(r, t)", size=(2, 2), t=PER_CHANNEL),
        "the resize does not enlarge, before it there would be more pixels",
    ),
    "shift_after_cropping_resize": (
        "affine-before-resize",
        model(
            text("float[1,4,4,4] x", 'r = Resize<mode="linear", coordinate_transformation_mode="tf_crop_and_resize",'
                 " extrapolation_value=7.0>(x, roi, , size) y = Mul(r, t)"),
            roi=np.asarray([0, 0, 0, 0, 1, 1, 1.5, 1.5], np.float32), size=ints(1, 4, 8, 8), t=PER_CHANNEL,
        ),
        "the resize is not an average over H and W whose size is stored",
    ),
    "affine_after_concat_with_an_input": (
        "affine-before-concat",
        model(
            text("float[1,4,5,5] x", "c = Conv(x, w) t = Concat<axis=1>(c, x) y = Mul(t, s)"),
            w=W44["w"], s=normal(8, 1, 1),
        ),
        "not every part comes from a convolution that could take the scale and shift in",
    ),
    "narrow_waist": (
        "conv-chain", conv_pair(**channels(m=1, d=8)), "one convolution would take 864 MACs, the two take 396",
    ),
    "biased_pointwise_before_padded_conv": (
        "conv-chain",
        conv_pair(second="pads=[1,1,1,1]", **channels(m=9, d=2, k2=3)),
        "the second convolution pads with zeros, which the first one's bias would have to be added to",
    ),
    "chain_read_in_the_middle": (
        "conv-chain",
        conv_pair(outputs="float y, float c", **channels(m=8, d=2)),
        "the value between the convolutions is also read elsewhere",
    ),
    "narrow_waist_of_tokens": (
        "linear-chain",
        model(text("float[1,5,8] x", "m = MatMul(x, v) y = MatMul(m, w)"), v=normal(8, 2), w=normal(2, 8)),
        "one linear would take 320 MACs, the two take 160",
    ),
    "tokens_read_between_the_linears": (
        "linear-chain",
        model(
            text("float[1,5,4] x", "m = MatMul(x, v) a = Add(m, vb) n = MatMul(a, w) y = Add(a, n)"),
            v=normal(4, 9), vb=normal(9), w=normal(9, 9),
        ),
        "the value between the linears is also read elsewhere",
    ),
    "channels_and_all_of_them": (
        "unread-channels",
        model(
            text("float[1,3,5,5] x", "c = Conv(x, w) y = Gather<axis=1>(c, i)", "float y, float c"),
            w=normal(6, 3, 1, 1), i=ints(2),
        ),
        "the other channels are read as well",
    ),
    "channels_of_a_grouped_convolution": (
        "unread-channels",
        model(
            text("float[1,4,5,5] x", "c = Conv<group=2>(x, w) y = Gather<axis=1>(c, i)"),
            w=normal(4, 2, 1, 1), i=ints(2),
        ),
        "the convolution is grouped, its groups would become uneven",
    ),
    "widening_after_tiles_of_rows": (
        "conv-before-rows",
        model(
            text("float[1,2,2,5] a, float[1,2,3,5] b", "c = Concat<axis=2>(a, b) y = Conv(c, w)"), w=normal(2, 2, 1, 1)
        ),
        "2 channels become 2: no fewer would be concatenated",
    ),
    "tiles_of_rows_read_twice": (
        "conv-before-rows",
        model(
            text("float[1,4,2,5] a, float[1,4,3,5] b", "c = Concat<axis=2>(a, b) y = Conv(c, w)", "float y, float c"),
            w=normal(2, 4, 1, 1),
        ),
        "a value on the way is also read elsewhere",
    ),
    "widening_after_resize": (
        "conv-before-resize",
        resized("y = Conv(r, w, wb)", size=(4, 5), channels=1, w=normal(9, 1, 1, 1), wb=normal(9)),
        "before the resize it would take 864 MACs, it takes 260",
    ),
    "resized_value_read_twice": (
        "conv-before-resize",
        resized("c = Conv(r, w, wb) y = Add(c, r)", **W44),
        "the resized value is also read elsewhere",
    ),
    "enlarged_image_convolved_in_groups": (
        "conv-after-resize",
        enlarged_conv(4, 4, 4, 8, "pads=[1,1,1,1], group=4", w=normal(4, 1, 3, 3)),
        "the convolution is grouped, there is little work in it",
    ),
    "enlarged_image_read_twice": (
        "conv-after-resize",
        enlarged_conv(4, 4, 4, 8, tail="c = Conv<pads=[1,1,1,1]>(r, w, wb) y = Add(c, r)"),
        "the resized value is also read elsewhere",
    ),
    "shrunk_image_convolved": (
        "conv-after-resize",
        enlarged_conv(4, 4, 8, 4, resize="half_pixel"),
        "the resize does not enlarge, before it there would be more pixels",
    ),
    "too_little_to_save": (
        "conv-after-resize",
        enlarged_conv(4, 4, 4, 8),
        "as small products it would be the work of 37,760 MACs, it is that of 28,544",
    ),
    "no_place_for_the_bias": (
        "conv-after-resize",
        enlarged_conv(4, 4, 4, 8, "pads=[12,1,12,1]"),
        "no tap is inside the image for every output, so that it could take the bias",
    ),
    "widening_conv_that_would_need_more_memory": (
        "conv-after-resize",
        enlarged_conv(128, 256, 32, 64),
        "it would raise the peak of activations from 6,291,456 to 8,781,824 bytes",
    ),
    "resize_along_all_axes": (
        "conv-after-resize",
        model(
            text("float[1,4,4,4] x", 'r = Resize<mode="linear", axes=[2,3]>(x, , , size) y = Conv(r, w)'),
            size=ints(8, 8), w=W33["w"],
        ),
        "the resize along H and the one along W cannot be separated",
    ),
    "concat_of_plain_maps": (
        "split-concat-conv",
        model(
            text("float[1,4,5,5] a, float[1,4,5,5] b", "t = Concat<axis=1>(a, b) y = Conv(t, w)"), w=normal(4, 8, 1, 1)
        ),
        "in parts it would take 900 MACs, it takes 800",
    ),
    "concat_along_rows": (
        "split-concat-conv",
        model(text("float[1,4,5,5] a, float[1,4,5,5] b", "t = Concat<axis=2>(a, b) y = Conv(t, w)"), w=W44["w"]),
        "the concatenation is not along the channels",
    ),
    "scores_read_unscaled": (
        "scale-before-product", attention(reads="float y, float s"), "the product is also read unscaled",
    ),
    "product_smaller_than_its_factors": (
        "scale-before-product",
        model(text("float[2,9] a, float[9,2] b", "p = MatMul(a, b) y = Mul(p, c)"), c=np.float32(0.3)),
        "neither factor has fewer numbers than the product",
    ),
    "product_of_plain_factors_transposed": (
        "transposed-product",
        model(text("float[2,3,5] a, float[2,5,4] b", "p = MatMul(a, b) y = Transpose<perm=[0,2,1]>(p)")),
        "the second factor is not a transposed value, so no transpose would be saved",
    ),
    "broadcast_product_transposed": (
        "transposed-product",
        model(
            text("float[2,3,5] a, float[4,5] b",
                 "t = Transpose<perm=[1,0]>(b) p = MatMul(a, t) y = Transpose<perm=[0,2,1]>(p)")
        ),
        "the factors have different ranks, broadcast batch axes would be transposed with them",
    ),
    "three_classes": (
        "two-classes",
        model(text("float[1,3,3,3] x", "s = Softmax<axis=1>(x) y = Gather<axis=1>(s, i)"), i=ints(1)),
        "the softmax is over 3 classes",
    ),
    "both_classes": (
        "two-classes",
        model(text("float[1,2,3,3] x", "s = Softmax<axis=1>(x) g = Gather<axis=1>(s, i) y = Add(s, g)"), i=ints(1)),
        "the other class is read as well",
    ),
    "both_parts_of_a_split": (
        "two-classes",
        model(
            text("float[1,2,3,3] x", "s = Softmax<axis=1>(x) a, b = Split<axis=1, num_outputs=2>(s) y = Add(s, b)")
        ),
        "the other class is read as well",
    ),
    "argmax_of_three": (
        "argmax-of-two",
        model(text("float[1,4,3,3] x", "c = Conv(x, w) y = ArgMax<axis=1>(c)", "int64 y"), w=normal(3, 4, 1, 1)),
        "the argmax is over 3 classes",
    ),
    "argmax_and_the_logits": (
        "argmax-of-two",
        model(
            text("float[1,4,3,3] x", "c = Conv(x, w) y = ArgMax<axis=1>(c)", "int64 y, float c"), w=normal(2, 4, 1, 1)
        ),
        "the logits are also read elsewhere",
    ),
    "softmax_over_rows": (
        "two-classes",
        model(text("float[1,2,3,3] x", "s = Softmax<axis=2>(x) y = Gather<axis=1>(s, i)"), i=ints(1)),
        "the softmax is not over the channels",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSES)
def test_refuses(case):
    rule, source, reason = REFUSES[case]
    found = outcome(source, rule)
    assert not found.fired
    assert found.refused[rule] == [reason]


def test_every_rule_has_a_firing_case():
    fired = set()
    for rule, source, _, _ in FIRES.values():
        fired |= {rule} if rule else set(outcome(source).fired)
    assert fired | {"channels-first"} == {rule.name for rule in RULES}  # channels-first has its own file


def test_rule_names_are_unique():
    assert len({rule.name for rule in RULES}) == len(RULES)


@pytest.mark.parametrize("case", FIRES)
def test_a_second_application_changes_nothing(case):
    _, source, _, _ = FIRES[case]
    once, _, _ = apply_rules(source)
    twice, fired, _ = apply_rules(once)
    assert not fired
    assert twice.SerializeToString() == once.SerializeToString()


SIZES = st.tuples(st.integers(1, 5), st.integers(1, 5))


@settings(max_examples=25, deadline=None)
@given(SIZES, st.tuples(st.integers(1, 3), st.integers(1, 3)), st.integers(1, 6), st.integers(1, 4),
       st.sampled_from(["half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"]),
       st.sampled_from(["linear", "nearest", "cubic"]))  # fmt: skip
def test_pointwise_convolutions_commute_with_every_averaging_resize(small, factor, c, d, coordinates, mode):
    height, width = small[0] * factor[0], small[1] * factor[1]
    source = model(
        text(
            f"float[1,{c},{small[0]},{small[1]}] x",
            f'r = Resize<mode="{mode}", coordinate_transformation_mode="{coordinates}">(x, , , size) y = Conv(r, w, b)',
        ),
        size=ints(1, c, height, width), w=normal(d, c, 1, 1), b=normal(d) + 1,
    )  # fmt: skip
    found = outcome(source)  # `outcome` compares the numbers
    assert found.fired or found.refused or (height, width) == small


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from([1, 2, 4])), min_size=1, max_size=4), st.integers(1, 4))
def test_heads_of_any_branches_keep_their_numbers(branches, width):
    inputs, body, names, weights, total = [], [], [], {}, 0
    for index, (c, ratio) in enumerate(branches):
        side = 8 // ratio
        inputs.append(f"float[1,{c},{side},{side}] x{index}")
        weights |= {f"w{index}": normal(5, c, 1, 1, seed=index), f"b{index}": normal(5, seed=index)}
        body.append(f"c{index} = Conv(x{index}, w{index}, b{index})")
        body.append(f'r{index} = Resize<mode="linear">(c{index}, , , size)')
        names.append(f"r{index}")
        total += 5
    weights |= {"size": ints(1, 5, 8, 8), "w": normal(width, total, 1, 1), "b": normal(width)}
    body.append(f"t = Concat<axis=1>({', '.join(names)}) y = Conv(t, w, b)")
    found = outcome(model(text(", ".join(inputs), " ".join(body)), **weights))
    assert found.after.total_macs <= found.before.total_macs
