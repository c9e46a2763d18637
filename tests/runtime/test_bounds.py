"""No value is beyond its bound, and what may be NaN has none."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from portrait_export.artifacts import ARITHMETICS
from portrait_export.mil import coreml
from portrait_export.runtime import load
from portrait_export.runtime.bounds import INPUT, RULES, bounds_of
from portrait_export.runtime.fusion import fuse
from portrait_export.runtime.registry import kernels

from .packages import from_builder

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def build_every_rule(x):
    """A value of each operator that has a rule; `identity` and others disappear when coremltools converts."""
    mb = coreml.builder()
    y = mb.conv(x=x, weight=normal(6, 4, 3, 3), bias=normal(6), pad_type="same")
    y = mb.clip(x=y, alpha=-2.0, beta=7.0)
    y = mb.add(x=mb.mul(x=y, y=normal(1, 6, 1, 1)), y=mb.sub(x=np.float32(3), y=mb.relu6(x=y)))
    y = mb.resize_bilinear(x=y, target_size_height=9, target_size_width=7, sampling_mode="UNALIGN_CORNERS")
    y = mb.upsample_bilinear(x=mb.gelu(x=y), scale_factor_height=2.0, align_corners=False)
    y = mb.layer_norm(x=y, axes=[1], gamma=normal(6), beta=normal(6))
    y = mb.reshape(x=mb.transpose(x=mb.silu(x=y), perm=[0, 2, 3, 1]), shape=[1, 1, -1, 6])
    y = mb.linear(x=mb.squeeze(x=y, axes=[0]), weight=normal(5, 6), bias=normal(5))
    y = mb.mul(x=mb.relu(x=y), y=mb.tanh(x=mb.expand_dims(x=mb.sigmoid(x=y), axes=[0])))
    return mb.softmax(x=y, axis=-1)


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_no_value_is_beyond_its_bound(tmp_path, arithmetic):
    package = from_builder(tmp_path / "a.mlpackage", {"x": ((1, 4, 8, 6), np.float32)}, build_every_rule)
    program = load(package, arithmetic=arithmetic)
    bounds = bounds_of(program.plan)
    results = {r.name: r.slot for step in program.plan.block.instructions for r in step.results}
    assert set(results.values()) <= bounds.keys()
    extreme = np.where(RNG.random((1, 4, 8, 6)) < 0.5, -INPUT, INPUT).astype(np.float32)
    for data in (extreme, np.full_like(extreme, INPUT), normal(1, 4, 8, 6)):
        for name, value in program.trace({"x": data}, list(results)).items():
            assert np.abs(value).max() <= bounds[results[name]], name


def bound_of(tmp_path, build, arithmetic="as_typed"):
    package = from_builder(tmp_path / "a.mlpackage", {"x": ((1, 4, 8, 6), np.float32)}, build, precision="FLOAT16")
    plan = load(package, arithmetic=arithmetic).plan
    return bounds_of(plan).get(plan.block.instructions[-2].results[0].slot)  # the last is a cast


def test_a_half_may_be_infinite_and_then_a_product_nan(tmp_path):
    mb, huge = coreml.builder(), np.full((4, 4, 1, 1), 60, np.float32)

    def endless(x):
        return mb.conv(x=x, weight=huge)

    def twice(x):
        return mb.conv(x=endless(x), weight=huge)

    assert bound_of(tmp_path / "1", endless) == math.inf
    assert bound_of(tmp_path / "2", lambda x: mb.clip(x=endless(x), alpha=-1.0, beta=2.0)) == pytest.approx(2, rel=0.01)
    assert bound_of(tmp_path / "3", lambda x: mb.conv(x=endless(x), weight=huge)) is None
    assert (
        bound_of(tmp_path / "4", lambda x: mb.clip(x=mb.conv(x=endless(x), weight=huge), alpha=0.0, beta=2.0)) is None
    )
    assert math.isfinite(bound_of(tmp_path / "5", lambda x: mb.conv(x=endless(x), weight=huge), "fp32"))


def test_an_operator_without_a_rule_has_no_bound(tmp_path):
    assert bound_of(tmp_path, lambda x: coreml.builder().inverse(x=x, epsilon=0.0)) is None


def test_the_rules_are_of_kernels():
    assert RULES.keys() <= kernels().keys()


@pytest.mark.parametrize(
    "changed", [{"bias": torch.ones(7)}, {"weight": torch.tensor(1.0)}, {"weight": torch.full((6, 4, 3, 3), math.nan)}]
)
def test_a_constant_that_does_not_fit_has_no_bound(tmp_path, changed):
    def build(x):
        return coreml.builder().conv(x=x, weight=normal(6, 4, 3, 3), bias=normal(6))

    plan = load(from_builder(tmp_path / "a.mlpackage", {"x": ((1, 4, 8, 6), np.float32)}, build)).plan
    [step] = plan.block.instructions
    damaged = replace(step, call=partial(step.call.func, **{**step.call.keywords, **changed}))
    damaged_plan = replace(plan, block=replace(plan.block, instructions=(damaged,)))
    slot = step.results[0].slot
    assert slot in bounds_of(plan)
    assert slot not in bounds_of(damaged_plan)
    fuse(damaged_plan)  # the plain kernel says what is wrong
