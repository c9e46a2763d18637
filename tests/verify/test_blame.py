"""Blame on small chains of operations, one of them damaged: the damaged one is named."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from portrait_export.errors import DataError
from portrait_export.verify.blame import BAR_DB, BlameReport, Tally, ValuePair
from portrait_export.verify.error_sums import HALF_MAX, ErrorSums
from portrait_export.verify.metrics import IDENTICAL_DB
from portrait_export.verify.pairing import plain_name
from portrait_export.verify.report.curve import HEIGHT, WIDTH, curve

Op = Callable[[np.ndarray], np.ndarray]
Trace = Mapping[str, np.ndarray]
RNG = np.random.default_rng(11)
WEIGHTS = RNG.standard_normal((32, 32)).astype(np.float32) / 6

CHAIN: dict[str, Op] = {
    "conv": lambda x: x @ WEIGHTS,
    "bias": lambda x: x + 0.5,
    "relu": lambda x: np.maximum(x, 0),
    "linear": lambda x: x @ WEIGHTS.T,
    "tanh": np.tanh,
    "head": lambda x: 3 * x - 1,
}
ORDER = list(CHAIN)
INPUT = RNG.standard_normal((40, 32)).astype(np.float32)


def trace(ops: dict[str, Op], start: np.ndarray = INPUT) -> dict[str, np.ndarray]:
    values = {}
    for name, op in ops.items():
        start = values[name] = op(start)
    return values


def alone(ops: dict[str, Op], reference: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Each op of a chain on the reference's own input."""
    inputs = [INPUT, *reference.values()]
    return {name: op(inputs[i]) for i, (name, op) in enumerate(ops.items())}


def blame(
    reference: Trace,
    candidate: Trace,
    order: Sequence[str],
    *,
    isolated: Trace | None = None,
    bar_db: float = BAR_DB,
) -> BlameReport:
    """Compare two traces value by value, and each op alone where `isolated` has its value."""
    tally = Tally([ValuePair(name, name) for name in order])
    for name in order:
        tally.add(tally.whole, name, reference.get(name), candidate.get(name))
        if isolated is not None and name in isolated and name not in tally.left_out:
            tally.add(tally.own, name, reference[name], isolated[name])
    return tally.blame(bar_db=bar_db, own_bar_db=bar_db)


def first(found: BlameReport) -> str:
    """The name of the first value to blame."""
    return found.first.name if found.first else ""


def snr_db(reference: np.ndarray, candidate: np.ndarray) -> float:
    sums = ErrorSums()
    sums.add(reference, candidate)
    return sums.snr_db


DAMAGE: dict[str, tuple[str, Op]] = {
    "one_weight_matrix_scaled": ("linear", lambda x: x @ (WEIGHTS.T * 1.5)),
    "one_bias_dropped": ("bias", lambda x: x),
    "one_mode_changed": ("relu", np.abs),
    "one_activation_beyond_half": ("linear", lambda x: ((x * 1e5) @ WEIGHTS.T).astype(np.float16).astype(np.float32)),
    "one_nan": ("tanh", lambda x: np.where(x == x.max(), np.nan, np.tanh(x))),
}


@pytest.mark.parametrize("name", DAMAGE)
@pytest.mark.parametrize("isolate", [False, True])
def test_the_damaged_op_is_named(name: str, isolate: bool) -> None:
    culprit, op = DAMAGE[name]
    damaged = CHAIN | {culprit: op}
    reference = trace(CHAIN)
    with np.errstate(over="ignore", invalid="ignore"):
        candidate, own = trace(damaged), alone(damaged, reference)
    found = blame(reference, candidate, ORDER, isolated=own if isolate else None)
    assert first(found) == culprit
    before = ORDER.index(culprit)
    assert all(item.snr_db == IDENTICAL_DB for item in found.ops[:before])


def test_two_damaged_ops_are_distinguished_only_by_isolation() -> None:
    damaged = CHAIN | {"bias": lambda x: x + 0.4, "tanh": lambda x: np.tanh(x) * 0.5}
    reference = trace(CHAIN)
    found = blame(reference, trace(damaged), ORDER, isolated=alone(damaged, reference), bar_db=60)
    bad = [op.name for op in found.ops if op.own_snr_db is not None and op.own_snr_db < 60]
    assert bad == ["bias", "tanh"]
    inherited = next(op for op in found.ops if op.name == "linear")
    assert inherited.own_snr_db == IDENTICAL_DB
    assert inherited.snr_db < 60


def test_the_drop_is_measured_from_the_values_before() -> None:
    damaged = CHAIN | {"conv": lambda x: x @ WEIGHTS * 1.0001, "tanh": lambda x: np.tanh(x) + 0.3}
    found = blame(trace(CHAIN), trace(damaged), ORDER, bar_db=90)
    assert first(found) == "conv"
    drops = {op.name: op.drop_db for op in found.ops}
    assert sorted(drops, key=drops.get)[-2:] == ["tanh", "conv"]


def test_equal_traces_blame_nobody() -> None:
    found = blame(trace(CHAIN), trace(CHAIN), ORDER)
    assert (found.first, found.bad, found.overflows, found.left_out) == (None, (), (), ())


def test_a_value_beyond_half_is_listed_with_its_range() -> None:
    reference = {"a": np.array([1.0, -70000.0], np.float32), "b": np.array([1.0, HALF_MAX], np.float32)}
    candidate = {name: value.astype(np.float16, casting="unsafe") for name, value in reference.items() if name == "b"}
    candidate["a"] = np.array([1.0, -np.inf], np.float32)
    found = blame(reference, candidate, ["a", "b"])
    assert found.overflows == ("a",)
    assert first(found) == "a"
    a, b = found.ops
    assert (a.low, a.high, a.candidate_low, a.candidate_non_finite) == (-70000.0, 1.0, -math.inf, 1)
    assert math.isnan(a.half_snr_db)
    assert b.half_snr_db == IDENTICAL_DB
    assert [op.name for op in found.most_lost_in_half(1)] == ["a"]


def test_small_values_are_lost_in_half() -> None:
    reference = {"fine": np.array([0.1, 0.7], np.float32), "tiny": np.array([1e-8, 3e-8], np.float32)}
    found = blame(reference, reference, ["fine", "tiny"])
    assert [op.name for op in found.most_lost_in_half(2)] == ["tiny", "fine"]
    assert found.ops[0].half_snr_db > 60


def test_snr_by_hand() -> None:
    assert snr_db(np.array([3.0, 4.0]), np.array([3.0, 4.5])) == pytest.approx(10 * math.log10(25 / 0.25))
    assert snr_db(np.zeros(3), np.zeros(3)) == IDENTICAL_DB
    assert math.isnan(snr_db(np.zeros(3), np.ones(3)))
    assert math.isnan(snr_db(np.ones(3), np.array([1, np.inf, 1])))


def test_integers_and_booleans_are_compared_too() -> None:
    reference = {"index": np.array([1, 2, 3]), "flag": np.array([True, False])}
    candidate = {"index": np.array([1, 2, 4]), "flag": np.array([True, True])}
    found = blame(reference, candidate, ["flag", "index"])
    assert [op.max_abs for op in found.ops] == [1.0, 1.0]


def test_what_cannot_be_compared_is_listed() -> None:
    reference = {"a": np.ones(2), "b": np.ones((2, 3)), "c": np.ones(0), "d": np.ones(2)}
    candidate = {"b": np.ones((3, 2)), "c": np.ones(0), "d": np.ones(2), "e": np.ones(2)}
    assert dict(blame(reference, candidate, ["a", "b", "c", "d", "e"]).left_out) == {
        "a": "the candidate has no such value",
        "b": "shapes differ: (2, 3) and (3, 2)",
        "c": "it is empty",
        "e": "the reference has no such value",
    }


def test_nothing_to_compare_is_an_error() -> None:
    with pytest.raises(DataError, match="None of 1 values could be compared"):
        blame({"a": np.ones(2)}, {}, ["a"])


NAMES = {
    "onnx_path": ("/enc/block.1/Add_output_0", "enc_block_1_Add_output_0"),
    "fp16_cast": ("logits_cast_fp16", "logits"),
    "back_to_fp32": ("x_cast_fp16_to_fp32", "x"),
    "plain": ("conv_3", "conv_3"),
}


@pytest.mark.parametrize("name", NAMES)
def test_plain_names(name: str) -> None:
    given, expected = NAMES[name]
    assert plain_name(given) == expected


CURVES: dict[str, Callable[[], BlameReport]] = {
    "damaged": lambda: blame(trace(CHAIN), trace(CHAIN | {"bias": lambda x: x}), ORDER),
    "equal": lambda: blame(trace(CHAIN), trace(CHAIN), ORDER),
    "nothing_but_nan": lambda: blame({"a": np.ones(2)}, {"a": np.full(2, np.nan)}, ["a"]),
    "worse_than_noise": lambda: blame({"a": np.ones(2)}, {"a": np.full(2, 1e6)}, ["a"]),
    "a_hundred_to_blame": lambda: blame(
        {f"value_{i}": np.ones(4) for i in range(150)},
        {f"value_{i}": np.full(4, 1 + 0.2 * (i % 3 > 0)) for i in range(150)},
        [f"value_{i}" for i in range(150)],
        isolated={f"value_{i}": np.full(4, 1 + 0.2 * (i % 3 > 0)) for i in range(150)},
    ),
    "odd_name": lambda: blame({"名" * 99: np.ones(2)}, {"名" * 99: np.zeros(2)}, ["名" * 99]),
}


@pytest.mark.parametrize("name", CURVES)
def test_a_curve_is_drawn_for_any_blame(name: str) -> None:
    found = CURVES[name]()
    picture = curve(found)
    assert picture.size == (WIDTH, HEIGHT)
    assert picture.tobytes() == curve(found).tobytes()


def test_a_hundred_operations_to_blame_leave_the_curve_readable() -> None:
    found = CURVES["a_hundred_to_blame"]()
    assert sum(op.bad for op in found.ops) > 90
    red = (np.asarray(curve(found)) == (200, 0, 70)).all(-1)
    lines = red[200:400].all(axis=0).sum()  # red from top to bottom of the plot
    assert lines == 3
    assert red[HEIGHT - 112 - 6].sum() > 90  # a tick for each
