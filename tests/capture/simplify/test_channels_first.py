"""channels-first: layout operators cancel, linears become 1x1 convolutions, no arrangement of operators goes wrong."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portrait_export.capture.onnx.cost import layout_cost
from portrait_export.capture.simplify import Graph

from .build import ints, model, normal, outcome

C, H, W, HEADS = 8, 4, 6, 2
L, D = H * W, C // HEADS

TOKENS = "f = Reshape(x, ncl) t = Transpose<perm=[0,2,1]>(f)"
IMAGE = "u = Transpose<perm=[0,2,1]>({}) y = Reshape(u, nchw)"
SHAPES = {
    "ncl": ints(1, C, L), "nchw": ints(1, C, H, W), "nlc": ints(1, L, C),
    "heads": ints(1, L, HEADS, D), "nhwc": ints(1, H, W, C),
}  # fmt: skip
LINEAR = {"w": normal(C, C), "b": normal(C)}
NORM = {"g": normal(C, seed=5), "e": normal(C, seed=6)}
ATTENTION = """
    q = MatMul(t, qw) k = MatMul(t, kw) v = MatMul(t, vw)
    q1 = Reshape(q, heads) k1 = Reshape(k, heads) v1 = Reshape(v, heads)
    q2 = Transpose<perm=[0,2,1,3]>(q1) k2 = Transpose<perm=[0,2,3,1]>(k1) v2 = Transpose<perm=[0,2,1,3]>(v1)
    s = MatMul(q2, k2) p = Softmax<axis=-1>(s) o = MatMul(p, v2)
    o1 = Transpose<perm=[0,2,1,3]>(o) o2 = Reshape(o1, nlc) o3 = MatMul(o2, ow) r = Add(o3, t)"""
PROJECTIONS = {name: normal(C, C, seed=index) / 3 for index, name in enumerate(("qw", "kw", "vw", "ow"))}


def network(body, **weights):
    return model(f"(float[1,{C},{H},{W}] x) => (float y) {{ {body} }}", **SHAPES, **weights)


# name → (model, operators after, layout operators that a package needs, before and after)
CASES = {
    "linear_on_tokens": (
        network(f"{TOKENS} m = MatMul(t, w) a = Add(m, b) {IMAGE.format('a')}", **LINEAR), "Conv Add", (4, 0),
    ),
    "linear_on_channels_last": (
        network(
            "t = Transpose<perm=[0,2,3,1]>(x) m = MatMul(t, w) a = Add(b, m) y = Transpose<perm=[0,3,1,2]>(a)", **LINEAR
        ),
        "Conv Add", (2, 0),
    ),
    "gemm_on_flat_tokens": (
        network(
            "t = Transpose<perm=[0,2,3,1]>(x) f = Reshape(t, lc) m = Gemm<transB=1>(f, w, b) n = Reshape(m, nhwc)"
            " y = Transpose<perm=[0,3,1,2]>(n)",
            lc=ints(L, C), **LINEAR,
        ),
        "Conv", (4, 0),
    ),
    "layer_norm_is_one_operator_between_transposes": (
        network(f"{TOKENS} n = LayerNormalization<axis=-1>(t, g, e) {IMAGE.format('n')}", **NORM),
        "Transpose LayerNormalization Transpose", (4, 0),
    ),
    "gates_positions_and_residuals": (
        network(
            f"{TOKENS} a = Add(t, pos) s = Sigmoid(a) m = Mul(a, s) r = Add(m, t) c = Clip(r, lo) {IMAGE.format('c')}",
            pos=normal(1, L, C), lo=np.float32(-1),
        ),
        "Add Sigmoid Mul Add Clip", (4, 0),
    ),
    "attention": (
        network(f"{TOKENS} {ATTENTION} {IMAGE.format('r')}", **PROJECTIONS),
        "Conv Conv Conv Conv Reshape Reshape Reshape Reshape Transpose Transpose MatMul MatMul Softmax Add", (12, 4),
    ),
    "a_sum_over_tokens_gets_them_as_they_were": (
        network(
            f"{TOKENS} m = MatMul(t, w) a = Relu(m) p = ReduceMean<keepdims=1>(a, one) s = Mul(m, p)"
            f" {IMAGE.format('s')}",
            one=ints(1), w=LINEAR["w"],
        ),
        "Conv Relu Reshape Transpose ReduceMean Reshape Transpose Mul Reshape Transpose", None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_layout_operators_cancel(case):
    source, ops, layout = CASES[case]
    found = outcome(source, "identity", "channels-first", "transposed-product")
    if layout is None:
        assert layout_cost(Graph(found.model)) <= layout_cost(Graph(source))
        return
    assert sorted(found.ops.elements()) == sorted(ops.split())
    assert (layout_cost(Graph(source)), layout_cost(Graph(found.model))) == layout
    assert found.before.total_macs == found.after.total_macs


def test_tokens_that_nothing_brings_back_are_left_alone():
    source = network(f"{TOKENS} m = MatMul(t, w) y = Softmax<axis=1>(m)", **LINEAR)
    found = outcome(source, "channels-first")
    assert not found.fired
    assert found.model.graph.node[2].op_type == "MatMul"


STEPS = ("tokens", "grid", "back", "heads", "linear", "norm", "gate", "scale", "add", "position", "softmax", "mean")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 10**6)), min_size=4, max_size=14))
def test_networks_of_random_operators_keep_their_numbers(plan):
    """Layout operators, linears, norms and element-wise operators in any order, on values of any form so far."""
    weights = {"w": LINEAR["w"] / 3, **NORM}
    pool, body = [("x", (1, C, H, W))], []

    def emit(line, shape):
        name = f"v{len(body)}"
        body.append(f"{name} = {line}")
        pool.append((name, shape))

    def reshape(value, shape):
        weights[f"s{len(body)}"] = ints(*shape)
        emit(f"Reshape({value}, s{len(body)})", shape)

    for step, choice in plan:
        value, shape = pool[choice % len(pool)]
        if step == "tokens" and len(shape) == 4:
            reshape(value, (*shape[:2], shape[2] * shape[3]))
            emit(f"Transpose<perm=[0,2,1]>({pool[-1][0]})", (1, shape[2] * shape[3], shape[1]))
        elif step == "grid" and len(shape) == 3 and shape[1] == L:
            reshape(value, (1, H, W, shape[2]))
        elif step == "back" and len(shape) == 4:
            emit(f"Transpose<perm=[0,3,1,2]>({value})", (1, shape[3], shape[1], shape[2]))
        elif step == "heads" and len(shape) == 3 and shape[2] % HEADS == 0:
            reshape(value, (*shape[:2], HEADS, shape[2] // HEADS))
        elif step == "linear" and shape[-1] == C:
            emit(f"MatMul({value}, w)", shape)
        elif step == "norm" and shape[-1] == C:
            emit(f"LayerNormalization<axis=-1>({value}, g, e)", shape)
        elif step == "gate":
            emit(f"Sigmoid({value})", shape)
        elif step == "scale":
            weights[f"c{len(body)}"] = normal(shape[-1], seed=choice)
            emit(f"Mul({value}, c{len(body)})", shape)
        elif step == "position":
            some = tuple(size if choice >> axis & 1 else 1 for axis, size in enumerate(shape))
            weights[f"c{len(body)}"] = normal(*some, seed=choice)
            emit(f"Add({value}, c{len(body)})", shape)
        elif step == "add":
            same = [name for name, other in pool if other == shape]
            emit(f"Add({value}, {same[choice % len(same)]})", shape)
        elif step == "softmax":
            emit(f"Softmax<axis=-1>({value})", shape)
        elif step == "mean":
            emit(f"Sub({value}, {value})", shape)
            body[-1] = f"v{len(body) - 1} = Tanh({value})"
    last = pool[-1][0] if body else "x"
    body.append(f"y = Exp({last})")
    used = {name: array for name, array in weights.items() if any(name in line for line in body)}
    outcome(model(f"(float[1,{C},{H},{W}] x) => (float y) {{ {' '.join(body)} }}", **used), "channels-first")
