"""A fused plan gives the values of the plain plan, from fewer instructions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from portrait_export.artifacts import ARITHMETICS
from portrait_export.errors import ExecutionError
from portrait_export.mil import coreml
from portrait_export.runtime import fusion, load
from portrait_export.runtime.attention import Attention
from portrait_export.runtime.chunks import CHUNK, IN_PLACE, Step, run_steps
from portrait_export.runtime.fusion import BINARY, HEADS, UNARY, fuse
from portrait_export.runtime.packed import PackedConv, can_pack
from portrait_export.runtime.registry import kernels

from .packages import from_builder

RNG = np.random.default_rng(0)
X = RNG.integers(-4, 5, (1, 6, 16, 12)).astype(np.float32)
WEIGHT = RNG.integers(-2, 3, (8, 6, 3, 3)).astype(np.float32)
DEPTHWISE = RNG.integers(-2, 3, (8, 1, 3, 3)).astype(np.float32)
BIAS = np.arange(8, dtype=np.float32)
HALVES = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16).view(torch.float16).float()


def conv(x, weight=WEIGHT, pad=(1, 1, 1, 1), **options):
    mb = coreml.builder()
    return mb.conv(x=x, weight=weight, pad_type="custom", pad=list(pad), **options)


def build_gelu(x):
    return coreml.builder().gelu(x=conv(x, bias=BIAS))


def build_clip(x):
    return coreml.builder().clip(x=conv(x), alpha=0.1, beta=6.0)


def build_residual(x):
    mb = coreml.builder()
    first = conv(x)
    return mb.add(x=first, y=mb.relu(x=conv(mb.relu(x=first), DEPTHWISE, groups=8)))


def build_one_sided_padding(x):
    return coreml.builder().leaky_relu(x=conv(x, pad=(0, 1, 0, 1), strides=[2, 2]), alpha=0.3)


def build_sum_of_resized(x):
    """As a SegFormer's decoder adds its levels: each value is read once, and rounded where it is read."""
    mb = coreml.builder()
    levels = [conv(x, WEIGHT + i, strides=[2, 2]) for i in range(3)]
    sizes = {"target_size_height": 16, "target_size_width": 12, "sampling_mode": "UNALIGN_CORNERS"}
    first, second, third = (mb.resize_bilinear(x=level, **sizes) for level in levels)
    return mb.relu(x=mb.sub(x=mb.add(x=first, y=second), y=third))


def build_scalars(x):
    mb = coreml.builder()
    return mb.sub(x=np.float32(1), y=mb.real_div(x=mb.add(x=x, y=x), y=np.float32(3)))


def build_two_convolutions(x):
    mb = coreml.builder()
    return mb.maximum(x=conv(x, bias=BIAS), y=conv(x, WEIGHT[::-1].copy()))


def build_depthwise_of_one_sided_padding(x):
    """As EfficientNet-Lite has it: TensorFlow's `same` padding of strides."""
    mb = coreml.builder()
    down = conv(mb.relu6(x=conv(x)), DEPTHWISE, pad=(0, 1, 0, 1), strides=[2, 2], groups=8)
    return mb.relu(x=down)


def build_overflow(x):
    """Halves overflow to infinity, of which the next convolution makes NaN."""
    mb = coreml.builder()
    endless = conv(x, WEIGHT * np.float32(3000))
    return mb.clip(x=conv(mb.relu(x=endless), DEPTHWISE, groups=8), alpha=-1.0, beta=6.0)


def build_layouts(x):
    """An operand in another order in memory than the chain's value."""
    mb = coreml.builder()
    swap = [0, 1, 3, 2]
    other = mb.transpose(x=conv(mb.transpose(x=x, perm=swap)), perm=swap)
    return mb.mul(x=other, y=conv(x, WEIGHT + 1))


# behaviour → (program, instructions of its fused plan)
CHAINS = {
    "a_convolution_and_what_follows_are_one": (build_gelu, 1),
    "rounding_commutes_with_clip": (build_clip, 1),
    "a_value_that_is_read_twice_ends_its_chain": (build_residual, 3),
    "padding_of_one_side": (build_one_sided_padding, 1),
    "scalars_on_either_side": (build_scalars, 1),
    "values_that_are_rounded_where_they_are_read": (build_sum_of_resized, 6),
    "the_later_of_two_operands_is_continued": (build_two_convolutions, 2),
    "operands_in_another_layout": (build_layouts, 4),
    "depthwise_of_one_sided_padding": (build_depthwise_of_one_sided_padding, 2),
    "infinite_halves": (build_overflow, 2),
}


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    made = {}

    def build(function, precision="FLOAT16"):
        key = (function, precision)
        if key not in made:
            path = tmp_path_factory.mktemp("fused") / "net.mlpackage"
            made[key] = from_builder(path, {"x": (X.shape, np.float32)}, function, precision=precision)
        return made[key]

    return build


def both(program, data):
    """The outputs of the fused plan and of the plain one."""
    with torch.inference_mode():
        inputs = program._inputs(data, None)
        return fuse(program.plan).run(inputs), program.plan.run(inputs)


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("name", CHAINS)
def test_the_fused_plan_gives_the_same_values(package, name, arithmetic):
    """The sums of the convolutions are of small integers: exact in any order, so that nothing may differ."""
    program = load(package(CHAINS[name][0]), arithmetic=arithmetic)
    fused, plain = both(program, {"x": X})
    assert fused.keys() == plain.keys()
    for key, value in plain.items():
        torch.testing.assert_close(fused[key], value, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", CHAINS)
def test_the_fused_plan_has_fewer_instructions(package, name):
    program = load(package(CHAINS[name][0], "FLOAT32"), arithmetic="fp16")
    _, count = CHAINS[name]
    steps = fuse(program.plan).block.instructions
    assert len(steps) == count, [step.operation.type for step in steps]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", CHAINS)
def test_what_is_not_finite_stays_so(package, name, bad):
    data = X.copy()
    data[0, 2, 5, 5] = bad
    program = load(package(CHAINS[name][0]))
    found, plain = program.predict({"x": data}), program.predict({"x": data}, hook=lambda name, value: None)
    assert all(np.array_equal(np.isfinite(found[key]), np.isfinite(plain[key])) for key in plain)


def test_without_packed_weights_the_values_are_the_same(package, monkeypatch):
    program = load(package(build_residual))
    packed, plain = both(program, {"x": X})
    monkeypatch.setattr(fusion, "can_pack", lambda: False)
    unpacked, _ = both(program, {"x": X})
    key = next(iter(plain))
    assert torch.equal(packed[key], plain[key])
    assert torch.equal(unpacked[key], plain[key])


@pytest.mark.skipif(not can_pack(), reason="this build of torch has no packed weights")
def test_a_convolution_is_packed(package):
    [step] = fuse(load(package(build_gelu, "FLOAT32")).plan).block.instructions
    assert isinstance(step.call.head, PackedConv)


@pytest.mark.skipif(not can_pack(), reason="this build of torch has no packed weights")
def test_a_convolution_computes_the_activation_if_its_result_is_never_nan(package):
    def heads(arithmetic, build):
        program = load(package(build), arithmetic=arithmetic)
        return [step.call.head for step in fuse(program.plan).block.instructions if isinstance(step.call, fusion.Chain)]

    for arithmetic in ARITHMETICS:
        first, second = heads(arithmetic, build_depthwise_of_one_sided_padding)
        assert (first.activation[0], second.activation[0]) == ("hardtanh", "relu")
        assert not second.before  # padded by zeros of the weight
    assert [head.activation[0] for head in heads("fp32", build_overflow)] == ["relu", "hardtanh"]
    assert [head.activation[0] for head in heads("as_typed", build_overflow)] == ["relu", "none"]


@pytest.mark.skipif(not can_pack(), reason="this build of torch has no packed weights")
def test_what_is_proved_for_bounded_inputs_does_not_run_with_others(package):
    program = load(package(build_depthwise_of_one_sided_padding), arithmetic="fp32")
    plan = fuse(program.plan)
    for bad in (np.nan, -np.inf, 1025.0):
        data = X.copy()
        data[0, 2, 5, 5] = bad
        with pytest.raises(ExecutionError, match="elements beyond 1024"):
            plan.run(program._inputs({"x": data}, None))


@pytest.mark.parametrize("side", ["x", "y"])
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_attention_is_one_instruction(tmp_path, arithmetic, side):
    shape = (1, 2, 300, 8)

    def build(q, k, v):
        mb = coreml.builder()
        weights = mb.softmax(x=mb.matmul(x=q, y=k, transpose_y=True), axis=-1)
        return (
            mb.matmul(x=weights, y=v) if side == "x" else mb.matmul(x=v, y=weights, transpose_x=True, transpose_y=True)
        )

    inputs = dict.fromkeys("qkv", (shape, np.float32))
    program = load(from_builder(tmp_path / "a.mlpackage", inputs, build, precision="FLOAT32"), arithmetic=arithmetic)
    data = {name: RNG.standard_normal(shape).astype(np.float32) for name in "qkv"}
    fused, plain = both(program, data)
    [step] = fuse(program.plan).block.instructions
    assert isinstance(step.call.head, Attention)
    for key, value in plain.items():
        # A sum in another order, and a rounding of it that may go the other way.
        near = 1e-5 if arithmetic != "fp16" else 2**-10
        assert torch.allclose(fused[key], value, rtol=near, atol=near)


def test_a_softmax_of_another_axis_is_no_attention(tmp_path):
    def build(q, k, v):
        mb = coreml.builder()
        return mb.matmul(x=mb.softmax(x=mb.matmul(x=q, y=k, transpose_y=True), axis=-2), y=v)

    inputs = dict.fromkeys("qkv", ((1, 300, 8), np.float32))
    program = load(from_builder(tmp_path / "a.mlpackage", inputs, build, precision="FLOAT32"))
    assert len(fuse(program.plan).block.instructions) == 3


def test_kept_values_are_returned(package):
    program = load(package(build_residual))
    names = [name for name in program.names if name.startswith("relu")]
    seen = {}
    program.predict({"x": X}, hook=lambda name, value: seen.update({name: value.clone()}))
    outputs, kept = program.predict_and_keep({"x": X}, [*names, "nothing"])
    assert list(kept) == names
    assert all(np.array_equal(kept[name], seen[name]) for name in names)
    assert outputs.keys() == program.predict({"x": X}).keys()


def test_where_a_fused_run_fails_the_plain_plan_runs(package, monkeypatch):
    program = load(package(build_gelu))
    expected = program.predict({"x": X})

    def broken(self, *arguments, **inputs):
        raise RuntimeError("no memory for this")

    monkeypatch.setattr(fusion.Chain, "__call__", broken)
    found = program.predict({"x": X})
    assert all(np.array_equal(found[name], value) for name, value in expected.items())


# ---------------------------------------------------------------------------------------------------------------------
# Steps, one by one

CONSTANTS = {
    "clip": {"alpha": -0.3, "beta": 5.1},
    "elu": {"alpha": 0.7},
    "leaky_relu": {"alpha": 0.3},
    "scaled_tanh": {"alpha": 0.5, "beta": 2.0},
    "sigmoid_hard": {"alpha": 0.2, "beta": 0.5},
}


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("name", sorted(UNARY))
def test_a_step_is_its_kernel_and_the_rounding(name, in_place):
    """On every number of half precision, several chunks of them."""
    kernel, constants = kernels()[name].function, CONSTANTS.get(name, {})
    x = torch.cat([HALVES, HALVES.flip(0), HALVES.roll(9)]).reshape(3, 4, 128, 128)
    assert x.numel() > 2 * CHUNK
    expected = kernel(x, **constants).half().float()
    found = run_steps(x.clone(), [Step(), Step(name, kernel, constants)], [], in_place=in_place)
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("value", ["x", "y"])
@pytest.mark.parametrize("name", sorted(BINARY))
def test_a_step_with_two_values(name, value):
    kernel, other = kernels()[name].function, "y" if value == "x" else "x"
    a, b = HALVES.repeat(2).reshape(1, 8, 128, 128), HALVES.repeat(2).flip(0).roll(999).reshape(1, 8, 128, 128)
    expected = kernel(**{value: a, other: b}).half().float()
    step = Step(name, kernel, {}, value, other)
    strided = b.contiguous(memory_format=torch.channels_last)
    for given in (b, strided):
        found = run_steps(a.clone(), [step], [given], in_place=True)
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("value", ["x", "y"])
def test_a_step_rounds_the_other_value(value):
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(3, 4, 128, 128, generator=generator) for _ in range(2))
    kernel, other = kernels()["sub"].function, "y" if value == "x" else "x"
    before = b.clone()
    for rounds in (False, True):
        step = Step("sub", kernel, {}, value, other, rounds, rounds_other=True)
        expected = kernel(**{value: a, other: b.half().float()})
        found = run_steps(a.clone(), [step], [b], in_place=True)
        assert torch.equal(found, expected.half().float() if rounds else expected)
    assert torch.equal(b, before)


def test_steps_leave_their_input_alone_unless_they_own_it():
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    before = x.clone()
    assert not torch.equal(run_steps(x, [Step("relu", kernels()["relu"].function)], [], in_place=False), x)
    assert torch.equal(x, before)
    assert run_steps(x, [Step()], [], in_place=True) is x


def test_the_tables_name_kernels():
    assert HEADS | UNARY | BINARY | IN_PLACE.keys() <= kernels().keys()


X4, ONES = torch.arange(96.0).reshape(1, 2, 6, 8), torch.ones(2)
HEAD_INPUTS = {
    "batch_norm": {"x": X4, "mean": 0 * ONES, "variance": ONES, "epsilon": 0.0},
    "conv": {"x": X4, "weight": torch.ones(2, 1, 1, 1), "groups": 2},
    "conv_transpose": {"x": X4, "weight": torch.ones(2, 1, 1, 1), "groups": 2},
    "instance_norm": {"x": X4},
    "layer_norm": {"x": X4, "axes": [1]},
    "linear": {"x": X4, "weight": torch.eye(8)},
    "matmul": {"x": X4, "y": torch.eye(8)},
    "resize_bilinear": {"x": X4, "target_size_height": 6, "target_size_width": 8, "sampling_mode": "UNALIGN_CORNERS"},
    "softmax": {"x": X4},
    "upsample_bilinear": {"x": X4},
}


@pytest.mark.parametrize("name", sorted(HEADS))
def test_a_head_returns_memory_of_its_own(name):
    """Even where it changes nothing: a chain writes over its result."""
    with torch.inference_mode():
        result = kernels()[name].function(**HEAD_INPUTS[name])
    held = {
        value.untyped_storage().data_ptr() for value in HEAD_INPUTS[name].values() if isinstance(value, torch.Tensor)
    }
    assert result.untyped_storage().data_ptr() not in held
